#include "server/fleet/jetstream_sink.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/nats/jetstream_api.h"
#include "base/nats/jetstream_request.h"
#include "base/nats/subject.h"
#include "base/steady_time.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

// A server that acknowledges nothing of a batch of events for so long is lost; a bucket that takes
// so long is tried again later, so that it holds no event up.
constexpr absl::Duration kEventsTimeout = absl::Seconds(15);
constexpr absl::Duration kTableTimeout = absl::Seconds(2);
// A server before 2.10 reads all of its stream to find the last message of a node that has none.
constexpr absl::Duration kSearchTimeout = absl::Minutes(1);
// Time limit of the last message at a stop.
constexpr absl::Duration kLeaveTimeout = absl::Milliseconds(500);
// How soon an Interrupt is noticed.
constexpr absl::Duration kSlice = absl::Milliseconds(100);
// Answers that wait to be read: of a batch, and of some before it.
constexpr size_t kMaxAnswers = 65'536;
// Requests for messages that are under way at once. Nodes that come back together must not fill the
// servers' queue of requests, which drops all of them at 10,000.
constexpr size_t kMaxRequests = 32;
// Foreign messages under the node's name that are passed over.
constexpr size_t kMaxPassed = 4096;
// Messages of a table that one look takes.
constexpr size_t kMaxLater = 4096;

class JetStreamSink : public FleetSink {
 public:
  explicit JetStreamSink(JetStreamOptions options)
      : options_(std::move(options)), subjects_(NodeSubjects(options_.cluster, options_.node)) {}

  absl::StatusOr<Log> Look() override;
  absl::StatusOr<std::optional<FleetTail>> Tail() override;
  absl::StatusOr<std::optional<FleetTail>> LastOf(const std::string& journal_id,
                                                  uint64_t before) override;
  absl::StatusOr<std::optional<FleetMessageId>> At(uint64_t place) override;
  absl::StatusOr<std::set<uint64_t>> StoredAfter(const FleetPosition& after, size_t limit) override;
  Answers Send(Where where, const std::vector<FleetMessage>& batch) override;
  absl::StatusOr<Table> LookAtTable(Where where, uint64_t since) override;
  absl::StatusOr<std::optional<Value>> Read(Where where, const std::string& subject) override;
  absl::Status Leave(const FleetMessage& message) override;
  absl::Status Check() override;
  void Interrupt() override { interrupted_ = true; }

 private:
  using Stored = std::optional<StoredMessage>;  // nullopt: there is no such message

  absl::Status Open();
  std::string StreamOf(Where where) const;
  // FAILED_PRECONDITION: there is no such stream.
  absl::StatusOr<StreamState> AskState(const std::string& stream, absl::string_view filter,
                                       absl::Duration timeout);
  // JetStream's answers to requests of its API about a stream, in their order; kMaxRequests are
  // under way at once.
  absl::StatusOr<std::vector<NatsMessagePtr>> Ask(absl::string_view api, const std::string& stream,
                                                  const std::vector<std::string>& requests,
                                                  absl::Duration timeout);
  // The answers to requests for messages, in their order.
  absl::StatusOr<std::vector<Stored>> GetMessages(const std::string& stream,
                                                  const std::vector<std::string>& requests,
                                                  absl::Duration timeout);
  // The messages of `subjects` in the `count` places from `first` on, and the one behind these, by
  // place.
  absl::StatusOr<std::map<uint64_t, StoredMessage>> MessagesFrom(const std::string& stream,
                                                                 const std::string& subjects,
                                                                 uint64_t first, size_t count,
                                                                 absl::Duration timeout);
  // Calls `use` for the messages of `subjects` at the places from `first` to `last`, in no order.
  // Returns up to where that were all: `last`, or less with more than about `limit` of them.
  absl::StatusOr<uint64_t> ReadAll(const std::string& stream, const std::string& subjects,
                                   uint64_t first, uint64_t last, size_t limit,
                                   absl::Duration timeout,
                                   const std::function<void(const StoredMessage&)>& use);
  // The first event of a journal at the places [from, to). OUT_OF_RANGE: `passed`, which counts the
  // other messages under the node's name, is over its limit.
  absl::StatusOr<Stored> FirstOf(const std::string& journal_id, uint64_t from, uint64_t to,
                                 size_t* passed);
  // As what the node has sent.
  FleetTail ToTail(const StoredMessage& message) const;

