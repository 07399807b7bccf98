#include "client/sources/daemon_source.h"

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/sinks/cursor_file.h"
#include "client/sinks/delivery.h"
#include "client/sinks/print.h"
#include "client/sources/daemon_info.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "tests/support/fake_server.h"
#include "tests/support/fake_service.h"
#include "tests/support/files.h"
#include "tests/support/formatters.h"
#include "tests/support/server_messages.h"
#include "tests/support/string_output.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

const grpc::Status kGoingDown(grpc::StatusCode::UNAVAILABLE, "the daemon is going down");
const grpc::Status kOutOfRange(grpc::StatusCode::OUT_OF_RANGE,
                               "after_sequence: 12 is older than the oldest retained event 40");

// A watch that ends after a number of events.
struct CountedWatch : WatchCommand {
  std::optional<uint64_t> count;
  bool counts_gaps = true;
};
CountedWatch Count(uint64_t count) { return {{}, count}; }

// Runs a watch against a scripted server, in one thread: between two attempts the test acts in
// `on_wait`.
class DaemonSourceTest : public testing::Test {
 protected:
  DaemonSourceTest() { server_.Start(); }

  void Serve(std::vector<v1::WatchEventsResponse> messages, grpc::Status end = kGoingDown) {
    server_.service().streams.push_back({std::move(messages), std::move(end), false});
  }
  void ServeAndHoldOpen(std::vector<v1::WatchEventsResponse> messages) {
    server_.service().streams.push_back({std::move(messages), grpc::Status::OK, true});
  }

  // Prints what the loop delivers.
  ExitCode Run(const CountedWatch& command) {
    const auto note = [this](const std::string& sentence) { notes_.push_back(sentence); };
    const auto wait = [this](absl::Duration duration) {
      waits_.push_back(duration);
      return on_wait_();
    };
    const auto clock = [this] {
      return absl::UnixEpoch() + absl::Milliseconds(time_ += time_of_a_look_);
    };
    const auto source =
        WatchDaemon(command, server_.address(), {&stop_, note, wait, [this] { return random_; }},
                    {silence_limit_, clock});
    Printer printer(&formatter_, &output_);
    Delivery delivery({&printer, cursor_.get(), {"server"}, command.count, command.counts_gaps});
    return delivery.Run(source.get(), note);
  }

  // The sequences of the JSON lines that were printed, by a run that ended with `code`.
  std::vector<uint64_t> Printed(ExitCode code = ExitCode::kOk) const {
    EXPECT_EQ(code, ExitCode::kOk);
    std::vector<uint64_t> sequences;
    for (const absl::string_view line : absl::StrSplit(output_.text, '\n', absl::SkipEmpty())) {
      v1::Event event;
      EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(std::string(line), &event).ok());
      sequences.push_back(event.sequence());
    }
    return sequences;
  }

  // From now on the watch saves its position in a file.
  void KeepCursor() {
    cursor_.reset();  // it has the lock
    cursor_ = *CursorFile::Open(directory_ / "cursor", {"server"});
  }
  WatchPosition Kept() const { return cursor_->Find("server").value_or(WatchPosition{}); }

  TemporaryDirectory directory_;
  std::unique_ptr<CursorFile> cursor_;
  FakeServer server_;
  JsonFormatter formatter_;
  StringOutput output_;
  StopSource stop_;
  std::vector<std::string> notes_;
  std::vector<absl::Duration> waits_;
  double random_ = 1;  // the longest pauses
  // The clock by which a stream's silence is measured, in milliseconds. It advances only by what
  // the test adds, and by `time_of_a_look_` at each look. The clock is looked at each time the
  // limit has passed in real time.
  std::atomic<int64_t> time_ = 0;
  std::atomic<int64_t> time_of_a_look_ = 0;
  absl::Duration silence_limit_ = absl::Milliseconds(10);
  std::function<bool()> on_wait_ = [] { return false; };
};

TEST_F(DaemonSourceTest, EndsAfterTheCountInTheMiddleOfABatch) {
  ServeAndHoldOpen({ProgressMessage(10), EventsMessage({11, 12, 13, 14})});
  EXPECT_THAT(Printed(Run(Count(3))), ElementsAre(11, 12, 13));
  EXPECT_THAT(notes_, IsEmpty());
}

