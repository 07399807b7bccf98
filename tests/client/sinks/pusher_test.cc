// The parts that keep events: the pusher, the batches, the file of what is set aside, the state.

#include "client/sinks/pusher.h"

#include <sys/stat.h>
#include <unistd.h>

#include <deque>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/small_file.h"
#include "client/output/files.h"
#include "client/sinks/cursor_file.h"
#include "client/sinks/delivery.h"
#include "client/sinks/push_body.h"
#include "client/sinks/push_log.h"
#include "client/sinks/push_metrics.h"
#include "client/sinks/push_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

const absl::Time kPushedAt = absl::FromUnixSeconds(1'782'907'200);

NodeEvents PausedEvents(uint64_t first, uint64_t last, size_t server = 0) {
  NodeEvents events;
  for (uint64_t sequence = first; sequence <= last; ++sequence) {
    v1::Event event;
    event.set_sequence(sequence);
    event.set_type(v1::EVENT_TYPE_PAUSED);
    *event.mutable_observe_time() = ToTimestamp(kPushedAt + absl::Seconds(sequence));
    event.mutable_vm()->set_name("web1");
    events.push_back({event, {"node7", "", "journal-a"}, {server, {sequence, "journal-a"}}});
  }
  return events;
}

// The state of a push to https://x.
PushState AtX() {
  PushState state;
  state.set_target("https://x");
  return state;
}

// Returns since when the push has failed; the epoch: it does not fail.
absl::Time FailingSince(const PushState& state) { return FromTimestamp(state.failing_since()); }

// A pusher whose receiver gives these answers in turn, and then 200.
class TestPusher : public Pusher {
 public:
  TestPusher(std::deque<HttpAnswer> answers, PushLog* log)
      : Pusher(PushFormat::kJson, "", 1000, /*gaps=*/false, log), answers_(std::move(answers)) {}

  HttpAnswer Post(const PushBody& body) override {
    std::vector<int> sequences;
    for (const auto& event : nlohmann::json::parse(body.text)) {
      sequences.push_back(std::stoi(event["sequence"].get<std::string>()));
    }
    requests.push_back(sequences);
    if (answers_.empty()) return HttpAnswer{.status = 200};
    HttpAnswer answer = answers_.front();
    answers_.pop_front();
    return answer;
  }
  absl::Status Append(const std::string& lines) override {
    if (!set_aside_fault.ok()) return std::exchange(set_aside_fault, absl::OkStatus());
    aside += lines;
    return absl::OkStatus();
  }

  std::vector<std::vector<int>> requests;
  std::string aside;
  absl::Status set_aside_fault;  // once

 private:
  std::deque<HttpAnswer> answers_;
};

class PusherTest : public testing::Test {
 protected:
  // Delivers the events 1 to `newest` at once.
  absl::Status Run(uint64_t newest, std::deque<HttpAnswer> answers, uint64_t gap = 0) {
    PushLog log(AtX(), {.report = [this](const PushState& state) { state_ = state; },
                        .note = [this](const std::string& note) { notes_.push_back(note); },
                        .wait =
                            [this](absl::Duration pause) {
                              pauses_.push_back(pause);
                              return stop_;
                            },
                        .now = [] { return kPushedAt; },
                        .random = [] { return 1.0; }});
    TestPusher pusher(std::move(answers), &log);
    pusher.set_aside_fault = set_aside_fault_;
    auto cursor = CursorFile::Open(directory_ / "cursor", {"node7"});
    Delivery delivery({&pusher, cursor->get(), {"node7"}});
    NodeEvents events = PausedEvents(1, newest);
    if (gap != 0) {
      events[gap - 1].event.set_type(v1::EVENT_TYPE_GAP);
      events[gap - 1].event.clear_vm();
    }
    delivery.Deliver(std::move(events));
    position_ = (*cursor)->Find("node7");
    requests_ = pusher.requests;
    aside_ = pusher.aside;
    return delivery.status();
  }

  TemporaryDirectory directory_;
  std::vector<std::vector<int>> requests_;
  std::string aside_;
  absl::Status set_aside_fault_;
  std::vector<absl::Duration> pauses_;
  bool stop_ = false;
  PushState state_;
  std::vector<std::string> notes_;
  std::optional<WatchPosition> position_;
};

TEST_F(PusherTest, TheCursorMovesPastWhatWasAcknowledged) {
  EXPECT_TRUE(Run(3, {}).ok());
  EXPECT_THAT(requests_, ElementsAre(ElementsAre(1, 2, 3)));
  EXPECT_EQ(position_->sequence, 3);
  EXPECT_EQ(state_.delivered_events(), 3);
  EXPECT_EQ(FromTimestamp(state_.observed_until()), kPushedAt + absl::Seconds(3));
}

TEST_F(PusherTest, PausesGrowUpToALimitAndHonourRetryAfter) {
  std::deque<HttpAnswer> answers(10, {.status = 500});
  answers.push_front({.status = 429, .retry_after = absl::Seconds(100)});
  answers.push_back({.status = 429, .retry_after = absl::Seconds(1)});
  EXPECT_TRUE(Run(1, answers).ok());
  EXPECT_THAT(pauses_, ElementsAre(absl::Seconds(100), absl::Seconds(2), absl::Seconds(4),
                                   absl::Seconds(8), absl::Seconds(16), absl::Seconds(32),
                                   absl::Seconds(64), absl::Seconds(128), absl::Seconds(256),
                                   absl::Minutes(5), absl::Minutes(5), absl::Minutes(5)));
  EXPECT_EQ(position_->sequence, 1);
  EXPECT_EQ(state_.failures(), 12);
  EXPECT_FALSE(state_.has_failing_since()) << "it does not fail any more";
  EXPECT_THAT(notes_, SizeIs(4)) << "each reason once, and its end";
}

TEST(PushLogTest, ALostSourceIsAFailure) {
  PushState state;
  PushLog log(AtX(), {.report = [&state](const PushState& one) { state = one; },
                      .note = [](const std::string&) {},
                      .wait = [](absl::Duration) { return false; },
                      .now = [] { return kPushedAt; }});
  log.Loss("");
  EXPECT_EQ(FailingSince(state), absl::UnixEpoch());
  for (int i = 0; i < 2; ++i) log.Loss("no daemon");
  EXPECT_EQ(FailingSince(state), kPushedAt);
  EXPECT_EQ(state.error(), "no daemon");
  log.Loss("");
  EXPECT_EQ(FailingSince(state), absl::UnixEpoch());
  log.Retry("it answers 500", {});
  log.Loss("");
  EXPECT_EQ(FailingSince(state), kPushedAt) << "the receiver fails still";
}

TEST(PushLogTest, AFailureIsRememberedAcrossARestartUntilASuccess) {
  PushState state;
  absl::Time now = kPushedAt;
  const PushLog::Environment environment = {
      .report = [&state](const PushState& one) { state = one; },
      .note = [](const std::string&) {},
      .wait = [](absl::Duration) { return false; },
      .now = [&now] { return now; }};
  PushLog(AtX(), environment).Retry("it answers 500", PausedEvents(1, 1));
  now += absl::Hours(1);
  {
    PushLog again(state, environment);
    again.Loss("");
    again.Retry("it answers 500", PausedEvents(1, 1));
    EXPECT_EQ(FailingSince(state), kPushedAt);
    again.Delivered(PausedEvents(1, 1));
    EXPECT_FALSE(state.has_failing_since());
    again.Loss("no daemon");
  }
  const absl::Time lost = now;
  now += absl::Hours(1);
  PushLog other(state, environment);
  other.Loss("no daemon");
  EXPECT_EQ(FailingSince(state), lost);
  other.Loss("");
  EXPECT_FALSE(state.has_failing_since()) << "the source is there again";
  EXPECT_EQ(state.source_error(), "");
}

TEST_F(PusherTest, AStopDoesNotMoveTheCursor) {
  stop_ = true;
  EXPECT_TRUE(absl::IsCancelled(Run(2, {{.status = 500}})));
  EXPECT_EQ(position_, std::nullopt);
  EXPECT_EQ(FailingSince(state_), kPushedAt);
  EXPECT_EQ(FromTimestamp(state_.waiting_since()), kPushedAt + absl::Seconds(1));
}

TEST_F(PusherTest, AnAbortedRequestDoesNotMoveTheCursor) {
  EXPECT_TRUE(absl::IsCancelled(Run(2, {{.stopped = true}})));
  EXPECT_EQ(position_, std::nullopt);
}

TEST_F(PusherTest, ARefusedBatchIsHalvedUntilTheRefusedEventIsSetAside) {
  const HttpAnswer bad = {.status = 400, .body = "bad"};
  EXPECT_TRUE(Run(4, {bad, bad, bad}).ok());
  EXPECT_THAT(requests_, ElementsAre(ElementsAre(1, 2, 3, 4), ElementsAre(1, 2), ElementsAre(1),
                                     ElementsAre(2, 3), ElementsAre(4)));
  const auto line = nlohmann::json::parse(aside_);
  EXPECT_EQ(line["id"], "1");
  EXPECT_EQ(line["source"], "/vmevents/=/node7/journal-a");
  EXPECT_EQ(line["reason"], "it answers 400: bad");
  EXPECT_EQ(line["event"]["vm"]["name"], "web1");
  EXPECT_EQ(position_->sequence, 4);
  EXPECT_EQ(state_.set_aside_events(), 1);
  EXPECT_EQ(state_.delivered_events(), 3);
}

TEST_F(PusherTest, AnUnrequestedGapIsLoggedAndSkipped) {
  EXPECT_TRUE(Run(4, {}, /*gap=*/3).ok());
  EXPECT_THAT(requests_, ElementsAre(ElementsAre(1, 2), ElementsAre(4)));
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("GAP: ")));
  EXPECT_EQ(state_.gaps(), 1);
  EXPECT_EQ(position_->sequence, 4);
}