  // Begins a batch of messages whose answers are distinguished from those of others.
  void BeginBatch() { batch_inbox_ = absl::StrCat(inbox_, ".", ++batches_, "."); }
  std::string ReplyTo(size_t index) const { return absl::StrCat(batch_inbox_, index); }
  // The next answer of the batch, and the message that it is for. `refused`: whether the server's
  // last complaint is about this batch.
  absl::StatusOr<std::pair<size_t, NatsMessagePtr>> NextAnswer(
      absl::Duration timeout, const std::function<bool(const std::string&)>& refused);
  // Gives each message of the batch that has none its answer.
  absl::Status CollectAnswers(const std::string& stream, const std::vector<FleetMessage>& batch,
                              absl::Duration timeout, std::vector<Answer>* answers);
  Answer ToAnswer(const std::string& stream, const NatsMessage& message, absl::Status* why);
  // Another node may have stored its own message with the id of one of ours.
  absl::Status CheckRepeated(const std::string& stream, const std::vector<FleetMessage>& batch,
                             absl::Duration timeout, std::vector<Answer>* answers);

  const JetStreamOptions options_;
  const std::string subjects_;  // of the node
  std::atomic<bool> interrupted_ = false;

  // In this order: the subscription goes before its connection.
  std::unique_ptr<NatsConnection> connection_;
  std::unique_ptr<NatsSubscription> answers_;
  std::string inbox_;        // where answers go: INBOX.BATCH.INDEX
  std::string batch_inbox_;  // of the batch under way
  uint64_t batches_ = 0;
  absl::Duration round_trip_;
  StreamState looked_;       // by the last Look
  uint64_t last_place_ = 0;  // under the node's name, by the last Tail; 0: it had no message
  // By the last look at the table of VMs: behind `since` no message of this node is up to `last`.
  struct TableLook {
    std::string id;
    uint64_t since = 0;
    uint64_t last = 0;
  };
  TableLook table_look_;
  bool in_doubt_ = false;               // events that were sent over this connection have no answer
  std::set<std::string> noted_unsafe_;  // streams
};

absl::Status JetStreamSink::Open() {
  answers_.reset();
  connection_.reset();
  in_doubt_ = false;
  if (interrupted_) return absl::CancelledError("vmeventd is stopping");
  absl::StatusOr<std::unique_ptr<NatsConnection>> connection = ConnectNats(options_.nats);
  if (!connection.ok()) return connection.status();
  connection_ = *std::move(connection);
  absl::StatusOr<std::string> inbox = connection_->NewInbox();
  if (!inbox.ok()) return inbox.status();
  inbox_ = *std::move(inbox);
  absl::StatusOr<std::unique_ptr<NatsSubscription>> answers =
      connection_->Subscribe(absl::StrCat(inbox_, ".>"), kMaxAnswers);
  if (!answers.ok()) return answers.status();
  answers_ = *std::move(answers);
  // The server answers a PING at once, however much JetStream has to do.
  const absl::Time begin = SteadyNow();
  if (absl::Status status = connection_->Flush(); !status.ok()) return status;
  round_trip_ = SteadyNow() - begin;
  return absl::OkStatus();
}

std::string JetStreamSink::StreamOf(Where where) const {
  switch (where) {
    case Where::kVms:
      return BucketStream(kVmsBucket);
    case Where::kNodes:
      return BucketStream(kNodesBucket);
    case Where::kEvents:
      break;
  }
  return options_.stream;
}