TEST_F(DaemonSourceTest, AnUnrequestedGapDoesNotCount) {
  v1::WatchEventsResponse events = EventsMessage({11, 12, 13});
  events.mutable_events(0)->set_type(v1::EVENT_TYPE_GAP);
  events.mutable_events(0)->clear_vm();
  ServeAndHoldOpen({ProgressMessage(10), events});
  EXPECT_THAT(Printed(Run({{}, 1, /*counts_gaps=*/false})), ElementsAre(11, 12));
}

TEST_F(DaemonSourceTest, EventsCarryTheNameOfTheNodeEvenOverASocket) {
  server_.service().info.set_node("node7");
  Serve({ProgressMessage(10), EventsMessage({11})});
  Serve({}, kOutOfRange);
  ServeAndHoldOpen({ProgressMessage(20), EventsMessage({21})});
  EXPECT_EQ(Run({{.identify = true}, 3}), ExitCode::kOk);
  const std::vector<std::string> lines = absl::StrSplit(output_.text, '\n', absl::SkipEmpty());
  EXPECT_THAT(lines, Each(testing::StartsWith(R"({"node":"node7",)")));
  EXPECT_THAT(output_.text, AllOf(HasSubstr(R"("type":"EVENT_TYPE_GAP")"),
                                  HasSubstr(R"("gap_reason":"GAP_REASON_POSITION_LOST")"),
                                  HasSubstr(R"("missing":{"first":"12","last":"0"})")));
}

TEST_F(DaemonSourceTest, ProgramsGetTheNameOfTheNode) {
  server_.service().info.set_node("node7");
  Serve({ProgressMessage(10), EventsMessage({11})});
  Serve({}, kOutOfRange);
  ServeAndHoldOpen({ProgressMessage(20), EventsMessage({21})});
  EXPECT_EQ(Run({{.named = true}, 2}), ExitCode::kOk);
  EXPECT_THAT(output_.text, testing::Not(HasSubstr("EVENT_TYPE_GAP"))) << "none of the client";
  EXPECT_THAT(output_.text, HasSubstr(R"({"node":"node7",)"));
}

TEST_F(DaemonSourceTest, SendsTheFilterAndTheStart) {
  ServeAndHoldOpen({ProgressMessage(10), EventsMessage({11})});
  CountedWatch command = Count(1);
  command.filter.add_vm_names("web*");
  command.filter.add_types(v1::EVENT_TYPE_STOPPED);
  command.start = FromOldest{};
  Run(command);
  const auto requests = server_.service().WatchRequests();
  ASSERT_THAT(requests, SizeIs(1));
  EXPECT_THAT(requests[0].filter().vm_names(), ElementsAre("web*"));
  EXPECT_THAT(requests[0].filter().types(), ElementsAre(v1::EVENT_TYPE_STOPPED));
  EXPECT_TRUE(requests[0].from_oldest());
}

TEST_F(DaemonSourceTest, EachKindOfStartIsSentInTheRequest) {
  const auto request = [this](WatchStart start) {
    ServeAndHoldOpen({ProgressMessage(10), EventsMessage({11})});
    Run({{.start = std::move(start)}, 1});
    return server_.service().WatchRequests().back();
  };
  EXPECT_EQ(request(FromNow{}).start_case(), v1::WatchEventsRequest::START_NOT_SET);
  EXPECT_EQ(request(FromTime{absl::FromUnixSeconds(5)}).since().seconds(), 5);
  EXPECT_EQ(request(FromSequence{0, "journal-a"}).start_case(),
            v1::WatchEventsRequest::kAfterSequence);
}

// Events that are not durable.
v1::WatchEventsResponse NotDurable(const std::vector<uint64_t>& sequences) {
  v1::WatchEventsResponse events = EventsMessage(sequences);
  for (v1::Event& event : *events.mutable_events()) event.set_durable(false);
  return events;
}

