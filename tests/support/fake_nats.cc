#include "tests/support/fake_nats.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/fleet/fleet_buckets.h"
#include "client/fleet/fleet_subjects.h"
#include "nlohmann/json.hpp"
#include "tests/support/subject_matches.h"

namespace vmeventd::client {
namespace {

using nlohmann::json;

std::string TimeText(absl::Time time) {
  return absl::FormatTime(absl::RFC3339_full, time, absl::UTCTimeZone());
}

// The one consumer of a connection.
struct Consumer {
  std::string stream;
  std::vector<std::string> subjects;
  std::vector<uint64_t> last_of_each;  // for last_per_subject
  bool of_each = false;
  uint64_t next = 1;
  uint64_t delivered = 0;
  int wanted = 0;
  size_t bytes = 0;  // bytes of those
  bool lost = false;
};

bool Matches(const Consumer& consumer, const FakeNats::Message& message) {
  return consumer.subjects.empty() ||
         std::any_of(
             consumer.subjects.begin(), consumer.subjects.end(),
             [&](const std::string& pattern) { return SubjectMatches(pattern, message.subject); });
}

std::vector<const FakeNats::Message*> Waiting(const FakeNats& nats, const Consumer& consumer) {
  std::vector<const FakeNats::Message*> waiting;
  const auto stream = nats.streams.find(consumer.stream);
  if (stream == nats.streams.end()) return waiting;
  for (const auto& [sequence, message] : stream->second.messages) {
    if (sequence < consumer.next || !Matches(consumer, message)) continue;
    const bool later = std::any_of(
        stream->second.messages.upper_bound(sequence), stream->second.messages.end(),
        [&one = message](const auto& other) { return other.second.subject == one.subject; });
    if (!consumer.of_each || !later) waiting.push_back(&message);
  }
  return waiting;
}

class FakeSubscription : public NatsSubscription {
 public:
  FakeSubscription(FakeNats* nats, std::shared_ptr<Consumer> consumer)
      : nats_(nats), consumer_(std::move(consumer)) {}

  absl::StatusOr<std::optional<NatsMessage>> Next(absl::Duration timeout) override {
    if (consumer_->lost || !nats_->reachable)
      return absl::UnavailableError("the connection is lost");
    if (nats_->lose_after == 0) {
      nats_->lose_after.reset();
      consumer_->lost = true;
      return absl::UnavailableError("the connection is lost");
    }
    std::vector<const FakeNats::Message*> waiting = Waiting(*nats_, *consumer_);
    if (waiting.empty() || consumer_->wanted == 0) {
      nats_->clock += timeout;
      if (timeout > absl::ZeroDuration()) nats_->on_idle();
      return std::nullopt;
    }
    const FakeNats::Message message = *waiting.front();
    if (message.data.size() > consumer_->bytes) {
      consumer_->wanted = 0;
      return NatsMessage{
          .headers = {{"Status", "409"}, {"Description", "Message Size Exceeds MaxBytes"}}};
    }
    consumer_->bytes -= message.data.size();
    consumer_->next = message.sequence + 1;
    ++consumer_->delivered;
    --consumer_->wanted;
    if (std::exchange(nats_->drop_one, false)) return Next(timeout);
    if (nats_->lose_after) --*nats_->lose_after;
    return NatsMessage{
        .subject = message.subject,
        .reply = absl::StrCat("$JS.ACK.", consumer_->stream, ".c.1.", message.sequence, ".",
                              consumer_->delivered, ".", absl::ToUnixNanos(message.time), ".",
                              waiting.size() - 1),
        .data = message.data,
        .headers = {message.headers.begin(), message.headers.end()}};
  }

 private:
  FakeNats* const nats_;
  const std::shared_ptr<Consumer> consumer_;
};

class FakeConnection : public NatsConnection {
 public:
  explicit FakeConnection(FakeNats* nats) : nats_(nats) {}

  absl::StatusOr<std::string> Request(const NatsMessage& message,
                                      absl::Duration /*timeout*/) override {
    const std::string& subject = message.subject;
    if (!nats_->reachable) return absl::UnavailableError("no answer");
    if (!nats_->consumer_faults.empty() && absl::StrContains(subject, ".CONSUMER.CREATE.")) {
      const std::string fault = nats_->consumer_faults.front();
      nats_->consumer_faults.pop_front();
      if (fault.empty()) return absl::UnavailableError("no answer from " + subject);
      return fault;
    }
    return AnswerTo(subject, message.data).dump();
  }
  json AnswerTo(const std::string& subject, absl::string_view data) {
    const std::vector<std::string> words = absl::StrSplit(subject, '.');  // $JS.API.X.Y.STREAM
    const bool of_message = absl::StartsWith(subject, "$JS.API.STREAM.MSG.GET.");
    const auto found = nats_->streams.find(words.at(of_message ? 5 : 4));
    if (found == nats_->streams.end()) {
      return {{"error", {{"err_code", 10059}, {"description", "stream not found"}}}};
    }
    if (of_message) return MessageFrom(found->second, json::parse(data).at("seq"));
    if (words[2] == "STREAM") return StateOf(found->second);
    if (words[3] == "CREATE") Create(words[4], json::parse(data));
    return {{"name", "c"},
            {"num_pending", Waiting(*nats_, *consumer_).size()},
            {"delivered", {{"consumer_seq", consumer_->delivered}}}};
  }
  absl::Status Publish(const NatsMessage& message) override {
    if (absl::StartsWith(message.subject, "$JS.API.CONSUMER.MSG.NEXT.")) {
      const json request = json::parse(message.data);
      consumer_->wanted = request["batch"];
      consumer_->bytes = request["max_bytes"];
      nats_->most_pulled = std::max(nats_->most_pulled, consumer_->bytes);
    } else if (absl::StartsWith(message.subject, "$JS.API.CONSUMER.DELETE.")) {
      ++nats_->deleted_consumers;
    }
    return absl::OkStatus();
  }
  absl::StatusOr<std::unique_ptr<NatsSubscription>> Subscribe(
      const std::string& /*subject*/) override {
    return std::make_unique<FakeSubscription>(nats_, consumer_);
  }
  std::string NewInbox() override { return "_INBOX.1"; }
  bool closed() const override { return consumer_->lost; }
  std::string complaint() const override { return nats_->complaint; }

