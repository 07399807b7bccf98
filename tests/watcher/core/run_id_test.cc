#include "watcher/core/run_id.h"

#include "gtest/gtest.h"

namespace vmeventd {
namespace {

RunIdentity Qemu() {
  return {.boot_id = "3f2a9c1e-5b6d-4e0f-9a1b-0123456789ab",
          .monitor_path = "/run/ctrl/web1.kvmd",
          .pid = 4711,
          .start_ticks = 183920,
          .socket_inode = 17,
          .first_seen_ns = 99};
}

TEST(RunIdTest, IsTheSameForTheSameRun) {
  // Spelled out, because the id must not change from one version of the program to the next.
  EXPECT_EQ(MakeRunId(Qemu()), "3f2a9c1e5b6d4e0f-4711-183920-e197b9aef007ebdb");
  EXPECT_EQ(RunIdPrefix(Qemu().boot_id), "3f2a9c1e5b6d4e0f-");
}

TEST(RunIdTest, DependsOnEachFieldThatIdentifiesARunAndOnNoOther) {
  const struct {
    const char* part;
    void (*change)(RunIdentity*);
    bool of_visible;  // changes the id of a process that can be seen, as the next of another
    bool of_hidden;
  } kParts[] = {
      {"boot", [](RunIdentity* run) { run->boot_id[0] = '4'; }, true, true},
      {"path", [](RunIdentity* run) { run->monitor_path = "/run/o/web1.kvmd"; }, true, true},
      {"pid", [](RunIdentity* run) { ++run->pid; }, true, true},
      {"start", [](RunIdentity* run) { ++run->start_ticks; }, true, false},
      {"socket", [](RunIdentity* run) { ++run->socket_inode; }, false, true},
      {"first sight", [](RunIdentity* run) { ++run->first_seen_ns; }, false, true},
  };
  for (const auto& part : kParts) {
    RunIdentity visible = Qemu();
    part.change(&visible);
    EXPECT_EQ(MakeRunId(visible) != MakeRunId(Qemu()), part.of_visible) << part.part;
    RunIdentity hidden = Qemu();
    hidden.pid = 0;
    RunIdentity changed = hidden;
    part.change(&changed);
    EXPECT_EQ(MakeRunId(changed) != MakeRunId(hidden), part.of_hidden) << part.part;
  }
}

}  // namespace
}  // namespace vmeventd