TEST_F(PusherTest, ASuccessClearsTheError) {
  EXPECT_TRUE(Run(1, {{.status = 500}}).ok());
  EXPECT_EQ(state_.error(), "");
  EXPECT_EQ(state_.failures(), 1);
}

TEST_F(PusherTest, AnEventThatCannotBeSetAsideIsSentAgain) {
  set_aside_fault_ = absl::UnavailableError("no space left");
  EXPECT_TRUE(Run(1, {{.status = 422}, {.status = 422}}).ok());
  EXPECT_THAT(pauses_, SizeIs(1));
  EXPECT_THAT(notes_.front(), HasSubstr("the events cannot be set aside: no space left"));
  EXPECT_EQ(state_.set_aside_events(), 1);
}

TEST_F(PusherTest, AResponseThatIsNotAboutOneEventIsRetriedAndShownAsFailing) {
  for (const int status :
       {0, 101, 301, 401, 403, 404, 405, 407, 408, 409, 415, 418, 425, 429, 451, 500, 503, 999}) {
    stop_ = true;
    EXPECT_TRUE(absl::IsCancelled(Run(2, {{.status = status}}))) << status;
    EXPECT_EQ(aside_, "") << status;
    EXPECT_EQ(position_, std::nullopt) << status;
    EXPECT_EQ(FailingSince(state_), kPushedAt) << status;
  }
}

