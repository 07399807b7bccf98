#include "server/fleet/jetstream_sink.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/nats/jetstream_api.h"
#include "base/nats/stream_reader.h"
#include "base/nats/subject.h"
#include "server/fleet/stored_messages.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

// Timeouts: a server that acknowledges nothing of a batch of events for the first is lost; a bucket
// that takes the second is retried later, so that it holds no event up.
constexpr absl::Duration kEventsTimeout = absl::Seconds(15);
constexpr absl::Duration kTableTimeout = absl::Seconds(2);
// A server before 2.10 reads all of its stream to find the last message of a node that has none.
constexpr absl::Duration kSearchTimeout = absl::Minutes(1);
// Time limit of the last message at a stop.
constexpr absl::Duration kLeaveTimeout = absl::Milliseconds(500);
// Longest time until an Interrupt is noticed.
constexpr absl::Duration kSlice = absl::Milliseconds(100);
// Limit of unread answers: a batch's, and those of some before it.
constexpr size_t kMaxAnswers = 65'536;

absl::Duration TimeoutOf(FleetSink::Where where, absl::Duration of_events = kEventsTimeout) {
  return where == FleetSink::Where::kEvents ? of_events : kTableTimeout;
}

class JetStreamSink : public FleetSink {
 public:
  explicit JetStreamSink(JetStreamOptions options) : options_(std::move(options)) {}

  absl::StatusOr<Log> Look(Where where) override;
  absl::StatusOr<std::vector<Stored>> At(Where where, const std::vector<uint64_t>& places) override;
  absl::StatusOr<std::vector<Stored>> Next(Where where,
                                           const std::vector<uint64_t>& places) override;
  absl::StatusOr<std::vector<Stored>> Last(Where where,
                                           const std::vector<std::string>& subjects) override;
  Answers Send(Where where, const std::vector<FleetMessage>& batch) override;
  void Interrupt() override { interrupted_ = true; }

 private:
  absl::Status Open();
  std::string StreamOf(Where where) const;
  // Returns the pattern of the node's subjects there.
  std::string SubjectsOf(Where where) const;
  // Returns the state of a stream. FAILED_PRECONDITION: there is no such stream.
  absl::StatusOr<StreamState> AskState(const std::string& stream, absl::string_view filter,
                                       absl::Duration timeout);
  // JetStream's answers to requests of its API about a stream, in their order; kMaxAsked are
  // under way at once.
  absl::StatusOr<std::vector<NatsMessagePtr>> Ask(absl::string_view api, const std::string& stream,
                                                  const std::vector<std::string>& requests,
                                                  absl::Duration timeout);
  // The answers to requests for messages, in their order.
  absl::StatusOr<std::vector<Stored>> GetMessages(Where where,
                                                  const std::vector<std::string>& requests,
                                                  absl::Duration timeout);
  Stored ToStored(Where where, const StoredMessage& message) const;

  // Begins a batch of messages whose answers are distinguished from those of others.
  void BeginBatch() { batch_inbox_ = absl::StrCat(inbox_, ".", ++batches_, "."); }
  std::string ReplyTo(size_t index) const { return absl::StrCat(batch_inbox_, index); }
  // The next answer of the batch, and the message that it is for. `refused`: whether the server's
  // last complaint is about this batch.
  absl::StatusOr<std::pair<size_t, NatsMessagePtr>> NextAnswer(
      absl::Duration timeout, const std::function<bool(const std::string&)>& refused);
  // Waits for the answers of the batch's messages that have none.
  absl::Status CollectAnswers(Where where, const std::vector<FleetMessage>& batch,
                              std::vector<Answer>* answers);
  Answer ToAnswer(const std::string& stream, const NatsMessage& message, absl::Status* why);
  // Checks repeated messages: another node may have stored its own with the id of one of ours.
  absl::Status CheckRepeated(Where where, const std::vector<FleetMessage>& batch,
                             std::vector<Answer>* answers);

  const JetStreamOptions options_;
  std::atomic<bool> interrupted_ = false;

