#include "client/commands/vms.h"

#include <cstdint>
#include <tuple>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/filter_lists.h"
#include "client/commands/label_hint.h"
#include "client/commands/print.h"
#include "client/output/trouble.h"
#include "client/output/vm_rows.h"
#include "client/output/wanted.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

bool IsStopped(const NodeVm& one) { return one.vm.state() == v1::VM_STATE_STOPPED; }

// Applies the part of the filter that ListVms does not have.
bool PassesEnds(const NodeVm& one, const VmsCommand& command, const FilterLists& filter) {
  if (!IsWanted(command.states, one.vm.state()) || (IsStopped(one) && !command.include_stopped) ||
      !filter.PassesRest(one.vm.ref())) {
    return false;
  }
  const v1::ShutdownDetail* end = one.end();
  return end == nullptr ? filter.PassesEnd(0, 0)
                        : filter.PassesEnd(end->shutdown_class(), end->cause());
}

// Sorts crashes first.
int RankOf(const NodeVm& one) {
  const v1::ShutdownDetail* end = one.end();
  if (end == nullptr) return 9;
  if (end->shutdown_class() == v1::SHUTDOWN_CLASS_CRASH) return 0;
  return end->shutdown_class() == v1::SHUTDOWN_CLASS_UNKNOWN ? 1 : 9 - end->shutdown_class();
}

}  // namespace

void SortVms(const VmsCommand& command, NodeVms* vms, absl::Time now) {
  const auto newest_first = [](const google::protobuf::Timestamp& time) {
    return -absl::ToUnixNanos(FromTimestamp(time));
  };
  // Rows with equal numbers are sorted by name.
  const auto numbers = [&](const NodeVm& one) -> std::pair<int64_t, int64_t> {
    const int64_t age = newest_first(one.vm.state_time());
    switch (command.order.value_or(VmOrder::kState)) {
      case VmOrder::kState:
        if (command.runs) return {newest_first(one.vm.start_time()), 0};
        return {one.vm.state(), IsStopped(one) ? age : 0};
      case VmOrder::kName:
        return {};
      case VmOrder::kAge:
        return {age, 0};
      case VmOrder::kEnds:
        return {-one.ends.value_or(0), 0};
      case VmOrder::kClass:
        return {RankOf(one), 0};
      case VmOrder::kTrouble:
        return {static_cast<int64_t>(TroubleOf(one, now)), one.vm.state()};
    }
    return {};
  };
  const auto key = [&](const NodeVm& one) {
    using Text = absl::string_view;
    return std::tuple(numbers(one), Text(one.vm.ref().name()), Text(one.node.cluster),
                      Text(one.node.name));
  };
  absl::c_stable_sort(*vms, [&key](const NodeVm& a, const NodeVm& b) { return key(a) < key(b); });
}

std::optional<Failure> RunList(const VmsCommand& command, ListSource* source, Formatter* formatter,
                               Output* output, std::string* empty) {
  // Reads everything before it prints, so that the table's columns fit every row; and all runs,
  // because those that have ended are counted.
  NodeVms vms;
  v1::EventFilter filter = command.filter;
  // Earlier runs may have had other labels, but count too.
  if (!command.runs) filter.clear_labels();
  std::optional<Failure> failure = source->ReadVms(filter, /*stopped_too=*/true, &vms);
  if (!command.runs) vms = RowsOf(std::move(vms), source->knows_runs());
  const FilterLists lists(command.filter);
  std::erase_if(vms, [&command, &lists, now = absl::Now()](const NodeVm& one) {
    if (!PassesEnds(one, command, lists)) return true;
    return command.trouble && TroubleOf(one, now) == TroubleKind::kNone;
  });
  if (vms.empty()) {
    const bool filtered = command.filter.ByteSizeLong() > 0 || !command.states.empty();
    *empty = command.trouble           ? "no VM has trouble"
             : command.include_stopped ? "no VMs match"
             : filtered                ? "no VMs match; --all includes those that have stopped"
                                       : absl::StrCat("no VM runs, as far as vmeventd sees; ",
                                                      formatter->invocation().QuotedDoctor(),
                                                      " shows what prevents it from seeing one");
    if (const std::string labels = ExplainLabels(command.filter, source); !labels.empty()) {
      *empty = absl::StrCat("no VMs match", labels);
    }
    return failure;
  }
  SortVms(command, &vms);
  const auto printed = PrintText(formatter->FormatVms(vms), output);
  return printed ? printed : failure;
}

}  // namespace vmeventd::client
