#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/commands/vms.h"
#include "client/output/enum_names.h"
#include "client/output/trouble.h"
#include "gtest/gtest.h"
#include "tests/support/golden_file.h"
#include "watcher/core/proto_time.h"

// The page in a browser ranks VMs itself, because it applies each event to its list. A test of the
// page compares it with the same file (tests/system/web/web_page_test.py).

namespace vmeventd::client {
namespace {

const absl::Time kTableTime = absl::FromUnixSeconds(1'800'000'000);

// The last end of a VM.
struct LastEnd {
  const char* name;
  v1::ShutdownClass shutdown_class;
  bool is_old = false;  // the end is too old to count as trouble
};
constexpr LastEnd kLastEnds[] = {{"none", v1::SHUTDOWN_CLASS_UNSPECIFIED},
                                 {"USER", v1::SHUTDOWN_CLASS_USER},
                                 {"ADMIN", v1::SHUTDOWN_CLASS_ADMIN},
                                 {"CRASH", v1::SHUTDOWN_CLASS_CRASH},
                                 {"CRASH-old", v1::SHUTDOWN_CLASS_CRASH, true},
                                 {"UNKNOWN", v1::SHUTDOWN_CLASS_UNKNOWN},
                                 {"UNKNOWN-old", v1::SHUTDOWN_CLASS_UNKNOWN, true}};

NodeVm VmWith(int state, bool problem, bool arrives, absl::Duration intent, const LastEnd& end) {
  NodeVm row;
  row.vm.set_state(static_cast<v1::VmState>(state));
  if (problem) row.vm.add_problems()->set_text("a problem");
  if (arrives) row.vm.set_pause_reason("inmigrate");
  if (intent > absl::ZeroDuration()) {
    *row.vm.mutable_intent()->mutable_expire_time() = ToTimestamp(kTableTime + intent);
  }
  if (end.shutdown_class == v1::SHUTDOWN_CLASS_UNSPECIFIED) return row;
  row.ends = 1;
  row.last_end.set_shutdown_class(end.shutdown_class);
  const absl::Duration left = end.is_old ? absl::ZeroDuration() : absl::Milliseconds(1);
  row.last_end_time = kTableTime - kTroubleAfterEnd + left;
  *row.vm.mutable_state_time() = ToTimestamp(row.last_end_time);
  return row;
}

TEST(TroubleTable, HasTheRankOfEachVm) {
  std::string table = "# TroubleKind of each VM; tests/client/commands/trouble_table_test.cc\n";
  absl::StrAppend(&table, "state problem pause intent");
  for (const LastEnd& end : kLastEnds) absl::StrAppend(&table, " ", end.name);
  const std::pair<const char*, absl::Duration> intents[] = {
      {"-", {}}, {"early", kLateIntent}, {"late", kLateIntent - absl::Milliseconds(1)}};
  for (int state = 1; state <= v1::VmState_MAX; ++state) {
    for (const bool problem : {false, true}) {
      for (const bool arrives : {false, true}) {
        for (const auto& [intent, left] : intents) {
          absl::StrAppend(&table, "\n", ShortName(static_cast<v1::VmState>(state)),
                          problem ? " problem" : " -", arrives ? " inmigrate " : " - ", intent);
          for (const LastEnd& end : kLastEnds) {
            const NodeVm row = VmWith(state, problem, arrives, left, end);
            absl::StrAppend(&table, " ", static_cast<int>(TroubleOf(row, kTableTime)));
          }
        }
      }
    }
  }
  NodeVms vms;
  for (const LastEnd& end : kLastEnds) {
    if (end.is_old) continue;
    vms.push_back(VmWith(v1::VM_STATE_RUNNING, false, false, {}, end));
    vms.back().vm.mutable_ref()->set_name(end.name);
  }
  SortVms({.order = VmOrder::kClass}, &vms);
  absl::StrAppend(&table, "\nclasses");
  for (const NodeVm& one : vms) absl::StrAppend(&table, " ", one.vm.ref().name());
  ExpectGolden("tests/golden/trouble.txt", table + "\n");
}

}  // namespace
}  // namespace vmeventd::client