absl::StatusOr<StreamState> JetStreamSink::AskState(const std::string& stream,
                                                    absl::string_view filter,
                                                    absl::Duration timeout) {
  const auto answers = Ask("STREAM.INFO", stream, {StreamInfoRequest(filter)}, timeout);
  if (!answers.ok()) return answers.status();
  absl::StatusOr<StreamState> state = ParseStreamState(answers->front()->data());
  if (state.ok() && !state->unfit.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the stream ", stream, " cannot be used: ", state->unfit,
                     ": create another one by `vmevents fleet create` (docs/fleet-servers.md)"));
  }
  if (state.ok() && !state->unsafe.empty() && noted_unsafe_.insert(stream).second) {
    spdlog::warn("the stream {} is unsafe: {}; `vmevents fleet create` turns that off", stream,
                 state->unsafe);
  }
  if (!absl::IsNotFound(state.status())) return state;
  return absl::FailedPreconditionError(
      absl::StrCat("there is no stream ", stream,
                   ": create it by `vmevents fleet create` (docs/fleet-servers.md)"));
}

absl::StatusOr<std::pair<size_t, NatsMessagePtr>> JetStreamSink::NextAnswer(
    absl::Duration timeout, const std::function<bool(const std::string&)>& refused) {
  const absl::Time deadline = SteadyNow() + timeout;
  while (SteadyNow() < deadline) {
    if (interrupted_) return absl::CancelledError("vmeventd is stopping");
    absl::StatusOr<NatsMessagePtr> message = answers_->Next(kSlice);
    if (!message.ok()) return message.status();
    if (*message == nullptr) {
      // The server gives no answer to what is not permitted, but complains at once.
      if (const std::string complaint = connection_->complaint(); refused(complaint)) {
        return absl::PermissionDeniedError(absl::StrCat("the server says: ", complaint));
      }
      continue;
    }
    absl::string_view subject = (*message)->subject();
    size_t index = 0;
    if (absl::ConsumePrefix(&subject, batch_inbox_) && absl::SimpleAtoi(subject, &index)) {
      return std::pair(index, *std::move(message));
    }
  }
  const std::string complaint = connection_->complaint();
  return absl::UnavailableError(
      absl::StrCat("no acknowledgement came for ", absl::FormatDuration(timeout),
                   complaint.empty() ? "" : "; the server says: ", complaint));
}

absl::StatusOr<std::vector<NatsMessagePtr>> JetStreamSink::Ask(
    absl::string_view api, const std::string& stream, const std::vector<std::string>& requests,
    absl::Duration timeout) {
  if (interrupted_) return absl::CancelledError("vmeventd is stopping");
  if (connection_ == nullptr) return absl::UnavailableError("there is no connection");
  const std::string subject = ApiSubject(api, stream);
  // The server names the subject with its domain.
  const std::string asked = absl::StrCat(api, ".", stream);
  const auto refused = [&asked](const std::string& complaint) {
    return absl::StrContains(complaint, asked);
  };
  std::vector<NatsMessagePtr> answers(requests.size());
  for (size_t begin = 0; begin < requests.size(); begin += kMaxRequests) {
    const size_t end = std::min(begin + kMaxRequests, requests.size());
    BeginBatch();
    for (size_t i = begin; i < end; ++i) {
      absl::Status status =
          connection_->Publish({.subject = subject, .reply = ReplyTo(i), .data = requests[i]});
      if (!status.ok()) return status;
    }
    for (size_t left = end - begin; left > 0;) {
      auto answer = NextAnswer(timeout, refused);
      if (absl::IsCancelled(answer.status())) return answer.status();
      if (!answer.ok()) {
        return absl::UnavailableError(
            absl::StrCat("JetStream does not answer ", subject, ": ", answer.status().message()));
      }
      if (answer->first >= end || answers[answer->first] != nullptr) continue;
      if (answer->second->no_responders()) return NoJetStream();
      answers[answer->first] = std::move(answer->second);
      --left;
    }
  }
  return answers;
}

absl::StatusOr<std::vector<JetStreamSink::Stored>> JetStreamSink::GetMessages(
    const std::string& stream, const std::vector<std::string>& requests, absl::Duration timeout) {
  const auto answers = Ask("STREAM.MSG.GET", stream, requests, timeout);
  if (!answers.ok()) return answers.status();
  std::vector<Stored> messages(requests.size());
  for (size_t i = 0; i < messages.size(); ++i) {
    absl::StatusOr<StoredMessage> message = ParseStoredMessage((*answers)[i]->data());
    if (message.ok()) {
      messages[i] = *std::move(message);
    } else if (!absl::IsNotFound(message.status())) {
      return message.status();
    }
  }
  return messages;
}

