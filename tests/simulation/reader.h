#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "grpcpp/grpcpp.h"
#include "tests/simulation/daemon.h"
#include "tests/simulation/judge.h"
#include "tests/simulation/random.h"
#include "tests/simulation/story.h"

namespace vmeventd::simulation {

// A client that watches, over a network that may stand still or break, and that goes on by its
// cursor. Holds what it gets together with what the judge knows: nothing twice, nothing out of
// order, nothing left out but what a GAP names.
class Reader {
 public:
  Reader(int number, Kernel* kernel, Random* random, Story* story, const Judge* judge);
  ~Reader();

  // The next thing that the network or the client does: connects, takes a message, stands still,
  // breaks off. False: there is nothing to do now.
  bool Turn(Daemon* daemon);
  // Checks that the stream has sent what there is, and whatever was due; called when nobody has
  // anything to do.
  // `disk_waits`: what is only in the journal cannot be read now.
  void CheckAtRest(const EventLog& log, bool disk_waits);
  // Reads without a pause from now on, for the end of the simulation.
  void Hurry() { hurries_ = true; }
  // Time at which it goes on by itself.
  absl::Duration next() const { return pause_until_; }
  // The daemon is gone.
  void Disconnect() { call_ = nullptr; }
  // Checks that all that there is has come.
  void CheckComplete();

 private:
  class Call;

  void Connect(Daemon* daemon);
  void Take(const std::string& bytes);
  void TakeEvent(const v1::Event& event);
  // The stream has ended.
  void OnEnd(const grpc::Status& status);
  // The server says that everything up to `sequence` is durable.
  void TakeDurable(uint64_t sequence);
  // Checks the first place of a call that asked for the oldest event, or for those since a time.
  void CheckBegin();
  // Checks that each event between the two that it asked for, none of which was sent, is excused.
  void Skip(uint64_t from, uint64_t to);
  // Returns whether it asked for `event`.
  bool Wants(const v1::Event& event) const;
  // The first event after its place that it asked for and may still get; 0: there is none.
  uint64_t FirstMissing() const;

  const int number_;
  const std::string name_;
  Kernel* const kernel_;
  Random* const random_;
  Story* const story_;
  const Judge* const judge_;
  const uint64_t kind_;
  std::vector<std::string> names_;  // VMs whose events it asks for; empty: all
  bool hurries_ = false;
  absl::Duration pause_until_ = absl::ZeroDuration();
  // Backoff after each stream that ended without an event.
  Backoff backoff_{absl::Milliseconds(100), absl::Seconds(5)};

  std::string journal_id_;         // journal of the cursor; empty: there is none
  uint64_t sequence_ = 0;          // events up to here are done with
  uint64_t durable_ = 0;           // everything up to here is durable, or a GAP will name it
  uint64_t progress_durable_ = 0;  // as the last Progress had it
  bool in_snapshot_ = false;
  std::set<std::string> snapshot_;           // runs in it
  bool from_snapshot_ = false;               // the next start, after OUT_OF_RANGE
  bool from_oldest_ = false;                 // set for a stream whose first message is yet to come
  absl::Time since_ = absl::InfinitePast();  // its stream leaves out what was observed before
  uint64_t retained_from_ = 0;               // the oldest event when it connected
  bool durable_only_ = false;                // of its stream
  uint64_t owed_ = 0;  // the last event of its stream that was not durable; 0: none was
  std::vector<std::pair<uint64_t, uint64_t>> announced_gaps_;
  std::vector<uint64_t> left_out_;  // events that did not come, and must be named by a GAP
  std::shared_ptr<Call> call_;
};

}  // namespace vmeventd::simulation
