#include "watcher/core/names.h"

#include <string>

#include "gtest/gtest.h"

namespace vmeventd {
namespace {

TEST(EscapeNonUtf8Test, LeavesUtf8AsItIs) {
  const std::string text = "web1.example.org \xC3\xA4 \xE2\x82\xAC \xF0\x9F\x98\x80\n";
  EXPECT_EQ(EscapeNonUtf8(text), text);
}

TEST(EscapeNonUtf8Test, EscapesEachByteOfNoValidSequence) {
  EXPECT_EQ(EscapeNonUtf8("a\xFFz"), "a\\xffz");
  EXPECT_EQ(EscapeNonUtf8("\xC3"), "\\xc3");                    // cut short
  EXPECT_EQ(EscapeNonUtf8("\xC0\xAF"), "\\xc0\\xaf");           // overlong
  EXPECT_EQ(EscapeNonUtf8("\xED\xA0\x80"), "\\xed\\xa0\\x80");  // a surrogate
  EXPECT_EQ(EscapeNonUtf8("\xF4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
}

TEST(EscapeNameTest, NoTwoNamesGiveTheSameText) {
  EXPECT_EQ(EscapeName("web1\\old\\x"), "web1\\old\\x");
  EXPECT_EQ(EscapeName("a\xFF"), "a\\xff");
  EXPECT_EQ(EscapeName("a\\xff"), "a\\x5cxff");
  EXPECT_EQ(EscapeName("a\\x5cxff"), "a\\x5cx5cxff");
  EXPECT_EQ(EscapeName("\\xf\xFF"), "\\xf\\xff");
  EXPECT_EQ(EscapeName("\\xFF\\x5"), "\\xFF\\x5");  // never an escape
}

TEST(Utf8PrefixTest, CutsNoCharacter) {
  EXPECT_EQ(Utf8Prefix("abc", 3), "abc");
  EXPECT_EQ(Utf8Prefix("abcd", 3), "abc");
  EXPECT_EQ(Utf8Prefix("a\xE2\x82\xAC", 3), "a");
  EXPECT_EQ(Utf8Prefix("a\xE2\x82\xAC", 4), "a\xE2\x82\xAC");
  EXPECT_EQ(Utf8Prefix("\xE2\x82\xAC", 2), "");
}

TEST(QmpSourceTest, IsTheDirectoryOfTheSocket) {
  EXPECT_EQ(QmpSourceName("/run/ctrl/web1.kvmd"), "qmp:/run/ctrl");
  EXPECT_EQ(QmpSourceName("/web1.kvmd"), "qmp:/");
  EXPECT_EQ(QmpSourceName("web1.kvmd"), "qmp:");
}

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

TEST(RunIdTest, DiffersInEveryPartThatMakesARunAndInNoOther) {
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
