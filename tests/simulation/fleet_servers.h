#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/fleet/fleet_sink.h"
#include "tests/simulation/fleet_judge.h"
#include "tests/simulation/kernel.h"
#include "tests/simulation/random.h"
#include "tests/simulation/story.h"
#include "tests/simulation/world.h"

namespace vmeventd::simulation {

// The servers of the fleet, with the stream and the buckets of JetStream, and the network to them.
// They stand elsewhere, and outlive the daemon and its host. A message reaches them late or never,
// and so does its acknowledgement; connections break, before messages are stored and after; what is
// on its way then may arrive later. The stream drops messages while its leader changes, recognises
// a repeated one within its window, and has messages of other nodes.
class FleetServers {
 public:
  // Lets everybody else go on until `until`, or until `done`.
  using Wait = std::function<void(absl::Duration until, const std::function<bool()>& done)>;

  FleetServers(Kernel* kernel, Random* random, Story* story, World* world, FleetJudge* judge,
               Wait wait);

  // A daemon's way to them.
  std::unique_ptr<FleetSink> NewSink();

  // Makes the servers unreachable for a while.
  void GoAway(absl::Duration how_long);
  // Deletes the VMs' bucket, or purges it.
  void LoseBucket();
  // Deletes the stream, which is made again, or restores it from a copy.
  void LoseStream();
  // Publishes as another node that has this one's name.
  void PublishAsOther();
  // Ends all faults: nothing fails from now on.
  void Settle() {
    settled_ = true;
    away_until_ = absl::ZeroDuration();
  }

  const std::map<std::string, FleetMessage>& values() const { return values_; }

 private:
  friend class SimulatedSink;

  using Ack = FleetSink::Answer;
  // A connection.
  struct Link {
    bool broken = false;
    absl::Duration cut_at = absl::InfiniteDuration();  // later arrivals are lost
    absl::Duration late_by = absl::ZeroDuration();     // delay of what arrives after it broke
    uint64_t batch = 0;                                // the batch that waits for acknowledgements
    std::vector<Ack> acks;                             // one for each of its messages
    size_t acknowledged = 0;
  };
  using LinkPtr = std::shared_ptr<Link>;
  // A message on its way.
  struct Message {
    LinkPtr link;
    uint64_t batch = 0;
    size_t index = 0;
    FleetMessage message;
    bool dropped = false;      // the servers drop it
    bool acknowledged = true;  // the acknowledgement is not lost on its way
    absl::Duration ack_takes;
  };

  absl::Duration now() const { return kernel_->monotonic(); }
  bool away() const { return now() < away_until_; }
  std::string LogId() const { return absl::StrCat("stream-", streams_made_); }
  // The value of a key of a bucket.
  FleetSink::Stored ValueAt(const std::string& subject) const;
  // The first message at a place or behind it: an event, or a value of a VM.
  FleetSink::Stored FirstFrom(bool events, uint64_t place) const;
  // Time that a message takes, there or back.
  absl::Duration Latency();
  bool Happens(uint64_t one_in) { return !settled_ && random_->OneIn(one_in); }
  void Carry(const LinkPtr& link, const std::vector<FleetMessage>& batch);
  void Break(const LinkPtr& link);
  void Arrive(const std::shared_ptr<Message>& message, bool delayed);
  Ack Store(const FleetMessage& message, bool late);

  Kernel* const kernel_;
  Random* const random_;
  Story* const story_;
  World* const world_;
  FleetJudge* const judge_;
  const Wait wait_;
  const uint64_t fails_one_in_;  // batches, in each way
  bool settled_ = false;
  absl::Duration away_until_ = absl::ZeroDuration();
  LinkPtr link_;  // the newest

  std::vector<FleetStored> stream_;
  uint64_t last_stream_sequence_ = 0;
  uint64_t streams_made_ = 1;
  std::set<std::string> unfit_;  // ids of the events that the stream never takes
  std::map<std::string, std::pair<Ack, absl::Duration>> window_;  // by id: answer and expiry
  std::map<std::string, FleetMessage> values_;                    // bucket values by subject
  std::map<std::string, uint64_t> places_;                        // places of these
  uint64_t last_place_ = 0;
  std::map<std::string, uint64_t> buckets_;  // by name: which of those made it is
  uint64_t buckets_made_ = 0;
};

}  // namespace vmeventd::simulation
