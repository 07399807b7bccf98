#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/nats/connection.h"
#include "google/protobuf/message.h"
#include "vmeventd/v1/fleet.pb.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// A fake of NATS servers with JetStream, behind the interface of their client library: streams in
// memory, from which consumers pull. One thread.
class FakeNats {
 public:
  struct Message {
    uint64_t sequence = 0;
    std::string subject;
    std::map<std::string, std::string> headers;
    std::string data;
    absl::Time time;
  };
  struct Stream {
    std::string created = "2026-07-01T12:00:00Z";
    std::map<uint64_t, Message> messages;
    uint64_t last = 0;
    uint64_t first() const { return messages.empty() ? last + 1 : messages.begin()->first; }
  };

  FakeNats();

  absl::StatusOr<std::unique_ptr<NatsConnection>> Connect();

  Stream& events() { return streams["VMEVENTS"]; }
  void Add(const std::string& stream, const std::string& subject,
           std::map<std::string, std::string> headers, const std::string& data);
  // Add messages like those that a node of the cluster "prod" publishes.
  void AddEvent(const std::string& node, const v1::Event& event,
                const std::string& word = "paused");
  void AddVm(const std::string& node, const v1::Vm& vm);
  void AddNode(const v1::NodeHeartbeat& node);

  std::map<std::string, Stream> streams;
  bool reachable = true;
  int connections = 0;
  int deleted_consumers = 0;
  std::vector<std::string> consumers;  // requested consumers: JSON
  size_t most_pulled = 0;              // largest number of bytes that was requested at once
  // The connection is lost once, after this number of further messages.
  std::optional<int> lose_after;
  // The next message is lost.
  bool drop_one = false;
  // JSON answers to the next requests for a consumer; empty: the request gets no answer.
  std::deque<std::string> consumer_faults;
  std::string complaint;  // the server's last error, see NatsConnection::complaint()
  // Called if there is nothing to read; the clock advances by the time that was waited.
  std::function<void()> on_idle = [] {};
  absl::Time clock = absl::UnixEpoch() + absl::Hours(1);
  absl::Time stored = absl::FromUnixSeconds(1'782'907'200);  // time of the next message
};
}  // namespace vmeventd::client