v1::WatchEventsResponse Durable(uint64_t sequence, uint64_t durable) {
  v1::WatchEventsResponse progress = ProgressMessage(sequence);
  progress.mutable_progress()->set_durable_sequence(durable);
  return progress;
}

TEST_F(DaemonSourceTest, TheSavedPositionIsTheSmallerOfTheSequenceAndTheDurableSequence) {
  KeepCursor();
  const std::tuple<uint64_t, uint64_t, uint64_t> rows[] = {
      {20, 10, 10}, {20, 12, 12}, {20, 99, 20}};
  for (const auto& [sequence, durable, position] : rows) {
    Serve({ProgressMessage(10), NotDurable({11, 12, 13}), Durable(sequence, durable)});
    on_wait_ = [] { return true; };
    EXPECT_EQ(Run({}), ExitCode::kOk);
    EXPECT_EQ(Kept().sequence, position);
  }
}

TEST_F(DaemonSourceTest, EventsThatWereNotDurableAreReadAgainAndShownOnce) {
  v1::WatchEventsResponse gap = EventsMessage({100'001});
  gap.mutable_events(0)->clear_vm();
  gap.mutable_events(0)->set_type(v1::EVENT_TYPE_GAP);
  Serve({ProgressMessage(10), NotDurable({11, 12, 13})});
  Serve({ProgressMessage(10), EventsMessage({11, 13, 14})});
  ServeAndHoldOpen({ProgressMessage(14), gap});
  EXPECT_THAT(Printed(Run(Count(5))), ElementsAre(11, 12, 13, 14, 100'001));
  EXPECT_EQ(server_.service().WatchRequests()[1].after_sequence(), 10U);
  EXPECT_EQ(server_.service().WatchRequests()[2].after_sequence(), 14U)
      << "a durable event shows that those before it are as well";
}

TEST_F(DaemonSourceTest, ContinuesAfterAServerRestart) {
  Serve({ProgressMessage(10), EventsMessage({11, 12})});
  ServeAndHoldOpen({ProgressMessage(12), EventsMessage({13, 14})});
  int waits = 0;
  on_wait_ = [&] {
    // Down for three attempts.
    if (waits == 0) server_.Stop();
    if (++waits == 4) server_.Start();
    return false;
  };
  EXPECT_THAT(Printed(Run(Count(4))), ElementsAre(11, 12, 13, 14));
  const auto requests = server_.service().WatchRequests();
  ASSERT_THAT(requests, SizeIs(2));
  EXPECT_EQ(requests[1].after_sequence(), 12U);
  EXPECT_EQ(requests[1].journal_id(), "journal-a");
  EXPECT_THAT(waits_, ElementsAre(absl::Milliseconds(100), absl::Milliseconds(200),
                                  absl::Milliseconds(400), absl::Milliseconds(800)));
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("lost the stream"), HasSubstr("again")));
}

TEST_F(DaemonSourceTest, PausesGrowToFiveSecondsWithJitterAndResetOnceThePositionMoves) {
  Serve({ProgressMessage(10)});
  random_ = 0;
  on_wait_ = [this] {
    random_ = 1;
    // The first stream may fail at the same place again.
    if (waits_.size() == 7) Serve({ProgressMessage(10)});
    if (waits_.size() == 8) Serve({ProgressMessage(11)});
    return waits_.size() == 9;
  };
  EXPECT_EQ(Run({}), ExitCode::kOk) << "a stop ends a pause";
  EXPECT_EQ(waits_[0], absl::Milliseconds(50));
  EXPECT_EQ(waits_[1], absl::Milliseconds(200));
  EXPECT_EQ(waits_[5], absl::Milliseconds(3200));
  EXPECT_EQ(waits_[7], absl::Seconds(5));
  EXPECT_EQ(waits_[8], absl::Milliseconds(100));
}

TEST_F(DaemonSourceTest, ReportsAGapAndContinuesWithTheOldestWhenTheJournalChanged) {
  Serve({ProgressMessage(10), EventsMessage({11, 12})});
  Serve({}, kOutOfRange);
  ServeAndHoldOpen({ProgressMessage(0, "journal-b"), EventsMessage({1, 2})});
  EXPECT_THAT(Printed(Run(Count(4))), ElementsAre(11, 12, 1, 2));
  EXPECT_TRUE(server_.service().WatchRequests()[2].from_oldest());
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("lost the stream"),
                                  HasSubstr("GAP: events may be missing: after_sequence: 12"),
                                  HasSubstr("again")));
  EXPECT_THAT(waits_, SizeIs(1)) << "a gap needs no wait";
}

