#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/events/vm_registry.h"
#include "server/fleet/cloud_event.h"
#include "server/fleet/fleet_meters.h"
#include "server/fleet/fleet_sink.h"
#include "server/fleet/outbox.h"
#include "server/fleet/publishing_problems.h"

namespace vmeventd {

// Time between two looks at the stream and at each bucket, which somebody may have deleted, purged
// or restored; at that of the nodes with the first heartbeat after that. A look costs the servers
// one to three requests, and those of all nodes wait in one queue: for each node that is known the
// time is that much longer, up to kMaxLookInterval.
inline constexpr absl::Duration kLookInterval = absl::Minutes(1);
inline constexpr absl::Duration kLookANode = absl::Milliseconds(30);
inline constexpr absl::Duration kMaxLookInterval = absl::Minutes(10);
// `random`: from 0 to 1, so that the nodes that came together do not look together.
absl::Duration NextLook(const FleetMeters& meters, double random);

struct PublisherOptions {
  std::string cluster;
  std::string node;
  PublishFormat format = PublishFormat::kProtobuf;
  double events_per_second = 5'000;  // in the long run, while it catches up
  std::string version;               // of vmeventd
  std::string secret;                // of the node: see FleetEncoder
  // Interval of the messages that the node is there; zero: nothing but events is published.
  absl::Duration heartbeat = absl::ZeroDuration();
};

// What the fleet's key-value buckets say of this node: the last state of each VM, and the node's
// heartbeat. The state follows the events: a VM's state is written once the stream has the VM's
// newest event, so a consumer that has seen the state finds in the stream how it came about. What
// the buckets lose, or what others write under this node's keys, is written again within a minute.
// Events never depend on buckets: where one fails, it is tried again later. One thread, the
// publisher's.
class NodeState {
 public:
  // States that one step writes.
  static constexpr size_t kMaxBatch = 256;
  // Keys of an earlier daemon that one step looks at.
  static constexpr size_t kMaxLookups = 64;
  // Messages of a bucket that one look takes.
  static constexpr size_t kMaxLater = 4096;
  // How soon a change is looked for again.
  static constexpr absl::Duration kScanInterval = absl::Seconds(1);
  // A state that did not change is written again, before the bucket's age limit takes it.
  static constexpr absl::Duration kRefresh = absl::Hours(24);
  // Attempts to use a bucket that fails: the wait doubles from the first to the last, unless all
  // but what is too large for the bucket is there.
  static constexpr absl::Duration kFirstRetry = absl::Seconds(10);
  static constexpr absl::Duration kMaxRetry = absl::Minutes(10);

  // All outlive the object. `random`: numbers from 0 to 1.
  NodeState(PublisherOptions options, FleetSink* sink, Outbox* outbox, const Clock* clock,
            FleetMeters* meters, PublishingProblems* problems, std::function<double()> random);

  // The sink has another connection: a heartbeat is due. The servers have enough to do with all
  // nodes that come back, so that a look waits.
  void OnConnected();

  // Writes what is due; `published`: the stream has every event up to here.
  struct Step {
    size_t written = 0;   // messages
    absl::Duration next;  // when something is due again
  };
  Step Write(const FleetPosition& published);

  // The last heartbeat, of a daemon that stops. Does not wait for its acknowledgement.
  void Leave(const FleetPosition& published);

 private:
  struct Written {
    VmRecordPtr record;
    absl::Duration at;
  };
  // A bucket's use: when it may be tried again.
  struct Bucket {
    PublishingProblems::Of problem;
    std::string created;     // another text: it was deleted and made again
    bool looked_at = false;  // since it failed
    absl::Duration due = absl::ZeroDuration();
    absl::Duration retry = absl::ZeroDuration();
  };
  struct Change {
    std::string name;    // of the VM
    VmRecordPtr record;  // null: deleted
    FleetMessage message;
  };

  absl::Status OpenVms();
  // What becomes of the VMs' values that a look at their bucket has not found as they were written.
  // `later`: the places of those from verified_place_ on, by subject, up to the place `read_to`.
  void TakeLosses(const FleetSink::Log& bucket, const std::map<std::string, uint64_t>& later,
                  uint64_t read_to);
  absl::Status WriteVms(const FleetPosition& published, size_t* written);
  // Differences between the VMs and the bucket.
  std::vector<Change> Changes(const FleetPosition& published);
  void AddUnknown(const std::map<std::string, VmRecordPtr>& vms, std::vector<Change>* changes);
  // A state that the bucket refuses for good leaves no older one behind.
  void DeleteUnfit(const std::vector<Change>& changes, const FleetSink::Answers& answers);
  // The message's place is known if nobody else has written its key.
  void TakeAnswer(const Change& change, const FleetSink::Answer& answer, absl::Duration now);
  absl::Status WriteHeartbeat(const FleetPosition& published);
  std::string KeyOf(const std::string& vm) const;
  FleetMessage Heartbeat(const FleetPosition& published, absl::Duration interval) const;
  FleetMessage Message(std::string subject, const std::string& journal_id,
                       std::string payload) const;
  // Uses a bucket if that is due; `use` returns how it went.
  void Use(const char* what, Bucket* bucket, absl::Duration interval,
           const std::function<absl::Status()>& use);

  const PublisherOptions options_;
  FleetSink* const sink_;
  Outbox* const outbox_;
  const Clock* const clock_;
  FleetMeters* const meters_;
  PublishingProblems* const problems_;
  const std::function<double()> random_;

  Bucket vms_bucket_{PublishingProblems::kStates};
  Bucket nodes_bucket_{PublishingProblems::kHeartbeats};
  absl::Duration check_at_ = absl::ZeroDuration();  // of the VMs' bucket
  absl::Duration count_at_ = absl::ZeroDuration();  // of the nodes
  std::map<std::string, Written> written_;          // by the VM's name
  std::set<std::string> unknown_;  // subjects of the bucket that an earlier daemon wrote
  bool listed_ = false;            // whether these were asked for
  // Places of the last messages of keys, by subject, so that a late message of a slow connection
  // replaces none; nullopt: it is not known. A key that is not here has none.
  std::map<std::string, std::optional<uint64_t>> places_;
  // All of the node's messages up to here are as they were written; 0: not one is known.
  uint64_t verified_place_ = 0;
  uint64_t read_to_ = 0;  // up to here all that is behind it was read; 0: not all of it
  std::optional<uint64_t> heartbeat_place_;
  bool behind_ = false;  // the last heartbeat says that events wait
  absl::Duration heartbeat_at_ = absl::ZeroDuration();
  uint64_t scanned_version_ = 0;        // of the VMs
  bool pending_ = true;                 // something of that version is to be written
  std::optional<absl::Time> complete_;  // when the bucket last had every state
  absl::Duration refresh_at_ = absl::ZeroDuration();
};

}  // namespace vmeventd
