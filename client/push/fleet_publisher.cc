#include "client/push/fleet_publisher.h"

#include <algorithm>
#include <iterator>
#include <map>

#include "absl/memory/memory.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "client/connect/connection.h"
#include "client/nats/subject.h"
#include "client/output/event_text.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"
#include "client/push/request.h"
#include "vmeventd/v1/fleet.pb.h"

namespace vmeventd::client {
namespace {

// A server that acknowledges nothing for so long is lost; a bucket is tried again later.
constexpr absl::Duration kEventsTimeout = absl::Seconds(15);
constexpr absl::Duration kBucketTimeout = absl::Seconds(5);
constexpr absl::Duration kLeaveTimeout = absl::Milliseconds(500);
constexpr absl::Duration kDaemonTimeout = absl::Seconds(5);
constexpr size_t kMaxNames = 32;        // of a filter; each may read as a pattern
constexpr size_t kMaxChanged = 10'000;  // beyond it, all states are written again
constexpr size_t kMaxOfWrite = 256;

// A header's value as the binding of CloudEvents encodes it: the bytes that are not printable
// ASCII, the blank, the double quote and the percent sign become % and two digits.
std::string PercentEncode(absl::string_view value) {
  constexpr absl::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  for (const char byte : value) {
    if (byte > ' ' && byte <= '~' && byte != '"' && byte != '%') {
      out.push_back(byte);
      continue;
    }
    const auto code = static_cast<unsigned char>(byte);
    out.append({'%', kDigits[code >> 4], kDigits[code & 15]});
  }
  return out;
}

// A message with its payload, and the headers that a value of a bucket has too.
template <typename Payload>
absl::StatusOr<StreamMessage> MessageOf(std::string subject, const Payload& payload,
                                        const MessageNode& node, bool json) {
  StreamMessage message{
      std::move(subject),
      {{"ce-source", SourceOf(node)},
       {"ce-datacontenttype", json ? "application/json" : "application/protobuf"}},
      ""};
  if (!json) {
    message.data = payload.SerializeAsString();
    return message;
  }
  absl::StatusOr<std::string> text = ToJson(payload);
  if (!text.ok()) return text.status();
  message.data = *std::move(text);
  return message;
}

// Chooses of two runs with one name.
bool IsNewer(const v1::Vm& a, const v1::Vm& b) {
  const bool a_stopped = a.state() == v1::VM_STATE_STOPPED;
  const bool b_stopped = b.state() == v1::VM_STATE_STOPPED;
  return a_stopped != b_stopped ? b_stopped : a.last_sequence() > b.last_sequence();
}

v1::Event GapOf(uint64_t first, uint64_t last, absl::string_view why) {
  v1::Event event;
  event.set_sequence(last);
  *event.mutable_observe_time() = ToProto(absl::Now());
  event.set_type(v1::EVENT_TYPE_GAP);
  event.set_gap_reason(v1::GAP_REASON_NOT_PUBLISHED);
  event.set_durable(true);  // the stream is
  event.set_message(
      absl::StrCat("the events ", first, " to ", last, " are not in the fleet's stream: ", why));
  event.mutable_missing()->set_first(first);
  event.mutable_missing()->set_last(last);
  return event;
}

}  // namespace

absl::StatusOr<StreamMessage> FleetMessageOf(const v1::Event& event, const MessageNode& node,
                                             bool json) {
  const std::string words = SubjectWords(event);
  const std::string& vm = event.vm().name();
  absl::StatusOr<StreamMessage> message = MessageOf(
      ToSubject(NodeSubjectPrefix(node.cluster, node.name), vm, words), event, node, json);
  if (!message.ok()) return message;
  const auto add = [&message](const char* name, std::string value) {
    message->headers.emplace_back(name, std::move(value));
  };
  add("ce-specversion", "1.0");
  add("ce-id", IdOf(event));
  add("ce-type", absl::StrCat(kSubjectPrefix, ".", words));
  if (!vm.empty()) add("ce-subject", PercentEncode(vm));
  add("ce-time",
      absl::FormatTime(absl::RFC3339_full, FromProto(event.observe_time()), absl::UTCTimeZone()));
  return message;
}

std::optional<uint64_t> SequenceIn(const StoredMessage& message, const MessageNode& node) {
  if (HeaderIn(message.headers, "ce-source") != SourceOf(node)) return std::nullopt;
  const std::string id = HeaderIn(message.headers, "ce-id");
  uint64_t sequence = 0;
  if (!absl::SimpleAtoi(absl::StripPrefix(id, "gap-after-"), &sequence)) return std::nullopt;
  return sequence;
}

absl::StatusOr<std::unique_ptr<FleetPublisher>> FleetPublisher::Open(Options options) {
  auto writer = StreamWriter::Open(options.connection, options.stop);
  if (!writer.ok()) return writer.status();
  return absl::WrapUnique(new FleetPublisher(std::move(options), *std::move(writer)));
}

absl::Status FleetPublisher::Consume(Formatter::Events events) {
  MessageNode& node = options_.node;
  std::vector<StreamMessage> messages;
  messages.reserve(events.size());
  for (const auto& [event, of, resume_after] : events) {
    if (of.name != node.name) {
      return absl::UnavailableError(
          absl::StrCat("the node ", node.name, " is named ", of.name, " now"));
    }
    if (std::exchange(node.journal_id, of.journal_id) != of.journal_id) options_.published = 0;
    absl::StatusOr<StreamMessage> message = FleetMessageOf(event, node, options_.json);
    if (!message.ok()) return message.status();
    messages.push_back(*std::move(message));
  }
  std::vector<size_t> unfit;
  absl::Status status = writer_->Write(kFleetStream, messages, kEventsTimeout, &unfit);
  if (!status.ok()) return status;
  for (const size_t i : unfit) {
    const uint64_t sequence = events[i].event.sequence();
    status = PublishGap(node, sequence, sequence, "the stream refuses it, as too large");
    if (!status.ok()) return status;
  }
  for (const auto& [event, of, resume_after] : events) {
    options_.published = std::max(options_.published, event.sequence());
    if (!event.vm().name().empty()) changed_.insert(event.vm().name());
  }
  if (changed_.size() > kMaxChanged) {
    changed_.clear();
    rewrite_at_ = absl::InfinitePast();
  }
  if (behind_) heartbeat_at_ = absl::InfinitePast();
  options_.log->Delivered(events);
  return absl::OkStatus();
}

absl::Status FleetPublisher::PublishGap(const MessageNode& node, uint64_t first, uint64_t last,
                                        const std::string& why) {
  const v1::Event gap = GapOf(first, last, why);
  absl::StatusOr<StreamMessage> message = FleetMessageOf(gap, node, options_.json);
  if (!message.ok()) return message.status();
  std::vector<size_t> unfit;
  absl::Status status = writer_->Write(kFleetStream, {*message}, kEventsTimeout, &unfit);
  if (!status.ok()) return status;
  if (!unfit.empty()) {
    return absl::UnavailableError(absl::StrCat("the stream ", kFleetStream,
                                               " takes not even a GAP: its max_msg_size, or the "
                                               "server's max_payload, is too small"));
  }
  options_.log->Note(absl::StrCat("GAP: ", EscapeForTerminal(gap.message())));
  return absl::OkStatus();
}

bool FleetPublisher::Tick() {
  const absl::Time now = SteadyNow();
  if (now >= heartbeat_at_) {
    const absl::Status status = WriteHeartbeat();
    heartbeat_at_ = now + (status.ok() ? kHeartbeat : absl::ZeroDuration());
    NoteBucket("the node's heartbeat", status, &noted_heartbeat_);
  }
  if (now >= states_at_ && (!changed_.empty() || now >= rewrite_at_)) {
    const absl::Status status = WriteStates();
    states_at_ = now + (status.ok() ? kStatesInterval : kBucketRetry);
    NoteBucket("the VMs' last states", status, &noted_states_);
  }
  return !options_.connection->closed();
}

void FleetPublisher::NoteBucket(const char* what, const absl::Status& status, std::string* noted) {
  const std::string reason(status.message());
  if (!status.ok() && !absl::IsCancelled(status) && reason != *noted) {
    options_.log->Note(absl::StrCat("cannot write ", what, ": ", EscapeForTerminal(reason),
                                    "; events are published all the same"));
  }
  *noted = reason;
}

absl::Status FleetPublisher::WriteBucket(absl::string_view bucket,
                                         const std::vector<StreamMessage>& messages) {
  std::vector<size_t> unfit;
  for (size_t at = 0; at < messages.size(); at += kMaxOfWrite) {
    const auto begin = messages.begin() + static_cast<std::ptrdiff_t>(at);
    const auto count = static_cast<std::ptrdiff_t>(std::min(kMaxOfWrite, messages.size() - at));
    absl::Status status =
        writer_->Write(BucketStream(bucket), {begin, begin + count}, kBucketTimeout, &unfit);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<StreamMessage> FleetPublisher::HeartbeatMessage(bool stopped) {
  const MessageNode& node = options_.node;
  grpc::ClientContext call;
  SetRequestDeadline(&call, kDaemonTimeout);
  v1::GetServerInfoResponse info;
  const grpc::Status asked = options_.daemon->GetServerInfo(&call, {}, &info);
  // Nobody looks after its VMs: the node falls silent.
  if (!asked.ok() && !stopped) {
    return absl::UnavailableError(
        absl::StrCat("vmeventd does not answer: ", asked.error_message()));
  }
  const bool known = asked.ok() && info.journal_id() == node.journal_id;
  v1::NodeHeartbeat heartbeat;
  heartbeat.set_cluster(node.cluster);
  heartbeat.set_node(node.name);
  heartbeat.set_version(info.version());
  heartbeat.set_journal_id(node.journal_id);
  heartbeat.set_newest_sequence(known ? info.newest_sequence() : options_.published);
  heartbeat.set_published_sequence(options_.published);
  heartbeat.set_vms(static_cast<uint64_t>(info.vms()));
  *heartbeat.mutable_time() = ToProto(absl::Now());
  if (!stopped) *heartbeat.mutable_interval() = ToProto(kHeartbeat);
  const absl::Time newest = options_.log->state().observed_until;
  if (newest > absl::UnixEpoch()) *heartbeat.mutable_newest_event_time() = ToProto(newest);
  behind_ = heartbeat.newest_sequence() > heartbeat.published_sequence();
  return MessageOf(KeySubject(kNodesBucket, NodeBucketKey(node.cluster, node.name)), heartbeat,
                   node, options_.json);
}

absl::Status FleetPublisher::WriteHeartbeat() {
  const absl::StatusOr<StreamMessage> message = HeartbeatMessage(/*stopped=*/false);
  return message.ok() ? WriteBucket(kNodesBucket, {*message}) : message.status();
}

void FleetPublisher::Leave() {
  const absl::StatusOr<StreamMessage> message = HeartbeatMessage(/*stopped=*/true);
  if (!message.ok() || options_.connection->closed()) return;
  // A heartbeat that is lost makes the node silent instead.
  (void)options_.connection->Publish(
      {.subject = message->subject, .data = message->data, .headers = &message->headers});
  (void)options_.connection->Flush(kLeaveTimeout);
}

absl::StatusOr<std::vector<v1::Vm>> FleetPublisher::ReadVms(
    const std::vector<std::string>& names) const {
  v1::ListVmsRequest request;
  request.mutable_vm_names()->Add(names.begin(), names.end());
  request.set_include_stopped(true);
  constexpr int kPage = 1000;
  request.set_page_size(kPage);
  std::map<std::string, v1::Vm> newest;
  do {
    grpc::ClientContext call;
    SetRequestDeadline(&call, kDaemonTimeout);
    v1::ListVmsResponse page;
    const grpc::Status status = options_.daemon->ListVms(&call, request, &page);
    if (!status.ok()) {
      return absl::UnavailableError(
          absl::StrCat("vmeventd does not list them: ", status.error_message()));
    }
    if (page.journal_id() != options_.node.journal_id) return std::vector<v1::Vm>();
    for (v1::Vm& vm : *page.mutable_vms()) {
      // Its newest event, which is on its way, has it written again.
      if (vm.last_sequence() > options_.published) continue;
      v1::Vm& known = newest[vm.ref().name()];
      if (!known.has_ref() || IsNewer(vm, known)) known = std::move(vm);
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  std::vector<v1::Vm> vms;
  for (auto& [name, vm] : newest) vms.push_back(std::move(vm));
  return vms;
}

absl::Status FleetPublisher::WriteStates() {
  const bool all = SteadyNow() >= rewrite_at_;
  std::vector<std::string> names(changed_.begin(), changed_.end());
  if (all) names.clear();
  size_t at = 0;
  do {
    const size_t end = std::min(at + kMaxNames, names.size());
    const auto vms = ReadVms({names.begin() + static_cast<std::ptrdiff_t>(at),
                              names.begin() + static_cast<std::ptrdiff_t>(end)});
    if (!vms.ok()) return vms.status();
    std::vector<StreamMessage> messages;
    for (const v1::Vm& vm : *vms) {
      const MessageNode& node = options_.node;
      const std::string key = VmBucketKey(node.cluster, node.name, vm.ref().name());
      absl::StatusOr<StreamMessage> message =
          MessageOf(KeySubject(kVmsBucket, key), vm, node, options_.json);
      if (!message.ok()) return message.status();
      messages.push_back(*std::move(message));
    }
    if (absl::Status status = WriteBucket(kVmsBucket, messages); !status.ok()) return status;
    at = end;
  } while (at < names.size());
  changed_.clear();
  if (all) rewrite_at_ = SteadyNow() + kRewrite;
  return absl::OkStatus();
}

}  // namespace vmeventd::client