 private:
  static json StateOf(const FakeNats::Stream& stream) {
    const auto& messages = stream.messages;
    const absl::Time none = absl::UnixEpoch();
    return {{"created", stream.created},
            {"config", json::object()},
            {"state",
             {{"messages", messages.size()},
              {"first_seq", stream.first()},
              {"last_seq", stream.last},
              {"first_ts", TimeText(messages.empty() ? none : messages.begin()->second.time)},
              {"last_ts", TimeText(messages.empty() ? none : messages.rbegin()->second.time)}}}};
  }

  // Returns the message at a position of the stream.
  static json MessageFrom(const FakeNats::Stream& stream, uint64_t place) {
    const auto found = stream.messages.find(place);
    if (found == stream.messages.end()) {
      return {{"error", {{"err_code", 10037}, {"description", "no message found"}}}};
    }
    const FakeNats::Message& message = found->second;
    std::string headers = "NATS/1.0\r\n";
    for (const auto& [name, value] : message.headers) {
      absl::StrAppend(&headers, name, ": ", value, "\r\n");
    }
    return {{"message",
             {{"subject", message.subject},
              {"seq", message.sequence},
              {"hdrs", absl::Base64Escape(absl::StrCat(headers, "\r\n"))},
              {"data", absl::Base64Escape(message.data)},
              {"time", TimeText(message.time)}}}};
  }

  void Create(const std::string& stream, const json& request) {
    const json& config = request.at("config");
    nats_->consumers.push_back(config.dump());
    *consumer_ = Consumer{.stream = stream};
    if (config.contains("filter_subject")) consumer_->subjects = {config["filter_subject"]};
    if (config.contains("filter_subjects")) consumer_->subjects = config["filter_subjects"];
    consumer_->of_each = config["deliver_policy"] == "last_per_subject";
    if (config.contains("opt_start_seq")) consumer_->next = config["opt_start_seq"];
    if (!config.contains("opt_start_time")) return;
    absl::Time start;
    std::string error;
    absl::ParseTime(absl::RFC3339_full, config["opt_start_time"].get<std::string>(), &start,
                    &error);
    for (const auto& [sequence, message] : nats_->streams[stream].messages) {
      if (message.time < start) consumer_->next = sequence + 1;
    }
  }

  FakeNats* const nats_;
  const std::shared_ptr<Consumer> consumer_ = std::make_shared<Consumer>();
};

}  // namespace

FakeNats::FakeNats() {
  for (const char* name : {"VMEVENTS", "KV_VMEVENTS_VMS", "KV_VMEVENTS_NODES"}) streams[name];
}

absl::StatusOr<std::unique_ptr<NatsConnection>> FakeNats::Connect() {
  if (!reachable) return absl::UnavailableError("no connection: refused");
  ++connections;
  return std::make_unique<FakeConnection>(this);
}

void FakeNats::Add(const std::string& stream, const std::string& subject,
                   std::map<std::string, std::string> headers, const std::string& data) {
  Stream& to = streams[stream];
  const uint64_t sequence = ++to.last;
  to.messages[sequence] = {sequence, subject, std::move(headers), data, stored};
}

void FakeNats::AddEvent(const std::string& node, const v1::Event& event, const std::string& word) {
  Add("VMEVENTS",
      absl::StrCat(NodeSubjectPrefix("prod", node), EscapeToken(event.vm().name()), ".", word),
      {{"ce-source", absl::StrCat("/vmevents/prod/", EscapeToken(node), "/journal-", node)},
       {"ce-id", absl::StrCat(event.sequence())},
       {"ce-type", absl::StrCat(kSubjectPrefix, ".", word)}},
      event.SerializeAsString());
}

void FakeNats::AddVm(const std::string& node, const v1::Vm& vm) {
  Add("KV_VMEVENTS_VMS", KeySubject(kVmsBucket, VmBucketKey("prod", node, vm.ref().name())),
      {{"ce-source", absl::StrCat("/vmevents/prod/", EscapeToken(node), "/journal-", node)}},
      vm.SerializeAsString());
}

void FakeNats::AddNode(const v1::NodeHeartbeat& node) {
  Add("KV_VMEVENTS_NODES", KeySubject(kNodesBucket, NodeBucketKey(node.cluster(), node.node())),
      {{"ce-source", absl::StrCat("/vmevents/", EscapeToken(node.cluster()), "/",
                                  EscapeToken(node.node()), "/j")}},
      node.SerializeAsString());
}

}  // namespace vmeventd::client
