#include "client/sinks/delivery.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <variant>

namespace vmeventd::client {

void Delivery::CutOff(NodeEvents* events) {
  size_t taken = 0;
  while (taken < events->size() && !reached()) {
    if ((*events)[taken++].event.has_vm() || options_.counts_gaps) ++delivered_;
  }
  events->resize(taken);
}

ExitCode Delivery::Run(Source* source, const PrintSentence& note) {
  ExitCode code = ExitCode::kOk;
  for (bool wanted = true; wanted;) {
    Source::Item item = source->Next(absl::InfiniteDuration());
    const auto* ended = std::get_if<Source::Ended>(&item);
    if (ended != nullptr) code = ended->code;
    wanted = ended == nullptr && Deliver(std::move(item));
  }
  if (!status_.ok() && !absl::IsCancelled(status_)) {
    note(std::string(status_.message()));
    return ExitCode::kFailed;
  }
  if (reached() && status_.ok()) return ExitCode::kOk;
  return code == ExitCode::kOk && options_.count ? ExitCode::kInterrupted : code;
}

bool Delivery::Deliver(Source::Item item) {
  if (std::holds_alternative<Source::Opened>(item)) return Continues(options_.consumer->Begin());
  if (const auto* at = std::get_if<ServerPosition>(&item)) return Save(*at);
  if (auto* events = std::get_if<NodeEvents>(&item)) return DeliverEvents(std::move(*events));
  const auto* vms = std::get_if<NodeVms>(&item);
  return vms == nullptr || Continues(options_.consumer->ConsumeVms(*vms));
}

bool Delivery::DeliverEvents(NodeEvents events) {
  if (options_.count) CutOff(&events);
  const size_t together = std::clamp<size_t>(events.size(), 1, options_.consumer->together());
  for (size_t at = 0; at < events.size(); at += together) {
    if (!Consume(Formatter::Events(events).subspan(at, together))) return false;
  }
  return !reached();
}

bool Delivery::Consume(Formatter::Events events) {
  if (!Continues(options_.consumer->Consume(events))) return false;
  std::map<size_t, const ServerPosition*> last;
  for (const NodeEvent& event : events) last[event.resume_after.server] = &event.resume_after;
  return std::all_of(last.begin(), last.end(),
                     [this](const auto& entry) { return Save(*entry.second); });
}

bool Delivery::Save(const ServerPosition& position) {
  if (options_.cursor == nullptr || position.position.journal_id.empty()) return true;
  return Continues(options_.cursor->Save(options_.servers[position.server], position.position));
}

}  // namespace vmeventd::client
