#include "client/consume/delivery.h"

#include <algorithm>
#include <cstddef>
#include <map>

#include "absl/time/clock.h"
#include "client/output/time_text.h"

namespace vmeventd::client {

NodeEvents MakeGap(MessageNode node, const WatchPosition& behind, const std::string& why) {
  v1::Event event;
  event.set_type(v1::EVENT_TYPE_GAP);
  event.set_gap_reason(v1::GAP_REASON_POSITION_LOST);
  *event.mutable_observe_time() = ToProto(absl::Now());
  event.mutable_missing()->set_first(behind.sequence + 1);
  event.set_message(why);
  return {{std::move(event), std::move(node), {0, behind}}};
}

ExitCode Source::Run(WatchSink* sink) {
  for (bool wanted = true; wanted;) {
    Item item = Next(absl::InfiniteDuration());
    if (const auto* ended = std::get_if<Ended>(&item)) return ended->code;
    if (std::holds_alternative<Opened>(item)) wanted = sink->OnOpen();
    if (const auto* vms = std::get_if<NodeVms>(&item)) wanted = sink->OnVms(*vms);
    if (auto* events = std::get_if<NodeEvents>(&item)) wanted = sink->OnEvents(std::move(*events));
    if (const auto* position = std::get_if<ServerPosition>(&item)) {
      wanted = sink->OnPosition(*position);
    }
  }
  return ExitCode::kOk;
}

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
