#include "client/consume/delivery.h"

#include <algorithm>
#include <map>

namespace vmeventd::client {
namespace {

// The event alone.
WatchedEvents TakeOne(WatchedEvents* events, int index) {
  const auto at = static_cast<size_t>(index);
  WatchedEvents one;
  one.events.Add()->Swap(&events->events[index]);
  if (!events->nodes.empty()) one.nodes.push_back(std::move(events->nodes[at]));
  one.resume_after.push_back(std::move(events->resume_after[at]));
  return one;
}

}  // namespace

bool Delivery::Keep(absl::Status status) {
  if (status_.ok()) status_ = std::move(status);
  return status_.ok();
}

bool Delivery::OnOpen() { return std::exchange(begun_, true) || Keep(options_.consumer->Begin()); }

bool Delivery::OnVms(const Formatter::Vms& vms, const Formatter::Nodes& nodes) {
  return Keep(options_.consumer->ConsumeVms(vms, nodes));
}

void Delivery::CutOff(WatchedEvents* events) {
  int taken = 0;
  while (taken < events->events.size() && !reached()) {
    const bool is_gap = events->events[taken++].type() == v1::EVENT_TYPE_GAP;
    if (!is_gap || options_.counts_gaps) ++delivered_;
  }
  events->events.DeleteSubrange(taken, events->events.size() - taken);
  const auto size = static_cast<size_t>(taken);
  if (!events->nodes.empty()) events->nodes.resize(size);
  events->resume_after.resize(size);
}

bool Delivery::OnEvents(WatchedEvents events) {
  if (options_.count) CutOff(&events);
  bool wanted = OnOpen();
  if (!one_by_one()) return wanted && Consume(events) && !reached();
  for (int i = 0; wanted && i < events.events.size(); ++i) wanted = Consume(TakeOne(&events, i));
  return wanted && !reached();
}

bool Delivery::Consume(const WatchedEvents& events) {
  if (!Keep(options_.consumer->Consume(events.events, events.nodes))) return false;
  std::map<size_t, const ServerPosition*> last;
  for (const ServerPosition& position : events.resume_after) last[position.server] = &position;
  return std::all_of(last.begin(), last.end(),
                     [this](const auto& entry) { return OnPosition(*entry.second); });
}

bool Delivery::OnPosition(const ServerPosition& position) {
  if (options_.cursor == nullptr || position.position.journal_id.empty()) return true;
  return Keep(options_.cursor->Save(options_.servers[position.server], position.position));
}

ExitCode Delivery::CodeOf(ExitCode code,
                          const std::function<void(const std::string&)>& note) const {
  if (!status_.ok() && !absl::IsCancelled(status_)) {
    note(std::string(status_.message()));
    return ExitCode::kFailed;
  }
  if (reached()) return ExitCode::kOk;
  return code == ExitCode::kOk && options_.count ? ExitCode::kInterrupted : code;
}

}  // namespace vmeventd::client
