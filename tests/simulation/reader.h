#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/backoff.h"
#include "grpcpp/grpcpp.h"
#include "tests/simulation/daemon.h"
#include "tests/simulation/judge.h"
#include "tests/simulation/random.h"
#include "tests/simulation/story.h"

namespace vmeventd::simulation {

// A client that watches events over a network that may stall or fail, and resumes from its cursor.
// Compares what it gets with the judge's knowledge: no event may come twice or out of order, and
// none may be missing unless a GAP names it.
class Reader {
 public:
  Reader(int number, Kernel* kernel, Random* random, Story* story, const Judge* judge);
  ~Reader();

  // The next action of the network or the client: it connects, takes a message, stalls, or
  // disconnects. False: there is nothing to do now.
  bool Turn(Daemon* daemon);
  // Called when nobody has anything to do. Checks that the stream has sent all events, and
  // everything else that was due.
  // `disk_waits`: events that are only in the journal cannot be read now.
  void CheckAtRest(const EventLog& log, bool disk_waits);
  // Reads without pauses from now on, for the end of the simulation.
  void Hurry() { hurries_ = true; }
  // Time at which it continues by itself.
  absl::Duration next() const { return pause_until_; }
  // The daemon is gone.
  void Disconnect() { call_ = nullptr; }
  // Checks that all events have come.
  void CheckComplete();

 private:
  class Call;

  void Connect(Daemon* daemon);
  void Take(const std::string& bytes);
  void TakeEvent(const v1::Event& event);
  // The stream has ended.
  void OnEnd(const grpc::Status& status);
  // The server reports that everything up to `sequence` is durable.
  void TakeDurable(uint64_t sequence);
  // Checks the first position of a call that asked to start at the oldest event or at a time.
  void CheckBegin();
  // Checks that there is an excuse for each requested event between the two, none of which was
  // sent.
  void Skip(uint64_t from, uint64_t to);
  // Returns whether its filter includes `event`.
  bool Wants(const v1::Event& event) const;
  // The first requested event after its position that it may still get; 0: none.
  uint64_t FirstMissing() const;

  const int number_;
  const std::string name_;
  Kernel* const kernel_;
  Random* const random_;
  Story* const story_;
  const Judge* const judge_;
  const uint64_t kind_;
  std::vector<std::string> names_;  // names of the VMs whose events it requests; empty: all
  bool hurries_ = false;
  absl::Duration pause_until_ = absl::ZeroDuration();
  // Backoff, used after each stream that ended without an event.
  Backoff backoff_{absl::Milliseconds(100), absl::Seconds(5)};

  std::string journal_id_;         // journal of the cursor; empty: there is no cursor
  uint64_t sequence_ = 0;          // events up to here have been handled
  uint64_t durable_ = 0;           // events up to here are durable, or a GAP will name them
  uint64_t progress_durable_ = 0;  // the value in the last Progress
  bool in_snapshot_ = false;
  std::set<std::string> snapshot_;  // runs in the snapshot
  bool from_snapshot_ = false;      // the next stream starts from a snapshot, after OUT_OF_RANGE
  bool from_oldest_ = false;        // set for a stream whose first message has not come yet
  // Its stream omits events that were observed before this time.
  absl::Time since_ = absl::InfinitePast();
  uint64_t retained_from_ = 0;  // sequence of the oldest event when it connected
  bool durable_only_ = false;   // setting of its stream
  uint64_t unconfirmed_ = 0;    // the last event of its stream that was not durable; 0: all were
  std::vector<std::pair<uint64_t, uint64_t>> announced_gaps_;
  std::vector<uint64_t> left_out_;  // events that did not come, and that a GAP must name
  std::shared_ptr<Call> call_;
};

}  // namespace vmeventd::simulation
