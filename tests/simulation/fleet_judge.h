#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "server/fleet/cloud_event.h"
#include "tests/simulation/daemon.h"
#include "tests/simulation/judge.h"
#include "tests/simulation/story.h"

namespace vmeventd::simulation {

// Compares the fleet's stream and its buckets with what the journal had. The stream has each event
// once and in order, or a GAP names it. The position never passes an event that the stream lacks,
// and neither does the state of a VM in its bucket.
class FleetJudge {
 public:
  // `states`: whether the buckets are written.
  FleetJudge(const Judge* judge, Story* story, bool states)
      : judge_(judge), story_(story), states_(states) {}

  // Checks the position after a start; `kept`: nothing has come between that takes a written file
  // back.
  void AfterStart(const Daemon& daemon, bool kept);
  // Checks the position after each turn of the daemon's publisher.
  void AfterTurn(const Daemon& daemon);

  // The stream has a message at a place, behind all others. `late`: its connection was dead.
  void Stored(const FleetMessage& message, uint64_t place, bool late);
  // The stream has lost what is behind a place; the daemon has to notice.
  void LoseAfter(uint64_t place);
  // The stream never takes an event, whose GAP is to come.
  void Unfit(uint64_t sequence) {
    unfit_.insert(sequence);
    Dropped(sequence);
  }
  // The servers have dropped an event, and may store those behind it.
  void Dropped(uint64_t sequence) { dropped_.insert(sequence); }
  // A bucket has a value.
  void Put(const FleetMessage& message);

  // Checks the end, when nothing is left to do. `values`: of the buckets, by subject.
  void AtEnd(const Daemon& daemon, const std::map<std::string, FleetMessage>& values) const;

 private:
  // A message of the stream, and the sequences that it says something of.
  struct Coverage {
    uint64_t place;
    uint64_t first;
    uint64_t last;
    bool is_gap;
  };

  void StoredGap(const v1::Event& event);
  void StoredEvent(const v1::Event& event, bool late);
  // The sequences of this range that events were given.
  std::vector<uint64_t> EventsOf(uint64_t first, uint64_t last) const;
  // Returns whether the stream has what there is to say of a sequence.
  bool IsCovered(uint64_t sequence) const;
  // The first sequence up to `last` that is not covered, and never was; 0: there is none.
  uint64_t FirstUncovered(uint64_t last);
  void CheckStates(const Daemon& daemon, const std::map<std::string, FleetMessage>& values) const;

  const Judge* const judge_;
  Story* const story_;
  const bool states_;
  std::set<uint64_t> stored_;
  std::set<uint64_t> in_gaps_;  // named by the stream's own GAPs
  std::set<uint64_t> dropped_;
  std::set<uint64_t> late_;  // those of stored_ whose connection was dead
  std::vector<Coverage> messages_;
  std::set<uint64_t> removed_;  // the stream had them
  std::set<uint64_t> unfit_;
  uint64_t begins_ = 0;    // first sequence to publish
  uint64_t covered_ = 0;   // the stream lacks none up to this one
  uint64_t seen_ = 0;      // the position after the last turn
  uint64_t position_ = 0;  // position that was written to its file
  uint64_t position_failures_ = 0;
};

}  // namespace vmeventd::simulation