absl::StatusOr<std::map<uint64_t, StoredMessage>> JetStreamSink::MessagesFrom(
    const std::string& stream, const std::string& subjects, uint64_t first, size_t count,
    absl::Duration timeout) {
  std::vector<std::string> requests;
  for (size_t i = 0; i < count; ++i) requests.push_back(NextMessageRequest(subjects, first + i));
  absl::StatusOr<std::vector<Stored>> found = GetMessages(stream, requests, timeout);
  if (!found.ok()) return found.status();
  std::map<uint64_t, StoredMessage> messages;
  for (Stored& message : *found) {
    if (!message.has_value()) continue;
    const uint64_t sequence = message->stream_sequence;
    messages.emplace(sequence, *std::move(message));
  }
  return messages;
}

// nullopt: another program has sent it, or the server, which writes its answer where a request asks
// for it.
std::optional<FleetMessageId> IdOf(const StoredMessage& message) {
  return ParseMessageId(HeaderIn(message.headers, kMessageIdHeader));
}

absl::StatusOr<uint64_t> JetStreamSink::ReadAll(
    const std::string& stream, const std::string& subjects, uint64_t first, uint64_t last,
    size_t limit, absl::Duration timeout, const std::function<void(const StoredMessage&)>& use) {
  // Parts of the stream, each of which is read one message after the other, and all of them at
  // once: other nodes' messages may stand between any two. Most looks find one message or none.
  struct Part {
    uint64_t next;
    uint64_t end;
    uint64_t size() const { return end - next; }
  };
  std::vector<Part> parts;
  if (first <= last) parts.push_back({first, last + 1});
  size_t read = 0;
  for (size_t width = 1; !parts.empty(); width = std::min(width * 2, kMaxRequests)) {
    if (read > limit) return parts.front().next - 1;
    while (parts.size() < width) {
      const auto largest =
          std::max_element(parts.begin(), parts.end(),
                           [](const Part& a, const Part& b) { return a.size() < b.size(); });
      if (largest->size() < 2) break;
      const uint64_t middle = largest->next + largest->size() / 2;
      const uint64_t end = std::exchange(largest->end, middle);
      parts.insert(largest + 1, {middle, end});
    }
    std::vector<std::string> requests;
    requests.reserve(parts.size());
    for (const Part& part : parts) requests.push_back(NextMessageRequest(subjects, part.next));
    const auto found = GetMessages(stream, requests, timeout);
    if (!found.ok()) return found.status();
    std::vector<Part> left;
    for (size_t i = 0; i < parts.size(); ++i) {
      const Stored& message = (*found)[i];
      // What is behind it is another part's.
      if (!message.has_value() || message->stream_sequence >= parts[i].end) continue;
      use(*message);
      ++read;
      const Part rest = {message->stream_sequence + 1, parts[i].end};
      if (rest.size() > 0) left.push_back(rest);
    }
    parts = std::move(left);
  }
  return last;
}

FleetTail JetStreamSink::ToTail(const StoredMessage& message) const {
  return TailOf(IdOf(message).value_or(FleetMessageId()), message.stream_sequence, looked_.created,
                HeaderIn(message.headers, kSentAfterHeader),
                HeaderIn(message.headers, kSentToHeader));
}

absl::StatusOr<FleetSink::Log> JetStreamSink::Look() {
  if (connection_ == nullptr || connection_->closed() || in_doubt_) {
    if (absl::Status status = Open(); !status.ok()) return status;
  }
  absl::StatusOr<StreamState> state =
      AskState(options_.stream, "", NatsConnection::kRequestTimeout);
  if (!state.ok()) return state.status();
  looked_ = *std::move(state);
  return Log{looked_.created, looked_.first, looked_.last, round_trip_};
}

