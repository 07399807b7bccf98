#include "client/nats/stream_writer.h"

#include <algorithm>
#include <set>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/clock.h"
#include "client/nats/jetstream_api.h"

namespace vmeventd {
namespace {

// Limit of unread answers: a batch's, and those of some before it.
constexpr size_t kMaxAnswers = 65'536;
// Longest time until a stop or a complaint is noticed.
constexpr absl::Duration kSlice = absl::Milliseconds(100);

// OK: the stream has stored the message.
absl::Status ResultOf(absl::string_view stream, const NatsMessage& answer) {
  if (answer.no_responders()) {
    return absl::UnavailableError(
        absl::StrCat("nobody takes the messages: the stream ", stream,
                     " is gone, has no leader at the moment, or lacks their subjects"));
  }
  const absl::StatusOr<std::string> stored = ParseAck(answer.data());
  if (!stored.ok()) return stored.status();
  if (*stored == stream) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("the messages go into the stream ", *stored,
                                             " instead of ", stream,
                                             ": take their subjects from it"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<StreamWriter>> StreamWriter::Open(NatsConnection* connection,
                                                                 std::stop_token stop) {
  auto writer = absl::WrapUnique(new StreamWriter(connection, std::move(stop)));
  absl::StatusOr<std::string> inbox = connection->NewInbox();
  if (!inbox.ok()) return inbox.status();
  writer->inbox_ = *std::move(inbox);
  auto answers = connection->Subscribe(absl::StrCat(writer->inbox_, ".>"), kMaxAnswers);
  if (!answers.ok()) return answers.status();
  writer->answers_ = *std::move(answers);
  return writer;
}

absl::Status StreamWriter::Write(absl::string_view stream,
                                 const std::vector<StreamMessage>& messages, absl::Duration timeout,
                                 std::vector<size_t>* unfit) {
  unfit->clear();
  ++batches_;
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string reply = absl::StrCat(inbox_, ".", batches_, ".", i);
    const absl::Status status = connection_->Publish({.subject = messages[i].subject,
                                                      .reply = reply,
                                                      .data = messages[i].data,
                                                      .headers = &messages[i].headers});
    if (absl::IsInvalidArgument(status)) {
      unfit->push_back(i);
    } else if (!status.ok()) {
      return status;
    }
  }
  return Collect(stream, messages, timeout, unfit);
}

absl::Status StreamWriter::Collect(absl::string_view stream,
                                   const std::vector<StreamMessage>& messages,
                                   absl::Duration timeout, std::vector<size_t>* unfit) {
  std::set<size_t> missing;
  for (size_t i = 0; i < messages.size(); ++i) missing.insert(missing.end(), i);
  for (const size_t i : *unfit) missing.erase(i);
  const std::string prefix = absl::StrCat(inbox_, ".", batches_, ".");
  absl::Status result;
  for (absl::Time deadline = SteadyNow() + timeout; !missing.empty();) {
    if (stop_.stop_requested()) return absl::CancelledError("stopped");
    const absl::StatusOr<NatsMessagePtr> answer = answers_->Next(kSlice);
    if (!answer.ok()) return answer.status();
    if (*answer == nullptr) {
      // The server answers nothing to what is not permitted, but complains at once.
      const std::string complaint = connection_->complaint();
      const bool refused = std::any_of(missing.begin(), missing.end(), [&](size_t i) {
        return absl::StrContains(complaint, absl::StrCat("\"", messages[i].subject, "\""));
      });
      if (refused) return absl::UnavailableError(absl::StrCat("the server says: ", complaint));
      if (SteadyNow() < deadline) continue;
      return absl::UnavailableError(
          absl::StrCat("no acknowledgement came from the stream ", stream, " for ",
                       absl::FormatDuration(timeout),
                       complaint.empty() ? "" : absl::StrCat("; the server says: ", complaint)));
    }
    absl::string_view subject = (*answer)->subject();
    size_t i = 0;
    if (!absl::ConsumePrefix(&subject, prefix) || !absl::SimpleAtoi(subject, &i)) continue;
    if (missing.erase(i) == 0) continue;
    deadline = SteadyNow() + timeout;
    const absl::Status one = ResultOf(stream, **answer);
    if (absl::IsInvalidArgument(one)) {
      unfit->push_back(i);
    } else {
      result.Update(one);
    }
  }
  return result;
}

}  // namespace vmeventd