  // Order matters: the subscription is destroyed before its connection.
  std::unique_ptr<NatsConnection> connection_;
  std::unique_ptr<NatsSubscription> answers_;
  std::string inbox_;        // answers go to INBOX.BATCH.INDEX
  std::string batch_inbox_;  // prefix of the batch under way
  uint64_t batches_ = 0;
  absl::Duration round_trip_;
  std::string created_;  // the stream of events, by the last Look
  // Events that were sent over this connection have no answer, or the server complained on it. Its
  // last complaint stays with the connection: it would count against answers that are slow once
  // the account may do what it was refused.
  bool in_doubt_ = false;
  std::set<std::string> noted_unsafe_;  // names of streams
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
  if (where == Where::kEvents) return std::string(kFleetStream);
  return BucketStream(where == Where::kVms ? kVmsBucket : kNodesBucket);
}

std::string JetStreamSink::SubjectsOf(Where where) const {
  if (where == Where::kEvents) return NodeSubjects(options_.cluster, options_.node);
  const std::string key = NodeBucketKey(options_.cluster, options_.node);
  return where == Where::kVms ? KeySubject(kVmsBucket, key + ".>") : KeySubject(kNodesBucket, key);
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
      // The server answers no request that is not permitted, but complains at once.
      if (const std::string complaint = connection_->complaint(); refused(complaint)) {
        in_doubt_ = true;
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
  for (size_t begin = 0; begin < requests.size(); begin += kMaxAsked) {
    const size_t end = std::min(begin + kMaxAsked, requests.size());
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

absl::StatusOr<std::vector<FleetSink::Stored>> JetStreamSink::GetMessages(
    Where where, const std::vector<std::string>& requests, absl::Duration timeout) {
  const auto answers = Ask("STREAM.MSG.GET", StreamOf(where), requests, timeout);
  if (!answers.ok()) return answers.status();
  std::vector<Stored> messages(requests.size());
  for (size_t i = 0; i < messages.size(); ++i) {
    const absl::StatusOr<StoredMessage> message = ParseStoredMessage((*answers)[i]->data());
    if (message.ok()) {
      messages[i] = ToStored(where, *message);
    } else if (!absl::IsNotFound(message.status())) {
      return message.status();
    }
  }
  return messages;
}

FleetSink::Stored JetStreamSink::ToStored(Where where, const StoredMessage& message) const {
  const auto header = [&message](const char* name) { return HeaderIn(message.headers, name); };
  const std::string own = SubjectsOf(where);
  // Messages of other programs have no id, nor have the server's own: it writes its answer to the
  // subject that a request names.
  FleetMessageId id;
  if (where != Where::kEvents) {
    id.journal_id = JournalOfSource(header("ce-source"));
  } else if (absl::StartsWith(message.subject, absl::StripSuffix(own, ">"))) {
    id = ParseMessageId(header(kMessageIdHeader)).value_or(id);
  }
  FleetStored stored = vmeventd::ToStored(id, message.stream_sequence, created_,
                                          header(kSentAfterHeader), header(kSentToHeader));
  stored.subject = message.subject;
  stored.deleted = !header(kKeyOperationHeader).empty();
  return stored;
}

absl::StatusOr<FleetSink::Log> JetStreamSink::Look(Where where) {
  const bool events = where == Where::kEvents;
  if (events && (connection_ == nullptr || connection_->closed() || in_doubt_)) {
    if (absl::Status status = Open(); !status.ok()) return status;
  }
  // The server counts nothing without a filter.
  const absl::StatusOr<StreamState> state =
      AskState(StreamOf(where), where == Where::kVms ? SubjectsOf(where) : "",
               TimeoutOf(where, NatsConnection::kRequestTimeout));
  if (!state.ok()) return state.status();
  if (events) created_ = state->created;
  return Log{.id = state->created,
             .first = state->first,
             .last = state->last,
             .size = state->messages,
             .keys = {state->subjects.begin(), state->subjects.end()},
             .round_trip = round_trip_};
}

absl::StatusOr<std::vector<FleetSink::Stored>> JetStreamSink::At(
    Where where, const std::vector<uint64_t>& places) {
  std::vector<std::string> requests;
  requests.reserve(places.size());
  for (const uint64_t place : places) requests.push_back(MessageRequest(place));
  return GetMessages(where, requests, TimeoutOf(where));
}

absl::StatusOr<std::vector<FleetSink::Stored>> JetStreamSink::Next(
    Where where, const std::vector<uint64_t>& places) {
  std::vector<std::string> requests;
  requests.reserve(places.size());
  for (const uint64_t place : places) {
    requests.push_back(NextMessageRequest(SubjectsOf(where), place));
  }
  return GetMessages(where, requests, TimeoutOf(where, kSearchTimeout));
}

absl::StatusOr<std::vector<FleetSink::Stored>> JetStreamSink::Last(
    Where where, const std::vector<std::string>& subjects) {
  std::vector<std::string> requests;
  requests.reserve(subjects.size());
  for (const std::string& subject : subjects) {
    requests.push_back(LastMessageRequest(subject.empty() ? SubjectsOf(where) : subject));
  }
  return GetMessages(where, requests, TimeoutOf(where, kSearchTimeout));
}

FleetSink::Answers JetStreamSink::Send(Where where, const std::vector<FleetMessage>& batch) {
  Answers answers{absl::OkStatus(), std::vector<Answer>(batch.size())};
  if (connection_ == nullptr || connection_->closed()) {
    answers.status = absl::UnavailableError("the connection is lost");
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
    if (where != Where::kEvents && message.payload.empty()) {
      headers.emplace_back(kKeyOperationHeader, "DEL");
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
  if (interrupted_ && answers.status.ok()) answers.status = connection_->Flush(kLeaveTimeout);
  if (answers.status.ok()) answers.status = CollectAnswers(where, batch, &answers.each);
  if (answers.status.ok()) answers.status = why;
  // Late messages of a bucket need no new connection: FleetMessage.replaces identifies them.
  if (where == Where::kEvents && answers.has(Answer::kNone)) in_doubt_ = true;
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

absl::Status JetStreamSink::CollectAnswers(Where where, const std::vector<FleetMessage>& batch,
                                           std::vector<Answer>* answers) {
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
    const auto next = NextAnswer(TimeoutOf(where), refused);
    if (!next.ok()) return next.status();
    if (missing.erase(next->first) == 0) continue;
    (*answers)[next->first] = ToAnswer(StreamOf(where), *next->second, &first_error);
  }
  if (absl::Status status = CheckRepeated(where, batch, answers); !status.ok()) return status;
  return first_error;
}

absl::Status JetStreamSink::CheckRepeated(Where where, const std::vector<FleetMessage>& batch,
                                          std::vector<Answer>* answers) {
  std::vector<size_t> repeated;
  std::vector<uint64_t> places;
  for (size_t i = 0; i < batch.size(); ++i) {
    if (!(*answers)[i].repeated) continue;
    repeated.push_back(i);
    places.push_back((*answers)[i].place);
  }
  const auto messages = At(where, places);
  if (!messages.ok()) {
    for (const size_t index : repeated) (*answers)[index] = {};
    return messages.status();
  }
  absl::Status foreign;
  for (size_t i = 0; i < repeated.size(); ++i) {
    const Stored& message = (*messages)[i];
    if (message.has_value() && message->subject == batch[repeated[i]].subject) continue;
    Answer& answer = (*answers)[repeated[i]];
    foreign = absl::UnavailableError(absl::StrCat(
        "the stream counts the event ", batch[repeated[i]].sequence,
        " as a repetition of the message ", answer.place,
        message.has_value() ? absl::StrCat(" (", message->subject, "), which is not this node's")
                            : ", which was deleted; it takes it after its duplicate_window"));
    answer = {.kind = Answer::kRefused};
  }
  return foreign;
}

}  // namespace

absl::StatusOr<std::unique_ptr<FleetSink>> MakeJetStreamSink(JetStreamOptions options) {
  if (absl::Status status = LoadNatsLibrary(); !status.ok()) {
    return absl::FailedPreconditionError(absl::StrCat("--publish: ", status.message()));
  }
  return std::make_unique<JetStreamSink>(std::move(options));
}

}  // namespace vmeventd
