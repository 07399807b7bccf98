#ifndef VMEVENTD_TESTS_SUPPORT_FAKE_FLEET_H_
#define VMEVENTD_TESTS_SUPPORT_FAKE_FLEET_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/nats/jetstream_api.h"
#include "base/nats/subject.h"
#include "gtest/gtest.h"
#include "server/fleet/fleet_sink.h"
#include "server/fleet/outbox.h"
#include "server/fleet/publisher.h"
#include "tests/support/fleet_message.h"
#include "tests/support/test_events.h"
#include "vmeventd/v1/fleet.pb.h"

namespace vmeventd {

// A stream in memory. Without a window in which it would notice repeated messages, so that the
// publisher alone keeps each event to one message.
class FakeSink : public FleetSink {
 public:
  struct Stored {
    FleetMessageId id;
    uint64_t stream_sequence;
    FleetMessage message;
  };

  absl::StatusOr<std::optional<FleetTail>> Connect() override {
    ++connects;
    if (!connect_error.ok()) return connect_error;
    connected = true;
    if (stream.empty()) return std::nullopt;
    const Stored& last = stream.back();
    return TailOf(last.id, last.stream_sequence, HeaderOf(last.message, kSentAfterHeader));
  }

  absl::StatusOr<std::set<uint64_t>> StoredAfter(const FleetPosition& after,
                                                 size_t limit) override {
    std::set<uint64_t> found;
    size_t searched = 0;
    for (const Stored& stored : stream) {
      if (stored.stream_sequence <= after.stream_sequence) continue;
      if (++searched > limit) return absl::OutOfRangeError("too many");
      if (stored.id.journal_id == after.journal_id && stored.id.sequence > after.sequence) {
        found.insert(stored.id.sequence);
      }
    }
    return found;
  }

  Progress Publish(const std::vector<FleetMessage>& batch) override {
    EXPECT_TRUE(connected) << "only while it is connected";
    EXPECT_LE(batch.size(), FleetPublisher::kMaxBatchEvents);
    batches.push_back(batch.size());
    if (on_publish) on_publish();
    Progress progress;
    for (size_t i = 0; i < batch.size(); ++i) {
      if (lost.contains(i)) {
        progress.status = absl::UnavailableError("no acknowledgement came");
        continue;
      }
      Store(batch[i]);
      if (i >= acknowledge_only) progress.status = absl::UnavailableError("the connection is lost");
      if (!progress.status.ok()) continue;
      ++progress.acknowledged;
      progress.stream_sequence = stream.back().stream_sequence;
    }
    if (!progress.status.ok()) connected = false;
    lost.clear();
    acknowledge_only = std::numeric_limits<size_t>::max();
    return progress;
  }

  absl::StatusOr<BucketInfo> OpenBucket(absl::string_view bucket,
                                        absl::string_view filter) override {
    if (!bucket_error.ok()) return bucket_error;
    BucketInfo info{absl::StrCat("created ", buckets_created), {}};
    for (const auto& [subject, message] : values) {
      if (!filter.empty() && absl::StartsWith(subject, absl::StripSuffix(filter, ">"))) {
        info.subjects.push_back(subject);
      }
    }
    EXPECT_TRUE(bucket == kVmsBucket || bucket == kNodesBucket) << bucket;
    return info;
  }
  absl::StatusOr<bool> IsDeleted(absl::string_view /*bucket*/,
                                 const std::string& subject) override {
    return !Has(subject);
  }
  Progress Put(absl::string_view bucket, const std::vector<FleetMessage>& batch) override {
    Progress progress;
    progress.status = bucket_error;
    if (!bucket_error.ok()) return progress;
    for (const FleetMessage& message : batch) {
      if (progress.acknowledged == put_only) {
        progress.status = absl::UnavailableError("no acknowledgement came");
        break;
      }
      EXPECT_TRUE(absl::StartsWith(message.subject, KeySubject(bucket, "")));
      values[message.subject] = message;
      ++puts;
      ++progress.acknowledged;
    }
    put_only = std::numeric_limits<size_t>::max();
    return progress;
  }
  absl::Status Leave(const FleetMessage& message) override {
    values[message.subject] = message;
    return absl::OkStatus();
  }
  absl::Status Check() override { return check; }
  void Interrupt() override { interrupted = true; }

  void Store(const FleetMessage& message) {
    stream.push_back(
        {*ParseMessageId(HeaderOf(message, kMessageIdHeader)), ++last_stream_sequence, message});
  }
  std::vector<uint64_t> sequences() const {
    std::vector<uint64_t> out;
    for (const Stored& stored : stream) out.push_back(stored.id.sequence);
    return out;
  }

  // Somebody deletes the buckets.
  void LoseBuckets() {
    values.clear();
    ++buckets_created;
  }
  // Whether a key has a value.
  bool Has(const std::string& subject) const {
    const auto found = values.find(subject);
    return found != values.end() && !found->second.payload.empty();
  }
  // Of the node n of the cluster c.
  bool HasVm(absl::string_view vm) const {
    return Has(KeySubject(kVmsBucket, VmBucketKey("c", "n", vm)));
  }
  v1::Vm Vm(absl::string_view vm) const {
    v1::Vm out;
    EXPECT_TRUE(
        out.ParseFromString(values.at(KeySubject(kVmsBucket, VmBucketKey("c", "n", vm))).payload));
    return out;
  }
  v1::NodeHeartbeat Heartbeat() const {
    v1::NodeHeartbeat out;
    EXPECT_TRUE(
        out.ParseFromString(values.at(KeySubject(kNodesBucket, NodeBucketKey("c", "n"))).payload));
    return out;
  }

  absl::Status bucket_error;
  size_t put_only = std::numeric_limits<size_t>::max();  // values of the next batch
  std::map<std::string, FleetMessage> values;            // of both buckets, by subject
  size_t puts = 0;
  int buckets_created = 1;

  absl::Status connect_error;
  absl::Status check;
  std::set<size_t> lost;  // messages of the next batch, by their index
  size_t acknowledge_only = std::numeric_limits<size_t>::max();  // of the next batch, so many
  std::vector<Stored> stream;
  uint64_t last_stream_sequence = 0;
  std::vector<size_t> batches;
  std::function<void()> on_publish;  // while a batch is under way
  int connects = 0;
  bool connected = false;
  bool interrupted = false;
};

// Reads the pumped journal, as the history thread would.
class DirectOutbox : public Outbox {
 public:
  explicit DirectOutbox(PumpedState* state) : state_(state) {}
  Range range() const override {
    return {state_->live_state().journal_id(), state_->live_state().range().unbroken_from};
  }
  Newest newest() const override {
    return {state_->live_state().range().newest, std::nullopt,
            static_cast<uint64_t>(state_->live_state().vm_count())};
  }
  std::vector<VmRecordPtr> vms() const override {
    return state_->live_state().ListVmsAfter(nullptr, 100'000).vms;
  }
  uint64_t vms_version() const override { return state_->live_state().vms_version(); }
  void Interrupt() override {}
  absl::StatusOr<std::vector<EventBlockPtr>> Read(const std::string& journal_id, uint64_t first,
                                                  size_t max_bytes) override {
    if (state_->reader()->journal_id() != journal_id) {
      return absl::UnavailableError("the journal was replaced");
    }
    const uint64_t newest = state_->live_state().range().newest;
    if (first > newest) return std::vector<EventBlockPtr>();
    auto page = state_->reader()->ReadFrom(first, newest, max_bytes);
    if (!page.ok()) return page.status();
    return page->blocks;
  }

 private:
  PumpedState* const state_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_TESTS_SUPPORT_FAKE_FLEET_H_