// From the oldest event it would reach the damaged position again and again.
TEST_F(DaemonSourceTest, ContinuesWithNewEventsIfTheJournalIsDamaged) {
  Serve({ProgressMessage(10), EventsMessage({11})},
        WithInfo(grpc::StatusCode::OUT_OF_RANGE, "any words", "JOURNAL_DAMAGED"));
  ServeAndHoldOpen({ProgressMessage(40), EventsMessage({41})});
  EXPECT_THAT(Printed(Run({{.start = FromOldest{}}, 2})), ElementsAre(11, 41));
  EXPECT_EQ(server_.service().WatchRequests()[1].start_case(),
            v1::WatchEventsRequest::START_NOT_SET);
  EXPECT_THAT(notes_, testing::Contains(HasSubstr("continuing with new events")));
}

TEST_F(DaemonSourceTest, ReportsAGapWhenTheServerMovesToAnotherJournal) {
  Serve({ProgressMessage(10), EventsMessage({11})});
  ServeAndHoldOpen({ProgressMessage(0, "journal-b"), EventsMessage({1})});
  EXPECT_THAT(Printed(Run(Count(2))), ElementsAre(11, 1));
  EXPECT_THAT(notes_, testing::Contains(HasSubstr("GAP: events may be missing")));
}

TEST_F(DaemonSourceTest, AServerThatStaysOutOfRangeIsRetriedWithPauses) {
  for (int i = 0; i < 5; ++i) Serve({}, kOutOfRange);
  on_wait_ = [this] { return waits_.size() == 4; };
  Run({{.start = FromSequence{3, "journal-a"}}, 1});
  EXPECT_THAT(notes_, SizeIs(1));
  EXPECT_THAT(waits_, SizeIs(4));
}

TEST_F(DaemonSourceTest, ASequenceWithoutAJournalBelongsToTheServersJournal) {
  server_.service().info.set_journal_id("journal-now");
  ServeAndHoldOpen({ProgressMessage(7, "journal-now"), EventsMessage({8})});
  EXPECT_EQ(Run({{.start = FromSequence{7, ""}}, 1}), ExitCode::kOk);
  EXPECT_EQ(server_.service().WatchRequests()[0].after_sequence(), 7U);
  EXPECT_EQ(server_.service().WatchRequests()[0].journal_id(), "journal-now");
}

TEST_F(DaemonSourceTest, TheCursorFollowsEventsAndProgress) {
  KeepCursor();
  std::vector<uint64_t> kept;
  output_.after_write = [&] { kept.push_back(Kept().sequence); };
  ServeAndHoldOpen(
      {ProgressMessage(10), EventsMessage({11, 12}), ProgressMessage(20), EventsMessage({21})});
  EXPECT_EQ(Run(Count(3)), ExitCode::kOk);
  // The cursor stays behind the line being printed; the first is the empty heading.
  EXPECT_THAT(kept, ElementsAre(0, 10, 20));
  EXPECT_EQ(Kept(), (WatchPosition{21, "journal-a"}));
}

TEST_F(DaemonSourceTest, TheCursorDoesNotPassWhatCouldNotBePrinted) {
  KeepCursor();
  output_.after_write = [this] {
    if (output_.status.ok()) output_.status = absl::CancelledError("gone");
  };
  ServeAndHoldOpen({ProgressMessage(10), EventsMessage({11})});
  EXPECT_EQ(Run({}), ExitCode::kOk);
  EXPECT_EQ(Kept(), (WatchPosition{10, "journal-a"}));
}

