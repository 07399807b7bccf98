#ifndef VMEVENTD_CLIENT_CONSUME_NODE_SINK_H_
#define VMEVENTD_CLIENT_CONSUME_NODE_SINK_H_

#include <string>

#include "client/consume/cursor_file.h"
#include "client/consume/event_consumer.h"
#include "client/consume/watch_sink.h"

namespace vmeventd::client {

// Passes what the watch of the one node delivers to the consumer, and moves the cursor once that is
// done: after a crash in between, the next watch delivers the event again. One thread.
class NodeSink : public WatchSink {
 public:
  // `cursor` may be null: no cursor is kept. Pointers must outlive it.
  NodeSink(EventConsumer* consumer, CursorFile* cursor, std::string server);

  absl::Status OnOpen() override;
  absl::Status OnVms(const google::protobuf::RepeatedPtrField<v1::Vm>& vms) override;
  absl::Status OnEvents(WatchedEvents events) override;
  absl::Status OnPosition(const WatchPosition& position) override;

 private:
  EventConsumer* const consumer_;
  CursorFile* const cursor_;
  const std::string server_;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONSUME_NODE_SINK_H_
