#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "grpcpp/support/status_code_enum.h"
#include "vmeventd/v1/vm_events.pb.h"

// What happened in a run of the crash harness, as plain values: the only input of the checks
// (checks.h).

namespace vmeventd::crash {

// One life of the daemon; lives are numbered in order. Times are on the node's clock.
struct DaemonLife {
  absl::Time begin;
  absl::Time end = absl::InfiniteFuture();
  std::string how;  // how it ended, for people
};

// What the harness did to a VM, as far as it affects the verdict.
enum class Deed {
  kPowerdown,  // the host pressed the power button
  kReset,
  kGuestDown,  // the guest powered off under -no-shutdown
  kRevive,     // such a guest is reset and runs again
  kPanic,      // the guest panicked, and is paused
  // The ends, each the last deed of its run, except for a QEMU that hangs at its end and dies
  // later.
  kGuestShutdown,
  kGuestReset,  // a reboot under -no-reboot
  kQuit,
  kSignal,     // SIGTERM
  kHostReset,  // system_reset under -no-reboot
  kPanicExit,
  kWatchdog,
  kDie,  // the process dies silently
};

const char* DeedName(Deed deed);

struct Act {
  Deed deed;
  // The life of the daemon whose monitor connection was attached then, and so saw it unless killed;
  // -1: uncertain.
  int seen_by = -1;
};

// One process that the harness started.
struct RunHistory {
  std::string name;
  int64_t pid = 0;
  std::vector<Act> acts;  // the last one is its end
  // The daemon had published it, and then lived long enough to lose nothing.
  bool must_be_published = false;
  // The shutdown file before the run, once everything of the previous run had arrived; and after
  // its STOPPED, before anything of the next run.
  std::optional<bool> file_before;
  std::optional<bool> file_after;
  // When the next run of that name began: the file belongs to that run from then on.
  absl::Time next_began = absl::InfiniteFuture();
  std::vector<std::string> log;  // for people
};

// The class of the run's end, had everything been seen. What follows from less is the simulation's
// to judge: tests/simulation/reference.h.
v1::ShutdownClass TrueClass(const RunHistory& run);

struct Delivery {
  uint64_t sequence = 0;
  bool durable = false;
  std::string bytes;  // the event, encoded
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
  std::vector<v1::Vm> snapshot;
  // Everything matching up to here was sent, according to the server's Progress or events.
  uint64_t position = 0;
  grpc::StatusCode end = grpc::StatusCode::OK;
  std::string end_message;
};

struct ClientHistory {
  std::string name;
  v1::EventFilter filter;
  bool resumes = false;  // each stream begins at the position of the previous one
  std::vector<StreamHistory> streams;
};

// A query to the last daemon, with the expected and the actual answer.
struct Probe {
  std::string what;
  grpc::StatusCode expected = grpc::StatusCode::OK;
  grpc::StatusCode answer = grpc::StatusCode::OK;
  std::string message;
};

struct History {
  std::vector<DaemonLife> lives;
  std::vector<RunHistory> runs;
  std::vector<ClientHistory> clients;
  // The final content of the journal's file, in order, and of ListEvents.
  std::vector<v1::Event> journal;
  std::string journal_id;
  std::vector<v1::Event> listed;
  std::vector<v1::Event> listed_newest_first;
  std::vector<v1::Vm> vms;  // ListVms with stopped VMs, at the end
  std::vector<Probe> probes;
};

}  // namespace vmeventd::crash
