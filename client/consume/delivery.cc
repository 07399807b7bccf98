#include "client/consume/delivery.h"

#include <algorithm>
#include <cstddef>
#include <map>

namespace vmeventd::client {

void Delivery::CutOff(NodeEvents* events) {
  size_t taken = 0;
  while (taken < events->size() && !reached()) {
    const bool is_gap = (*events)[taken++].event.type() == v1::EVENT_TYPE_GAP;
    if (!is_gap || options_.counts_gaps) ++delivered_;
  }
  events->resize(taken);
}

bool Delivery::OnEvents(NodeEvents events) {
  if (options_.count) CutOff(&events);
  bool wanted = OnOpen();
  const size_t together = one_by_one() ? 1 : std::max<size_t>(events.size(), 1);
  for (size_t at = 0; wanted && at < events.size(); at += together) {
    wanted = Consume(Formatter::Events(events).subspan(at, together));
  }
  return wanted && !reached();
}

bool Delivery::Consume(Formatter::Events events) {
  if (!Keep(options_.consumer->Consume(events))) return false;
  std::map<size_t, const ServerPosition*> last;
  for (const NodeEvent& event : events) last[event.resume_after.server] = &event.resume_after;
  return std::all_of(last.begin(), last.end(),
                     [this](const auto& entry) { return OnPosition(*entry.second); });
}

bool Delivery::OnPosition(const ServerPosition& position) {
  if (options_.cursor == nullptr || position.position.journal_id.empty()) return true;
  return Keep(options_.cursor->Save(options_.servers[position.server], position.position));
}

ExitCode Delivery::CodeOf(ExitCode code, const PrintSentence& note) const {
  if (!status_.ok() && !absl::IsCancelled(status_)) {
    note(std::string(status_.message()));
    return ExitCode::kFailed;
  }
  if (reached()) return ExitCode::kOk;
  return code == ExitCode::kOk && options_.count ? ExitCode::kInterrupted : code;
}

}  // namespace vmeventd::client