absl::StatusOr<std::optional<FleetTail>> JetStreamSink::Tail() {
  const auto last = GetMessages(options_.stream, {LastMessageRequest(subjects_)}, kSearchTimeout);
  if (!last.ok()) return last.status();
  const Stored& message = last->front();
  last_place_ = message.has_value() ? message->stream_sequence : 0;
  if (!message.has_value()) return std::nullopt;
  return ToTail(*message);
}

absl::StatusOr<std::optional<FleetMessageId>> JetStreamSink::At(uint64_t place) {
  const auto found = GetMessages(options_.stream, {MessageRequest(place)}, kEventsTimeout);
  if (!found.ok()) return found.status();
  const Stored& message = found->front();
  if (!message.has_value()) return std::nullopt;
  const std::string own = NodeSubjectPrefix(options_.cluster, options_.node);
  if (!absl::StartsWith(message->subject, own)) return FleetMessageId();
  return IdOf(*message).value_or(FleetMessageId());
}

absl::StatusOr<JetStreamSink::Stored> JetStreamSink::FirstOf(const std::string& journal_id,
                                                             uint64_t from, uint64_t to,
                                                             size_t* passed) {
  size_t count = 1;
  while (from < to) {
    auto found = MessagesFrom(options_.stream, subjects_, from, count, kSearchTimeout);
    if (!found.ok()) return found.status();
    if (found->empty()) break;
    for (auto& [place, message] : *found) {
      if (place >= to) return std::nullopt;
      if (const auto id = IdOf(message); id.has_value() && id->journal_id == journal_id) {
        return std::move(message);
      }
      if (++*passed > kMaxPassed) return absl::OutOfRangeError("too many foreign messages");
    }
    from = std::max(from + count, found->rbegin()->first + 1);
    count = std::min(count * 2, kMaxRequests);
  }
  return std::nullopt;
}

absl::StatusOr<std::optional<FleetTail>> JetStreamSink::LastOf(const std::string& journal_id,
                                                               uint64_t before) {
  size_t passed = 0;
  Stored last;
  uint64_t end = before;  // from there on is none
  // Back in steps that double, until there is one, and then to the last one.
  for (uint64_t step = 1; end > looked_.first && !last.has_value(); step *= 2) {
    const uint64_t begin = end - std::min(step, end - looked_.first);
    absl::StatusOr<Stored> found = FirstOf(journal_id, begin, end, &passed);
    if (absl::IsOutOfRange(found.status())) return std::nullopt;
    if (!found.ok()) return found.status();
    last = *std::move(found);
    if (!last.has_value()) end = begin;
  }
  if (!last.has_value()) return std::nullopt;
  while (last->stream_sequence + 1 < end) {
    const uint64_t middle = last->stream_sequence + (end - last->stream_sequence) / 2;
    absl::StatusOr<Stored> found = FirstOf(journal_id, middle, end, &passed);
    if (absl::IsOutOfRange(found.status())) return std::nullopt;
    if (!found.ok()) return found.status();
    if (found->has_value()) {
      last = *std::move(found);
    } else {
      end = middle;
    }
  }
  return ToTail(*last);
}

absl::StatusOr<std::set<uint64_t>> JetStreamSink::StoredAfter(const FleetPosition& after,
                                                              size_t limit) {
  std::set<uint64_t> found;
  size_t own = 0;
  const absl::StatusOr<uint64_t> read =
      ReadAll(options_.stream, subjects_, after.stream_sequence + 1, last_place_,
              limit + kMaxPassed, kSearchTimeout, [&](const StoredMessage& message) {
                const std::optional<FleetMessageId> id = IdOf(message);
                if (!id.has_value() || id->journal_id != after.journal_id) return;
                ++own;
                if (id->sequence > after.sequence) found.insert(id->sequence);
              });
  if (!read.ok()) return read.status();
  if (own > limit) {
    return absl::OutOfRangeError(absl::StrCat("more than ", limit, " messages of the node"));
  }
  if (*read < last_place_) {
    spdlog::warn(
        "more than {} messages of others are under this node's name in the fleet's stream: events "
        "that were not acknowledged may come twice",
        kMaxPassed);
  }
  return found;
}

