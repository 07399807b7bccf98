#ifndef VMEVENTD_TESTS_SYSTEM_CRASH_HISTORY_H_
#define VMEVENTD_TESTS_SYSTEM_CRASH_HISTORY_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "grpcpp/support/status_code_enum.h"
#include "vmeventd/v1/vm_events.pb.h"

// What happened in a run of the crash harness, as plain values: the checks (checks.h) look at
// nothing else.

namespace vmeventd::crash {

// One life of the daemon, in the order of their numbers. Times are the node's clock.
struct DaemonLife {
  absl::Time begin;
  absl::Time end = absl::InfiniteFuture();
  std::string how;  // it ended, for people
};

// What the harness did to a VM that bears on how its end is to be judged.
enum class Deed {
  kPowerdown,  // the host pressed the power button
  kReset,
  kGuestDown,  // the guest powered off under -no-shutdown
  kRevive,     // such a guest is reset and runs again
  kPanic,      // the guest panicked, and is paused
  // The ends, each the last deed of its run; but for a QEMU that hangs at its end and dies later.
  kGuestShutdown,
  kGuestReset,  // a reboot under -no-reboot
  kQuit,
  kSignal,     // SIGTERM
  kHostReset,  // system_reset under -no-reboot
  kPanicExit,
  kWatchdog,
  kDie,  // the process goes without a word
};

const char* DeedName(Deed deed);

struct Act {
  Deed deed;
  // The life of the daemon that was attached to the monitor then, and so saw it unless it was
  // killed; -1 if that is not sure.
  int seen_by = -1;
};

// One process that the harness started.
struct RunHistory {
  std::string name;
  int64_t pid = 0;
  std::vector<Act> acts;  // the last one is its end
  // The daemon had told of it when it lived on for long enough to lose nothing.
  bool must_be_told = false;
  // The shutdown file before the run, where nothing of the run before it was still to come; and
  // after its STOPPED, before anything of the next run.
  std::optional<bool> file_before;
  std::optional<bool> file_after;
  // When the next run of that name began: from then on the file is that run's.
  absl::Time next_began = absl::InfiniteFuture();
  std::vector<std::string> log;  // for people
};

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
  std::string journal_id;  // as its first Progress said; empty if none came
  std::vector<Delivery> deliveries;
  // Of a snapshot: set once it was complete.
  std::optional<uint64_t> snapshot_sequence;
  std::vector<v1::Vm> snapshot;
  // Up to here everything that matches has been sent, as the server said: by Progress or by events.
  uint64_t position = 0;
  grpc::StatusCode end = grpc::StatusCode::OK;
  std::string end_message;
};

struct ClientHistory {
  std::string name;
  v1::EventFilter filter;
  bool resumes = false;  // each stream begins at the position of the one before it
  std::vector<StreamHistory> streams;
};

// A question that the last daemon was asked, and whether the answer was what it has to be.
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
  // What the journal's file holds in the end, in order, and what ListEvents tells of it.
  std::vector<v1::Event> journal;
  std::string journal_id;
  std::vector<v1::Event> listed;
  std::vector<v1::Event> listed_newest_first;
  std::vector<v1::Vm> vms;  // ListVms with the stopped ones, in the end
  std::vector<Probe> probes;
};

}  // namespace vmeventd::crash

#endif  // VMEVENTD_TESTS_SYSTEM_CRASH_HISTORY_H_
