#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "client/fleet/fleet_filter.h"
#include "client/nats/jetstream.h"
#include "client/nats/message.h"
#include "client/output/message_node.h"
#include "client/output/node_event.h"
#include "client/output/print_sentence.h"

namespace vmeventd::client {

// Parses the events of the fleet's stream, and drops repeats: publishers send events again that
// were not acknowledged, or that a restored stream lacks. Each node publishes in the order of its
// journal. One thread.
class FleetEvents {
 public:
  // Maximum number of nodes whose newest event is remembered. Repeats from further nodes are not
  // dropped.
  static constexpr size_t kMaxNodes = 100'000;

  explicit FleetEvents(const PrintSentence& note);

  // Returns the event in a message of the stream, with its position there. nullopt: it does not
  // pass the filter, is a repeat, or is not a message of vmeventd (which is reported).
  std::optional<NodeEvent> Parse(const StoredMessage& stored, const FleetMatcher& filter);

 private:
  bool IsNew(const MessageNode& node, uint64_t sequence);

  const std::function<void(const NatsMessage&, const absl::Status&)> ignore_;
  // Keyed by cluster and node: the node's journal, and the sequence of its newest event.
  std::map<std::pair<std::string, std::string>, std::pair<std::string, uint64_t>> newest_;
};

}  // namespace vmeventd::client