FleetSink::Answers JetStreamSink::Send(Where where, const std::vector<FleetMessage>& batch) {
  Answers answers{absl::OkStatus(), std::vector<Answer>(batch.size())};
  if (connection_ == nullptr) {
    answers.status = absl::UnavailableError("there is no connection");
    return answers;
  }
  absl::Status why;
  BeginBatch();
  for (size_t i = 0; i < batch.size() && answers.status.ok(); ++i) {
    const FleetMessage& message = batch[i];
    std::vector<std::pair<std::string, std::string>> headers = message.headers;
    if (message.replaces.has_value()) {
      headers.emplace_back(kReplacesHeader, absl::StrCat(*message.replaces));
    }
    const absl::Status status = connection_->Publish({.subject = message.subject,
                                                      .reply = ReplyTo(i),
                                                      .data = message.payload,
                                                      .headers = &headers});
    if (absl::IsInvalidArgument(status)) {
      answers.each[i].kind = Answer::kUnfit;
    } else if (!status.ok()) {
      answers.status = status;
    }
    if (!status.ok()) why = status;
  }
  const absl::Duration timeout = where == Where::kEvents ? kEventsTimeout : kTableTimeout;
  if (answers.status.ok()) {
    answers.status = CollectAnswers(StreamOf(where), batch, timeout, &answers.each);
  }
  if (answers.status.ok()) answers.status = why;
  const auto is_none = [](const Answer& answer) { return answer.kind == Answer::kNone; };
  const bool doubt = std::any_of(answers.each.begin(), answers.each.end(), is_none);
  // What is late of a bucket is recognised by what it replaces.
  if (doubt && where == Where::kEvents) in_doubt_ = true;
  return answers;
}

FleetSink::Answer JetStreamSink::ToAnswer(const std::string& stream, const NatsMessage& message,
                                          absl::Status* why) {
  Answer answer{.kind = Answer::kRefused};
  if (message.no_responders()) {
    *why = absl::UnavailableError(
        absl::StrCat("no stream takes the events: the stream ", stream,
                     " is gone, has no leader at the moment, or lacks its subjects"));
    return answer;
  }
  const absl::StatusOr<StreamAck> ack = ParseAck(message.data());
  if (absl::IsInvalidArgument(ack.status())) {
    answer.kind = Answer::kUnfit;
  } else if (absl::IsAborted(ack.status())) {
    answer.kind = Answer::kOutdated;
  }
  if (!ack.ok()) {
    *why = ack.status();
  } else if (ack->stream != stream) {
    *why = absl::UnavailableError(absl::StrCat("the events go into the stream ", ack->stream,
                                               " instead of ", stream,
                                               ": take their subjects from it"));
  } else {
    answer = {Answer::kStored, ack->stream_sequence, ack->repeated};
  }
  return answer;
}

absl::Status JetStreamSink::CollectAnswers(const std::string& stream,
                                           const std::vector<FleetMessage>& batch,
                                           absl::Duration timeout, std::vector<Answer>* answers) {
  std::set<size_t> missing;
  for (size_t i = 0; i < batch.size(); ++i) {
    if ((*answers)[i].kind == Answer::kNone) missing.insert(i);
  }
  absl::Status first_error;
  const auto refused = [&](const std::string& complaint) {
    return std::any_of(missing.begin(), missing.end(), [&](size_t index) {
      return absl::StrContains(complaint, absl::StrCat("\"", batch[index].subject, "\""));
    });
  };
  while (!missing.empty()) {
    const auto next = NextAnswer(timeout, refused);
    if (!next.ok()) return next.status();
    if (missing.erase(next->first) == 0) continue;
    (*answers)[next->first] = ToAnswer(stream, *next->second, &first_error);
  }
  if (absl::Status status = CheckRepeated(stream, batch, timeout, answers); !status.ok()) {
    return status;
  }
  return first_error;
}