TEST_F(PusherTest, AResponse410EndsTheDeliveryBeforeTheEvent) {
  const absl::Status status = Run(1, {{.status = 410}});
  EXPECT_TRUE(absl::IsCancelled(status));
  EXPECT_EQ(position_, std::nullopt);
  EXPECT_THAT(state_.ended(), HasSubstr("410"));
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("it wants no more events; delivery ends here")));
}

// A push into a fleet's stream has nothing to deliver when the servers are back.
TEST(PushLogTest, AReceiverThatCanBeReachedAgainIsNoLongerFailing) {
  PushState state;
  std::vector<std::string> notes;
  PushLog log(AtX(), {.report = [&state](const PushState& now) { state = now; },
                      .note = [&notes](const std::string& note) { notes.push_back(note); },
                      .wait = [](absl::Duration) { return false; },
                      .now = [] { return kPushedAt; }});
  log.Retry("no server is there", {});
  EXPECT_EQ(FailingSince(state), kPushedAt);
  for (int i = 0; i < 2; ++i) log.Recovered();
  EXPECT_FALSE(state.has_failing_since());
  EXPECT_THAT(notes, ElementsAre(HasSubstr("(trying again)"), "https://x accepts events again"));
}

TEST(PushStateTest, EachNumberAndTimeIsAMetricWhoseLabelIsEscaped) {
  PushState state;
  state.set_failures(3);
  *state.mutable_failing_since() = ToTimestamp(kPushedAt);
  const std::string text = MetricsOf(state, "a\"b\\c\n");
  for (const char* const line :
       {"TYPE vmevents_push_failures_total counter\n",
        R"(vmevents_push_failures_total{push="a\"b\\c\n"} 3)",
        R"(vmevents_push_failing_since_timestamp_seconds{push="a\"b\\c\n"} 1782907200)",
        R"(vmevents_push_last_success_timestamp_seconds{push="a\"b\\c\n"} 0)"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST(PushStateTest, AStatusIsSafeForATerminal) {
  PushState state;
  for (auto* time : {state.mutable_failing_since(), state.mutable_waiting_since()}) {
    *time = ToTimestamp(kPushedAt - absl::Minutes(5));
  }
  state.set_error("evil \x1b[31m");
  const PushStatus status = {state, "push", true, {{"s\x1b", {4, "journal-a"}}}, "/x"};
  const std::string text = StatusText(status, kPushedAt, absl::UTCTimeZone());
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(text, HasSubstr("state             failing\n"));
  EXPECT_THAT(text, HasSubstr("error             evil \\x1b[31m\n"));
  EXPECT_THAT(text, HasSubstr("position          4 of journal-a, s\\x1b\n"));
  EXPECT_THAT(text, HasSubstr("waiting since     2026-07-01 11:55:00.000 (5 min ago)\n"));
  state.set_delivered_events(7);
  const PushStatus one = {state, "push", true, {}, "/x", 1};
  EXPECT_THAT(StatusText(one, kPushedAt, absl::UTCTimeZone()),
              testing::AllOf(HasSubstr("delivered events  7\n"),
                             HasSubstr("set aside file    /x\nset aside now     1\n")));
}

