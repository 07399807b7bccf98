#include "client/commands/lists.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

void Append(EventList* page, EventList* list) {
  for (v1::Event& event : page->events) list->events.Add()->Swap(&event);
  list->nodes.insert(list->nodes.end(), page->nodes.begin(), page->nodes.end());
}

// "prod/node1, prod/node2".
std::string Places(const Formatter::Nodes& nodes) {
  return absl::StrJoin(nodes, ", ", [](std::string* out, const MessageNode& node) {
    absl::StrAppend(out, EscapeForTerminal(node.cluster), node.cluster.empty() ? "" : "/",
                    EscapeForTerminal(node.name));
  });
}

void Keep(int index, VmList* vms) {
  VmList one;
  one.vms.Add()->Swap(vms->vms.Mutable(index));
  if (!vms->nodes.empty()) one.nodes.push_back(vms->nodes[static_cast<size_t>(index)]);
  std::swap(*vms, one);
}

}  // namespace

bool EventBatches::Add(v1::Event event, MessageNode node) {
  constexpr int kBatch = 1000;
  *list_.events.Add() = std::move(event);
  list_.nodes.push_back(std::move(node));
  if (list_.events.size() == kBatch) Flush();
  return wanted_;
}

void EventBatches::Flush() {
  if (wanted_ && !list_.events.empty()) wanted_ = take_(&list_);
  list_ = {};
}

std::optional<Failure> FromPrint(const absl::Status& status) {
  if (status.ok() || absl::IsCancelled(status)) return std::nullopt;
  return Failure{ExitCode::kFailed, std::string(status.message())};
}

std::optional<Failure> PrintText(const absl::StatusOr<std::string>& text, Output* output) {
  return FromPrint(text.ok() ? output->Write(*text) : text.status());
}

std::optional<Failure> RunList(const EventsCommand& command, ListSource* source,
                               Formatter* formatter, Output* output, const PrintSentence& note) {
  absl::Status printed;
  bool begun = false;
  const auto print = [&](EventList* page) {
    if (page->events.empty()) return true;
    const absl::StatusOr<std::string> text = formatter->FormatEvents(page->events, page->nodes);
    printed = text.status();
    // After the first page's rows, which set the widths of its columns.
    if (printed.ok() && !std::exchange(begun, true)) {
      printed = output->Write(formatter->EventHeading());
    }
    if (printed.ok()) printed = output->Write(*text);
    return printed.ok();
  };
  EventList last;
  const auto keep = [&last](EventList* page) {
    Append(page, &last);
    return true;
  };
  std::optional<Failure> failure =
      source->ReadEvents(command, command.last ? ListSource::Take(keep) : ListSource::Take(print));
  if (!command.newest_first) {
    std::reverse(last.events.pointer_begin(), last.events.pointer_end());
    std::reverse(last.nodes.begin(), last.nodes.end());
  }
  if (!last.events.empty()) print(&last);
  if (begun || !printed.ok()) return printed.ok() ? failure : FromPrint(printed);
  if (failure) return failure;
  if (note) note("no events match");
  return PrintText(formatter->EventHeading(), output);
}

namespace {

// Returns whether `value` is in a list, or there is none.
template <typename List, typename Value>
bool Has(const List& list, const Value& value) {
  return list.empty() || std::find(list.begin(), list.end(), value) != list.end();
}

// The part of the filter that the request of a list cannot have.
bool PassesEnds(const v1::Vm& vm, const v1::EventFilter& filter) {
  const bool of_end = filter.classes_size() + filter.causes_size() > 0;
  if (of_end && !vm.has_shutdown()) return false;
  return Has(filter.classes(), vm.shutdown().class_()) &&
         Has(filter.causes(), vm.shutdown().cause()) && Has(filter.run_ids(), vm.ref().run_id());
}

}  // namespace

std::optional<Failure> RunList(const VmsCommand& command, ListSource* source, Formatter* formatter,
                               Output* output, const PrintSentence& note) {
  // Reads everything before it prints, so that the table's columns fit every row.
  VmList all;
  std::optional<Failure> failure = source->ReadVms(command, &all);
  VmList list;
  for (int i = 0; i < all.vms.size(); ++i) {
    const v1::Vm& vm = all.vms[i];
    if (!PassesEnds(vm, command.filter)) continue;
    list.vms.Add()->Swap(all.vms.Mutable(i));
    if (!all.nodes.empty()) list.nodes.push_back(all.nodes[static_cast<size_t>(i)]);
  }
  if (failure && list.vms.empty()) return failure;
  if (note && list.vms.empty()) {
    const bool filtered = command.filter.ByteSizeLong() > 0 || !command.states.empty();
    note(command.include_stopped ? "no VMs match"
         : filtered              ? "no VMs match; --all includes those that have stopped"
                                 : "no VM runs, as far as vmeventd sees; vmevents doctor says what "
                                   "keeps it from seeing one");
  }
  const auto printed = PrintText(formatter->FormatVms(list.vms, list.nodes), output);
  return printed ? printed : failure;
}

std::optional<Failure> RunList(const VmCommand& command, ListSource* source, Formatter* formatter,
                               Output* output) {
  VmList one;
  if (auto failure = source->ReadVm(command, &one)) return failure;
  return PrintText(formatter->FormatVm(one.vms[0], one.nodes), output);
}

std::optional<Failure> ChooseVm(const VmCommand& command, absl::string_view where, VmList* vms) {
  const std::string name = EscapeForTerminal(command.name);
  if (vms->vms.empty()) {
    const std::string run =
        command.run_id.empty() ? ""
                               : absl::StrCat(" with the run \"", EscapeForTerminal(command.run_id),
                                              "\" as the latest on its node");
    return Failure{ExitCode::kNotFound,
                   absl::StrCat("no VM \"", name, "\"", run, " is known", where,
                                "; `vmevents vms --all` lists those that are")};
  }
  int latest = 0;
  std::optional<int> running;
  Formatter::Nodes places;
  for (int i = 0; i < vms->vms.size(); ++i) {
    const MessageNode& node = vms->nodes[static_cast<size_t>(i)];
    if (vms->vms[i].state() != v1::VM_STATE_STOPPED && !node.stale_since) {
      running = i;
      places.push_back(node);
    }
    if (FromProto(vms->vms[i].state_time()) > FromProto(vms->vms[latest].state_time())) latest = i;
  }
  if (places.size() > 1) {
    return Failure{
        ExitCode::kFailed,
        absl::StrCat("the name \"", name, "\" stands for more than one VM: on ", Places(places),
                     "; choose one with ", places[0].cluster.empty() ? "--server" : "--node")};
  }
  Keep(running.value_or(latest), vms);
  return std::nullopt;
}

}  // namespace vmeventd::client