absl::Status JetStreamSink::CheckRepeated(const std::string& stream,
                                          const std::vector<FleetMessage>& batch,
                                          absl::Duration timeout, std::vector<Answer>* answers) {
  std::vector<size_t> repeated;
  std::vector<std::string> requests;
  for (size_t i = 0; i < batch.size(); ++i) {
    if (!(*answers)[i].repeated) continue;
    repeated.push_back(i);
    requests.push_back(MessageRequest((*answers)[i].place));
  }
  const auto messages = GetMessages(stream, requests, timeout);
  if (!messages.ok()) {
    for (const size_t index : repeated) (*answers)[index] = {};
    return messages.status();
  }
  absl::Status foreign;
  for (size_t i = 0; i < repeated.size(); ++i) {
    const Stored& message = (*messages)[i];
    if (message.has_value() && message->subject == batch[repeated[i]].subject) continue;
    Answer& answer = (*answers)[repeated[i]];
    foreign = absl::UnavailableError(
        absl::StrCat("the stream counts the event ", batch[repeated[i]].sequence,
                     " as a repetition of the message ", answer.place,
                     message.has_value() ? absl::StrCat(" (", message->subject, ")") : "",
                     ", which is not this node's"));
    answer = {.kind = Answer::kRefused};
  }
  return foreign;
}

absl::StatusOr<FleetSink::Table> JetStreamSink::LookAtTable(Where where, uint64_t since) {
  const absl::string_view bucket = where == Where::kVms ? kVmsBucket : kNodesBucket;
  const std::string node = KeySubject(bucket, NodeBucketKey(options_.cluster, options_.node));
  const std::string own = where == Where::kVms ? absl::StrCat(node, ".>") : "";
  const std::string stream = StreamOf(where);
  // Without a filter the server counts nothing.
  absl::StatusOr<StreamState> state = AskState(stream, own, kTableTimeout);
  if (!state.ok()) return state.status();
  Table table;
  table.id = state->created;
  table.size = state->messages;
  table.keys.insert(state->subjects.begin(), state->subjects.end());
  if (since == 0) return table;
  const auto known = GetMessages(stream, {MessageRequest(since)}, kTableTimeout);
  if (!known.ok()) return known.status();
  const Stored& message = known->front();
  const bool is_there =
      message.has_value() && absl::StartsWith(message->subject, absl::StrCat(node, "."));
  if (is_there) table.later[message->subject] = since;
  const TableLook before = std::exchange(table_look_, {});
  const bool again = is_there && before.id == table.id && before.since == since;
  const absl::StatusOr<uint64_t> read =
      ReadAll(stream, own, (again ? before.last : since) + 1, state->last, kMaxLater, kTableTimeout,
              [&](const StoredMessage& found) {
                uint64_t& place = table.later[found.subject];
                place = std::max(place, found.stream_sequence);
              });
  if (!read.ok()) return read.status();
  if (*read < state->last) {
    table.read_to = *read;
  } else {
    table_look_ = {table.id, since, state->last};
  }
  return table;
}

absl::StatusOr<std::optional<FleetSink::Value>> JetStreamSink::Read(Where where,
                                                                    const std::string& subject) {
  const auto last = GetMessages(StreamOf(where), {LastMessageRequest(subject)}, kTableTimeout);
  if (!last.ok()) return last.status();
  const Stored& message = last->front();
  if (!message.has_value()) return std::nullopt;
  return Value{!HeaderIn(message->headers, kKeyOperationHeader).empty(),
               JournalOfSource(HeaderIn(message->headers, "ce-source"))};
}

absl::Status JetStreamSink::Leave(const FleetMessage& message) {
  if (connection_ == nullptr || connection_->closed()) {
    return absl::UnavailableError("there is no connection");
  }
  if (absl::Status status = connection_->Publish({.subject = message.subject,
                                                  .reply = "",
                                                  .data = message.payload,
                                                  .headers = &message.headers});
      !status.ok()) {
    return status;
  }
  return connection_->Flush(kLeaveTimeout);
}

absl::Status JetStreamSink::Check() {
  return connection_ == nullptr || connection_->closed()
             ? absl::UnavailableError("the connection is lost")
             : absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<FleetSink>> MakeJetStreamSink(JetStreamOptions options) {
  if (absl::Status status = LoadNatsLibrary(); !status.ok()) {
    return absl::FailedPreconditionError(absl::StrCat("--publish: ", status.message()));
  }
  return std::make_unique<JetStreamSink>(std::move(options));
}

}  // namespace vmeventd
