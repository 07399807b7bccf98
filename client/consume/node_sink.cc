#include "client/consume/node_sink.h"

#include <utility>

namespace vmeventd::client {

NodeSink::NodeSink(EventConsumer* consumer, CursorFile* cursor, std::string server)
    : consumer_(consumer), cursor_(cursor), server_(std::move(server)) {}

absl::Status NodeSink::OnOpen() { return consumer_->Begin(); }

absl::Status NodeSink::OnVms(const google::protobuf::RepeatedPtrField<v1::Vm>& vms) {
  return consumer_->ConsumeVms(vms, {});
}

absl::Status NodeSink::OnEvents(WatchedEvents events) {
  if (!consumer_->one_by_one()) {
    absl::Status status = consumer_->Consume(events.events, {});
    if (!status.ok() || events.journal_id.empty()) return status;
    return OnPosition({events.resume_after.back(), events.journal_id});
  }
  for (int i = 0; i < events.events.size(); ++i) {
    Formatter::Events one;
    one.Add()->Swap(&events.events[i]);
    absl::Status status = consumer_->Consume(one, {});
    if (status.ok() && !events.journal_id.empty()) {
      status = OnPosition({events.resume_after[static_cast<size_t>(i)], events.journal_id});
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status NodeSink::OnPosition(const WatchPosition& position) {
  return cursor_ == nullptr ? absl::OkStatus() : cursor_->Save(server_, position);
}

}  // namespace vmeventd::client
