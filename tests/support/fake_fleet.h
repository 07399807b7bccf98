#pragma once

#include <algorithm>
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
#include "server/fleet/stored_messages.h"
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

  absl::StatusOr<Log> Look(Where where) override {
    ++looks;
    if (where != Where::kEvents) return LookAtBucket(where);
    if (!connected) ++connects;
    if (!connect_error.ok()) return connect_error;
    connected = true;
    return Log{.id = absl::StrCat("created-", streams_created),
               .first = stream.empty() ? first_of_others.value_or(last_stream_sequence + 1)
                                       : stream.front().stream_sequence,
               .last = last_stream_sequence,
               .round_trip = round_trip};
  }

  absl::StatusOr<std::vector<FleetSink::Stored>> At(Where where,
                                                    const std::vector<uint64_t>& asked) override {
    places_asked += asked.size();
    std::vector<FleetSink::Stored> found;
    found.reserve(asked.size());
    for (const uint64_t place : asked) {
      found.push_back(where == Where::kEvents ? EventAt(place) : NextOf(where, place, place));
    }
    return found;
  }

  absl::StatusOr<std::vector<FleetSink::Stored>> Next(Where where,
                                                      const std::vector<uint64_t>& asked) override {
    EXPECT_LE(asked.size(), kMaxAsked);
    std::vector<FleetSink::Stored> found;
    for (const uint64_t place : asked) {
      if (where != Where::kEvents) {
        found.push_back(NextOf(where, place, UINT64_MAX));
        continue;
      }
      ++searches;
      const auto next = std::lower_bound(
          stream.begin(), stream.end(), place,
          [](const Stored& stored, uint64_t at) { return stored.stream_sequence < at; });
      found.push_back(next == stream.end() ? std::nullopt : ToStored(*next));
    }
    return found;
  }

  absl::StatusOr<std::vector<FleetSink::Stored>> Last(
      Where where, const std::vector<std::string>& subjects) override {
    ++(where == Where::kEvents ? tails : lookups);
    std::vector<FleetSink::Stored> found;
    for (const std::string& subject : subjects) {
      if (where == Where::kEvents) {
        found.push_back(stream.empty() ? std::nullopt : ToStored(stream.back()));
        continue;
      }
      const auto place = places.find(subject);
      found.push_back(place == places.end() ? std::nullopt : ToStored(subject, place->second));
    }
    return found;
  }

  Answers Send(Where where, const std::vector<FleetMessage>& batch) override {
    if (batch.empty()) return {check, {}};
    return where == Where::kEvents ? Publish(batch) : Put(where, batch);
  }
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

  // Replaces the stream by an empty one, as if it had been deleted and made again.
  void LoseStream() {
    stream.clear();
    last_stream_sequence = 0;
    ++streams_created;
  }
  // Writes the value of a key, as any client may.
  void Write(const FleetMessage& message) {
    values[message.subject] = message;
    places[message.subject] = ++last_place;
  }
  // Replaces the buckets by empty ones, as if they had been deleted and made again.
  void LoseBuckets() {
    values.clear();
    places.clear();
    ++buckets_created;
  }
  // Returns whether a key has a value.
  bool Has(const std::string& subject) const {
    const auto found = values.find(subject);
    return found != values.end() && !found->second.payload.empty();
  }
  // Returns whether the node n of the cluster c has the VM.
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

  int streams_created = 1;
  std::optional<uint64_t> first_of_others;  // place of the oldest message of other nodes
  int looks = 0;                            // lookups of the stream and the buckets
  size_t places_asked = 0;                  // messages that were asked for by their places
  int searches = 0;                         // searches for messages of the stream
  int tails = 0;                            // requests for the last message
  int lookups = 0;                          // requests for values of keys
  // Messages that the stream refuses, by their sequence: what it answers.
  std::map<uint64_t, Answer::Kind> refused;
  std::map<std::string, uint64_t> places;  // places of values
  uint64_t last_place = 0;
  absl::Status bucket_error;
  size_t put_only = std::numeric_limits<size_t>::max();  // values of the next batch
  std::map<std::string, FleetMessage> values;            // values of both buckets, by subject
  size_t puts = 0;
  size_t max_value = std::numeric_limits<size_t>::max();  // size of what the buckets take
  int buckets_created = 1;

  absl::Duration round_trip;
  absl::Status connect_error;
  absl::Status check;
  std::set<size_t> lost;  // messages of the next batch, by their index
  size_t acknowledge_only = std::numeric_limits<size_t>::max();  // limit for the next batch
  std::vector<Stored> stream;
  uint64_t last_stream_sequence = 0;
  std::vector<size_t> batches;
  std::function<void()> on_publish;  // called while a batch is under way
  int connects = 0;
  bool connected = false;
  bool interrupted = false;

 private:
  FleetSink::Stored EventAt(uint64_t place) const {
    for (const Stored& stored : stream) {
      if (stored.stream_sequence == place) return ToStored(stored);
    }
    // The rest are messages of other nodes.
    const uint64_t first = first_of_others.value_or(
        stream.empty() ? last_stream_sequence + 1 : stream.front().stream_sequence);
    if (place < first || place > last_stream_sequence) return std::nullopt;
    return FleetStored();
  }
  FleetSink::Stored ToStored(const Stored& stored) const {
    return vmeventd::ToStored(
        stored.id, stored.stream_sequence, absl::StrCat("created-", streams_created),
        HeaderOf(stored.message, kSentAfterHeader), HeaderOf(stored.message, kSentToHeader));
  }
  FleetSink::Stored ToStored(const std::string& subject, uint64_t place) const {
    const FleetMessage& value = values.at(subject);
    return FleetStored{.position = {JournalOfSource(HeaderOf(value, "ce-source")), 0, place, ""},
                       .subject = subject,
                       .deleted = value.payload.empty()};
  }
  static bool IsOwn(absl::string_view subject) {
    return absl::StartsWith(subject, KeySubject(kVmsBucket, NodeBucketKey("c", "n") + "."));
  }
  // The first message of a bucket at the places [first, last].
  FleetSink::Stored NextOf(Where where, uint64_t first, uint64_t last) const {
    FleetSink::Stored next;
    for (const auto& [subject, place] : places) {
      const bool is_there = where == Where::kVms && IsOwn(subject) && first <= place;
      if (!is_there || place > last) continue;
      last = place;
      next = ToStored(subject, place);
    }
    return next;
  }
  absl::StatusOr<Log> LookAtBucket(Where where) const {
    if (!bucket_error.ok()) return bucket_error;
    Log log{.id = absl::StrCat("created ", buckets_created), .last = last_place};
    for (const auto& [subject, value] : values) {
      if (!absl::StartsWith(subject, KeySubject(NameOf(where), ""))) continue;
      ++log.size;
      if (where == Where::kVms && IsOwn(subject)) log.keys.insert(subject);
    }
    return log;
  }

  static absl::string_view NameOf(Where where) {
    return where == Where::kVms ? kVmsBucket : kNodesBucket;
  }

  Answers Publish(const std::vector<FleetMessage>& batch) {
    EXPECT_TRUE(connected) << "only while it is connected";
    EXPECT_LE(batch.size(), FleetPublisher::kMaxBatchEvents);
    batches.push_back(batch.size());
    if (on_publish) on_publish();
    Answers answers{absl::OkStatus(), std::vector<Answer>(batch.size())};
    for (size_t i = 0; i < batch.size(); ++i) {
      if (const auto kind = refused.find(batch[i].sequence); kind != refused.end()) {
        answers.each[i].kind = kind->second;
        answers.status = absl::UnavailableError("JetStream answers \"no\"");
        continue;
      }
      if (lost.contains(i)) {
        answers.status = absl::UnavailableError("no acknowledgement came");
        connected = false;
        continue;
      }
      Store(batch[i]);
      if (i >= acknowledge_only) {
        answers.status = absl::UnavailableError("the connection is lost");
        connected = false;
        continue;
      }
      answers.each[i] = {Answer::kStored, stream.back().stream_sequence, false};
    }
    lost.clear();
    acknowledge_only = std::numeric_limits<size_t>::max();
    return answers;
  }

  Answers Put(Where where, const std::vector<FleetMessage>& batch) {
    Answers answers{bucket_error, std::vector<Answer>(batch.size())};
    if (!bucket_error.ok()) return answers;
    for (size_t i = 0; i < batch.size(); ++i) {
      const FleetMessage& message = batch[i];
      if (i == put_only) {
        answers.status = absl::UnavailableError("no acknowledgement came");
        break;
      }
      EXPECT_TRUE(absl::StartsWith(message.subject, KeySubject(NameOf(where), "")));
      if (message.payload.size() > max_value) {
        answers.each[i].kind = Answer::kUnfit;
        answers.status = absl::InvalidArgumentError("message size exceeds maximum allowed");
        continue;
      }
      const auto place = places.find(message.subject);
      if (message.replaces.has_value() &&
          *message.replaces != (place == places.end() ? 0 : place->second)) {
        answers.each[i].kind = Answer::kOutdated;
        answers.status = absl::AbortedError("wrong last sequence");
        continue;
      }
      Write(message);
      ++puts;
      answers.each[i] = {Answer::kStored, last_place, false};
    }
    put_only = std::numeric_limits<size_t>::max();
    return answers;
  }
};

// Reads the pumped journal, as the history thread would.
class DirectOutbox : public Outbox {
 public:
  explicit DirectOutbox(PumpedState* state) : state_(state) {}
  Range range() const override {
    return {state_->log().identity()->journal_id, state_->live_state().range().unbroken_from};
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
    const uint64_t newest = state_->live_state().range().newest;
    if (first > newest) return std::vector<EventBlockPtr>();
    auto page = state_->reader()->Answer({std::nullopt, first, newest, journal_id}, max_bytes);
    if (!page.ok()) return page.status();
    return page->blocks;
  }

 private:
  PumpedState* const state_;
};

}  // namespace vmeventd
