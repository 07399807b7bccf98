#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/counter.h"
#include "base/receiving_socket.h"
#include "base/unique_fd.h"
#include "server/host/parcel.h"
#include "server/host/shared_memory.h"
#include "watcher/core/event_sink.h"
#include "watcher/runs/handed_run.h"
#include "watcher/runs/read_notes.h"
#include "watcher/runs/run_keeper.h"

namespace vmeventd {

struct KeptEntry;  // one run in a message of the parcel

// A parcel to which runs are added as they are attached, and whose one descriptor lies with the
// service manager all the time: whenever this process dies, it has the open runs.
//
// A Unix socket returns only its oldest message. So entries of ended runs stay until a few messages
// are received and sent again without them, at the end of a turn: once ended runs are more than
// half of the entries, or messages have become small. A crash at that very moment loses the
// received entries, and those VMs are connected to as without a keeper.
//
// Beside it is the memory with notes of what is read: it belongs to the parcel whose socket's
// cookie it names, and finds the notes of a run by its serial in the parcel.
class KeptRuns : public RunKeeper {
 public:
  // Linux up to 6.8 has each sender on a Unix socket of the host wait for a collection of garbage
  // while more than 16,000 sockets are under way.
  static constexpr size_t kMaxRuns = 15'000;
  static constexpr size_t kRunsOfMessage = kMaxOfMessage / 2;

  // An error names the system call that failed.
  static absl::StatusOr<std::unique_ptr<KeptRuns>> Create(size_t max_runs = kMaxRuns);

  // Descriptors to store: the parcel, and the memory of what is read.
  int descriptor() const { return sockets_.parcel.get(); }
  int notes_descriptor() const { return memory_->descriptor(); }

  std::unique_ptr<ReadNotes::Stream> Keep(const std::string& run_id,
                                          const Descriptors& descriptors) override;
  void Forget(const std::string& run_id) override;
  void EndTurn(const SinkProgress& progress) override;
  ReadNotes* notes() override { return &notes_; }

  uint64_t kept() const override { return kept_.value(); }
  uint64_t left_out() const override { return left_out_.value(); }

 private:
  struct Added {
    std::string run_id;
    uint64_t serial;
    Descriptors descriptors;
  };

  struct Message;

  KeptRuns(ParcelSockets sockets, std::unique_ptr<SharedMemory> memory, size_t max_runs);

  void SendAdded();
  absl::Status Send(const Message& message);
  bool IsUntidy() const;
  // Takes a message out. Returns its entries of open runs, whose ids are in `*text`.
  std::vector<KeptEntry> Receive(std::string* text);
  // Receives some messages, and sends their entries of open runs again, in as few messages as
  // possible.
  void Tidy();
  void LeaveOut(const std::string& run_id, const absl::Status& why);

  const size_t max_runs_;
  const ParcelSockets sockets_;
  const std::unique_ptr<SharedMemory> memory_;
  ReadNotes notes_;
  absl::flat_hash_map<std::string, uint64_t> open_;  // serials of the kept runs, by run id
  std::vector<Added> added_;                         // runs added in this turn
  uint64_t last_serial_ = 0;
  size_t messages_ = 0;  // messages in the parcel
  size_t entries_ = 0;   // entries in them, those of ended runs included
  SocketCloser closer_;
  Level kept_;
  Counter left_out_;
};

// Reads the runs that such a parcel has left, the newest entry of each, with its `notes`, which may
// be null. INVALID_ARGUMENT: it is none, of another version, or has more than `max_messages`, which
// no daemon leaves: somebody else fills it.
absl::StatusOr<std::vector<HandedRun>> OpenKeptRuns(const UniqueFd& parcel,
                                                    const SharedMemory* notes,
                                                    size_t max_messages = 2 * KeptRuns::kMaxRuns);

}  // namespace vmeventd
