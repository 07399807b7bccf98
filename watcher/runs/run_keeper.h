#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "watcher/core/event_sink.h"
#include "watcher/runs/read_notes.h"

namespace vmeventd {

// Keeps the descriptors of open runs, and what was read last from their monitors, where they
// outlive this process, so that a daemon which is started after a crash goes on with them. Loop
// thread.
class RunKeeper {
 public:
  // Descriptors of a run. They stay the run's, which calls Forget() before it closes one.
  struct Descriptors {
    int connection = -1;  // the one to its monitor, which answers; -1: libvirt reports it
    int process = -1;     // its pidfd; -1: it is not tracked
    uint32_t socket_owner = 0;
  };

  virtual ~RunKeeper() = default;

  // Keeps a run's descriptors from the end of the turn on, in the place of those kept before. The
  // run shuts a kept connection down before it closes it, or its peer would not notice. Returns the
  // stream for notes of what is read, which the keeper outlives; null: none, or there is no
  // connection.
  virtual std::unique_ptr<ReadNotes::Stream> Keep(const std::string& run_id,
                                                  const Descriptors& descriptors) = 0;
  virtual void Forget(const std::string& run_id) = 0;
  // A turn of the loop is over, and what its runs have pushed has come so far.
  virtual void EndTurn(const SinkProgress& progress) = 0;
  // Notes whose streams Keep() returns; null: it returns none.
  virtual ReadNotes* notes() { return nullptr; }

  // Number of runs that are kept now, and of times that one could not be. Any thread.
  virtual uint64_t kept() const { return 0; }
  virtual uint64_t left_out() const { return 0; }
};

}  // namespace vmeventd