class SetAsideTest : public testing::Test {
 protected:
  std::string Path() const { return directory_ / "aside"; }
  absl::Status Append(const std::string& lines) { return AppendDurably(Path(), lines, 20); }

  TemporaryDirectory directory_;
};

TEST_F(SetAsideTest, LinesAreAddedForTheOwnerAlone) {
  EXPECT_TRUE(Append("a\n").ok());
  EXPECT_TRUE(Append("b\nc\n").ok());
  EXPECT_EQ(ReadSmallFile(Path()).value(), "a\nb\nc\n");
  struct stat found {};
  ASSERT_EQ(stat(Path().c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600);
}

TEST_F(SetAsideTest, AnIncompleteLineDoesNotSpoilTheNext) {
  ASSERT_TRUE(Append("a\n").ok());
  std::ofstream(Path(), std::ios::app) << "to";
  EXPECT_TRUE(Append("b\n").ok());
  EXPECT_EQ(ReadSmallFile(Path()).value(), "a\nto\nb\n");
}

TEST_F(SetAsideTest, HasALimit) {
  EXPECT_TRUE(Append("0123456789\n").ok());
  EXPECT_THAT(Append("0123456789\n"), FailsAs(absl::IsResourceExhausted, "move it away"));
  EXPECT_EQ(ReadSmallFile(Path()).value(), "0123456789\n");
}

TEST_F(SetAsideTest, ALinkIsNotFollowedAndAnotherKindOfFileIsRefused) {
  const std::string other = directory_ / "other";
  std::ofstream(other) << "mine";
  ASSERT_EQ(symlink(other.c_str(), Path().c_str()), 0);
  EXPECT_TRUE(absl::IsFailedPrecondition(Append("a\n")));
  ASSERT_EQ(unlink(Path().c_str()), 0);
  ASSERT_EQ(chmod(other.c_str(), 0600), 0);
  ASSERT_EQ(link(other.c_str(), Path().c_str()), 0);
  EXPECT_TRUE(absl::IsFailedPrecondition(Append("a\n")));
  EXPECT_EQ(ReadSmallFile(other).value(), "mine");
  ASSERT_EQ(unlink(Path().c_str()), 0);
  ASSERT_EQ(mkfifo(Path().c_str(), 0600), 0);
  EXPECT_TRUE(absl::IsFailedPrecondition(Append("a\n")));
  ASSERT_EQ(unlink(Path().c_str()), 0);
  std::ofstream(Path()) << "b\n";
  ASSERT_EQ(chmod(Path().c_str(), 0644), 0);
  EXPECT_THAT(Append("a\n"), Says("others may use it"));
}

}  // namespace
}  // namespace vmeventd::client