TEST_F(DaemonSourceTest, ACursorThatCannotBeWrittenEndsTheWatch) {
  std::filesystem::create_directory(directory_ / "no");
  cursor_ = *CursorFile::Open(directory_ / "no/cursor", {"server"});
  std::filesystem::remove_all(directory_ / "no");
  ServeAndHoldOpen({ProgressMessage(10)});
  EXPECT_EQ(Run({}), ExitCode::kFailed);
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("No such file or directory")));
}

TEST_F(DaemonSourceTest, AMissingServerAtTheStartIsAnError) {
  server_.Stop();
  EXPECT_EQ(Run({}), ExitCode::kUnreachable);
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("socket " + server_.address().path)));
  EXPECT_THAT(waits_, IsEmpty());
}

TEST_F(DaemonSourceTest, WithWaitTheStartWaitsForAMissingServer) {
  server_.Stop();
  ServeAndHoldOpen({ProgressMessage(10), EventsMessage({11})});
  on_wait_ = [this] {
    if (waits_.size() == 3) server_.Start();
    return false;
  };
  EXPECT_THAT(Printed(Run({{.wait = true}, 1})), ElementsAre(11));
}

TEST_F(DaemonSourceTest, EndsOnAStatusThatARetryCannotChange) {
  const std::tuple<grpc::StatusCode, ExitCode, const char*> rows[] = {
      {grpc::StatusCode::INVALID_ARGUMENT, ExitCode::kUsage, "not accept the request: no\\x1b[2J"},
      {grpc::StatusCode::PERMISSION_DENIED, ExitCode::kFailed, "not permit this: no\\x1b[2J"}};
  for (const auto& [code, exit_code, note] : rows) {
    notes_.clear();
    Serve({}, {code, "no\x1b[2J"});
    EXPECT_EQ(Run({}), exit_code);
    EXPECT_THAT(notes_, ElementsAre(HasSubstr(note)));
    EXPECT_THAT(waits_, IsEmpty());
  }
}

TEST_F(DaemonSourceTest, EndsAfterTheFinalStatusesAndResumesAfterAllOthers) {
  for (int code = grpc::StatusCode::CANCELLED; code <= grpc::StatusCode::UNAUTHENTICATED; ++code) {
    const auto status = static_cast<grpc::StatusCode>(code);
    const bool is_final = absl::c_linear_search(kFinalStatuses, status);
    output_.text.clear();
    server_.service().streams.clear();
    Serve({ProgressMessage(10), EventsMessage({11})}, {status, "no"});
    if (!is_final) ServeAndHoldOpen({ProgressMessage(11), EventsMessage({12})});
    const ExitCode ended = Run(Count(2));
    EXPECT_EQ(ended == ExitCode::kOk, !is_final) << code;
    EXPECT_THAT(Printed(), SizeIs(is_final ? 1 : 2)) << code;
  }
}

TEST(FinalStatuses, AreTheSameInTheContractAndInTheOtherClients) {
  const std::map<grpc::StatusCode, std::string> names = {
      {grpc::StatusCode::INVALID_ARGUMENT, "INVALID_ARGUMENT"},
      {grpc::StatusCode::PERMISSION_DENIED, "PERMISSION_DENIED"},
      {grpc::StatusCode::UNAUTHENTICATED, "UNAUTHENTICATED"},
      {grpc::StatusCode::UNIMPLEMENTED, "UNIMPLEMENTED"}};
  std::vector<std::string> words;
  std::string python = "FINAL = (\n";
  for (const grpc::StatusCode status : kFinalStatuses) {
    words.push_back(names.at(status));
    absl::StrAppend(&python, "    grpc.StatusCode.", words.back(), ",\n");
  }
  const std::string last = words.back();
  words.pop_back();
  const std::string first = absl::StrJoin(words, ", ");
  const auto text_of = [](absl::string_view file) {
    return e2e::ReadFile(absl::StrCat(VMEVENTD_SOURCE_DIR, "/", file));
  };
  EXPECT_THAT(text_of("proto/vmeventd/v1/vm_events.proto"),
              HasSubstr(absl::StrCat("on every other status except\n//            ", first, " and ",
                                     last, ", and when")));
  EXPECT_THAT(
      text_of("docs/api.md"),
      AllOf(HasSubstr(absl::StrCat("on any other status except ", first, " and ", last, ",")),
            HasSubstr(absl::StrCat("    on ", first, ", ", last, ": fail\n"))));
  EXPECT_THAT(text_of("client/python/vmeventd/_rules.py"), HasSubstr(absl::StrCat(python, ")\n")));
}

