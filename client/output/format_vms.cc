#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "client/output/cells.h"
#include "client/output/colors.h"
#include "client/output/end_text.h"
#include "client/output/enum_names.h"
#include "client/output/formatter.h"
#include "client/output/json.h"
#include "client/output/names_to_paste.h"
#include "client/output/time_text.h"
#include "client/output/trouble.h"
#include "client/output/vm_text.h"
#include "nlohmann/json.hpp"
#include "watcher/core/proto_time.h"

// VMs, those in trouble, and their intents.

namespace vmeventd::client {
namespace {

// The present state of the VM, then its last end.
std::string WhyText(const NodeVm& one, bool wide) {
  std::vector<std::string> parts;
  if (one.vm.has_intent()) {
    parts.push_back(
        absl::StrCat("intent of ", one.vm.intent().actor(), ": ", one.vm.intent().reason()));
  }
  for (const v1::Problem& problem : one.vm.problems()) parts.push_back(problem.text());
  if (const std::string why = PauseWords(one.vm.pause_reason()); !why.empty()) {
    parts.push_back(absl::StrCat("paused ", why));
  }
  if (one.end() != nullptr) parts.push_back(EndLine(*one.end(), "", wide));
  return absl::StrJoin(parts, "; ");
}

}  // namespace

absl::StatusOr<std::string> Formatter::FormatVms(Vms vms) {
  for (const NodeVm& one : vms) NoteCluster(one.node);
  const bool ends = absl::c_any_of(vms, [](const NodeVm& one) { return one.ends.has_value(); });
  const auto json_of = [texts = style_.texts](const NodeVm& one) {
    const bool ended = one.ends.value_or(0) > 0;
    const std::string pause = PauseWords(one.vm.pause_reason());
    return ObjectOf(
        {{"", ToJson(one.vm, one.node)},
         {"ends", one.ends ? absl::StrCat(*one.ends) : ""},
         {"last_end", ended ? ToJson(one.last_end) : ""},
         {"last_end_time", ended ? JsonText(absl::FormatTime(absl::RFC3339_full, one.last_end_time,
                                                             absl::UTCTimeZone()))
                                 : ""},
         {"end_text", texts && one.end() != nullptr ? JsonText(ShortEnd(*one.end())) : ""},
         {"pause_text", texts && !pause.empty() ? JsonText(pause) : ""}});
  };
  // A column of UUIDs, or else of runs, distinguishes VMs that have one name on a node.
  std::map<std::string, std::set<std::string>> ids;
  for (const NodeVm& one : vms) {
    const v1::VmRef& ref = one.vm.ref();
    ids[absl::StrCat(one.node.cluster, "/", one.node.name, "/", ref.name())].insert(
        ref.uuid().empty() ? ref.source() : ref.uuid());
  }
  const bool shared = absl::c_any_of(ids, [](const auto& of) { return of.second.size() > 1; });
  const auto make_row = [&](const NodeVm& one) {
    const v1::Vm& vm = one.vm;
    const std::string state = ShortName(vm.state());
    Row row;
    if (style_.nodes) row.Add(NameColumn("NODE"), NodeCell(one.node));
    row.Add(NameColumn("VM"), {vm.ref().name(), Color::kBold});
    const std::string& id = vm.ref().uuid().empty() ? vm.ref().run_id() : vm.ref().uuid();
    if (shared && !style_.wide) row.Add({"UUID"}, {OrDash(id)});
    row.Add({"STATE"}, one.node.stale_since ? Cell{absl::StrCat(state, " (stale)"), Color::kDim}
                                            : Cell{state, ColorOf(vm.state())});
    if (style_.wide) row.Add({"SINCE"}, {SinceText(vm.state_time())});
    if (style_.now) {
      const absl::Duration age = style_.now() - FromTimestamp(vm.state_time());
      row.Add({"AGE"}, {vm.has_state_time() ? ShortDurationText(age) : "-"});
    }
    if (ends) row.Add({"ENDS"}, {one.ends ? absl::StrCat(*one.ends) : "-"});
    if (style_.wide) {
      row.Add({"PID"}, {vm.ref().pid() == 0 ? "-" : absl::StrCat(vm.ref().pid())});
      row.Add({"QEMU"}, {OrDash(vm.qemu_version())});
      row.Add({"RUN"}, {OrDash(vm.ref().run_id())});
      row.Add({"UUID"}, {OrDash(vm.ref().uuid())});
      row.Add({"LABELS"}, {OrDash(LabelsText(vm.ref()))});
      row.Add({"SOURCE"}, {OrDash(vm.ref().source())});
      row.Add({"MONITOR"}, {OrDash(vm.monitor_path())});
    }
    row.Add({"CLASS"}, one.end() != nullptr ? ClassCell(*one.end()) : Cell{});
    row.Add({"WHY"}, {WhyText(one, style_.wide)});
    return row;
  };
  return FormatList(
      vms, [](const NodeVm& one) { return one.vm.ref().name(); }, json_of, make_row);
}

std::string Formatter::FormatTrouble(Vms vms, absl::Time now, size_t max) {
  if (vms.empty()) return "";
  const Vms shown = vms.subspan(0, max);
  for (const NodeVm& one : shown) NoteCluster(one.node);
  const auto make_row = [&](const NodeVm& one) {
    Row row;
    if (style_.nodes) row.Add(NameColumn("NODE"), NodeCell(one.node));
    row.Add(NameColumn("IN TROUBLE"), {one.vm.ref().name(), Color::kBold});
    row.Add({"STATE"}, {ShortName(one.vm.state()), ColorOf(one.vm.state())});
    const absl::Duration age = now - FromTimestamp(one.vm.state_time());
    row.Add({"AGE"}, {one.vm.has_state_time() ? ShortDurationText(age) : "-"});
    row.Add({"CAUSE"}, {TroubleText(one, now)});
    return row;
  };
  const auto table = FormatList(
      shown, [](const NodeVm&) { return ""; }, [](const NodeVm&) { return ""; }, make_row);
  std::vector<std::string> names;
  for (const NodeVm& one : shown) {
    const std::string& name = one.vm.ref().name();
    if (!absl::c_linear_search(names, name)) names.push_back(name);  // two UUIDs may have one name
  }
  const std::string more =
      vms.size() == shown.size()
          ? ""
          : absl::StrCat("and ", vms.size() - shown.size(),
                         " more: ", style_.invocation.Line("vms --trouble"), "\n");
  return absl::StrCat(*table, more, "why: ", style_.invocation.Line("why "), NamesToPaste(names),
                      "\n");
}

absl::StatusOr<std::string> Formatter::FormatIntents(Vms vms) {
  for (const NodeVm& one : vms) NoteCluster(one.node);
  const auto make_row = [this](const NodeVm& one) {
    const v1::Intent& intent = one.vm.intent();
    Row row;
    if (style_.nodes) row.Add(NameColumn("NODE"), NodeCell(one.node));
    row.Add({"INTENT"}, {intent.intent_id()});
    row.Add({"VM"}, {one.vm.ref().name(), Color::kBold});
    row.Add({"ACTOR"}, {intent.actor()});
    row.Add({"EXPIRES"}, {SinceText(intent.expire_time())});
    row.Add({"REASON"}, {intent.reason()});
    return row;
  };
  return FormatList(
      vms, [](const NodeVm& one) { return one.vm.intent().intent_id(); },
      [](const NodeVm& one) {
        return ObjectOf({{"node", one.node.name.empty() ? "" : JsonText(one.node.name)},
                         {"vm", ToJson(one.vm.ref())},
                         {"", ToJson(one.vm.intent())}});
      },
      make_row);
}

}  // namespace vmeventd::client
