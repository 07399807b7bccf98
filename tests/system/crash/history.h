#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "grpcpp/support/status_code_enum.h"
#include "vmeventd/v1/vm_events.pb.h"

// What happened in a run of the crash harness, as plain values: the only input of the checks
// (checks.h).

namespace vmeventd::crash {

// One process that the harness started.
struct RunHistory {
  std::string name;
  int64_t pid = 0;
  bool must_be_published = false;  // a client has received its STARTED
  std::vector<std::string> log;    // for people
};

struct Delivery {
  uint64_t sequence = 0;
  bool durable = false;
  std::string bytes;    // the event, encoded
  uint64_t passed = 0;  // the stream's position when it came
};

enum class StreamStart { kOldest, kAfter, kSnapshot };

// One WatchEvents stream as the client saw it.
struct StreamHistory {
  StreamStart start = StreamStart::kOldest;
  uint64_t after = 0;      // with kAfter
  std::string journal_id;  // from its first Progress; empty if none arrived
  std::vector<Delivery> deliveries;
  // Of a snapshot: set once it was complete.
  std::optional<uint64_t> snapshot_sequence;
  // Everything matching up to here was sent, according to the server's Progress or events.
  uint64_t position = 0;
  grpc::StatusCode end = grpc::StatusCode::OK;
  std::string end_message;
};

struct ClientHistory {
  std::string name;
  bool resumes = false;  // each stream begins at the position of the previous one
  std::vector<StreamHistory> streams;
};

struct History {
  int lives = 0;  // number of lives of the daemon
  std::vector<RunHistory> runs;
  std::vector<ClientHistory> clients;
  // ListEvents of a daemon that has just begun: what is on the disk.
  std::vector<v1::Event> journal;
  std::string journal_id;
};

}  // namespace vmeventd::crash