TEST_F(DaemonSourceTest, RetriesWhileTheServerIsFull) {
  const grpc::Status full = WithInfo(grpc::StatusCode::RESOURCE_EXHAUSTED, "1000 streams are open",
                                     "TOO_MANY_STREAMS", {{"limit", "1000"}});
  Serve({}, full);
  Serve({}, full);
  ServeAndHoldOpen({ProgressMessage(10), EventsMessage({11})});
  EXPECT_THAT(Printed(Run(Count(1))), ElementsAre(11));
  EXPECT_THAT(waits_, ElementsAre(absl::Milliseconds(100), absl::Milliseconds(200)));
  EXPECT_THAT(notes_,
              ElementsAre(testing::AllOf(HasSubstr("is at its limit of 1000 streams; try again "),
                                         HasSubstr("1000 streams are open"),
                                         HasSubstr("--max-streams"), HasSubstr("(trying again)")),
                          HasSubstr("connected")));
}

TEST_F(DaemonSourceTest, AStopEndsASilentStream) {
  ServeAndHoldOpen({ProgressMessage(10), EventsMessage({11})});
  output_.after_write = [this] {
    if (!output_.text.empty()) stop_.Stop();
  };
  EXPECT_EQ(Run(Count(2)), ExitCode::kInterrupted) << "before the count";
  EXPECT_THAT(notes_, IsEmpty());
}

TEST_F(DaemonSourceTest, AnEventThatWasNotHandledIsNotCounted) {
  ServeAndHoldOpen({ProgressMessage(10), EventsMessage({11})});
  output_.after_write = [this] { output_.status = absl::CancelledError("stopped"); };
  EXPECT_EQ(Run(Count(1)), ExitCode::kInterrupted);
}

TEST_F(DaemonSourceTest, AFailingOutputIsAnError) {
  ServeAndHoldOpen({ProgressMessage(10), EventsMessage({11})});
  output_.status = absl::UnavailableError("cannot write to standard output: No space left");
  EXPECT_EQ(Run({}), ExitCode::kFailed);
  EXPECT_THAT(notes_, ElementsAre("cannot write to standard output: No space left"));
}

TEST_F(DaemonSourceTest, ASilentStreamIsOpenedAgain) {
  output_.after_write = [this] {
    if (!output_.text.empty()) time_of_a_look_ = 1000;
  };
  on_wait_ = [this] {
    time_of_a_look_ = 0;
    return false;
  };
  ServeAndHoldOpen({ProgressMessage(10), EventsMessage({11})});
  Serve({ProgressMessage(11), EventsMessage({12})});
  EXPECT_THAT(Printed(Run(Count(2))), ElementsAre(11, 12));
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("lost the stream"), HasSubstr("connected")));
  EXPECT_EQ(server_.service().WatchRequests()[1].progress_interval().seconds(), 10);
}

TEST_F(DaemonSourceTest, ASlowOutputIsNotTakenForASilentStream) {
  output_.after_write = [this] {
    time_ += 2 * absl::ToInt64Milliseconds(silence_limit_);
    stop_.WaitFor(2 * silence_limit_);  // longer than the limit, so that a check would fail
  };
  Serve({ProgressMessage(10), EventsMessage({11}), EventsMessage({12})});
  EXPECT_EQ(Run(Count(2)), ExitCode::kOk);
  EXPECT_THAT(waits_, IsEmpty());
}

TEST_F(DaemonSourceTest, ASocketPathMayHoldAnyCharacter) {
  FakeServer server("a b%41?#ü.sock");
  server.Start();
  v1::GetServerInfoResponse info;
  EXPECT_FALSE(ReadInfo(DaemonNode(server.address()), &info));
}

}  // namespace
}  // namespace vmeventd::client
