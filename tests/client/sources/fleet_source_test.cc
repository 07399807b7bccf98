#include "client/sources/fleet_source.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "client/output/formatter.h"
#include "client/sinks/cursor_file.h"
#include "client/sinks/delivery.h"
#include "client/sinks/sink.h"
#include "client/sources/watch_command.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_nats.h"
#include "tests/support/proto_text.h"
#include "tests/support/temporary_directory.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Remembers what it is given.
class Memory : public EventSink {
 public:
  absl::Status ConsumeVms(const NodeVms& vms) override {
    for (const NodeVm& vm : vms) seen.push_back("vm " + vm.node.name + "/" + vm.vm.ref().name());
    return absl::OkStatus();
  }
  absl::Status Consume(Formatter::Events events) override {
    for (const auto& [event, node, resume_after] : events) {
      seen.push_back(node.name + ":" + std::to_string(event.sequence()));
    }
    return absl::OkStatus();
  }

  std::vector<std::string> seen;
};

class FleetWatchTest : public testing::Test {
 protected:
  FleetWatchTest() {
    command_.start = FromOldest{};
    nats_.on_idle = [this] { stop_->Stop(); };
  }

  static v1::Event Event(uint64_t sequence, const std::string& vm = "web1") {
    v1::Event event;
    event.set_sequence(sequence);
    event.mutable_observe_time()->set_seconds(1'782'907'200);
    if (!vm.empty()) event.mutable_vm()->set_name(vm);
    event.set_type(v1::EVENT_TYPE_PAUSED);
    return event;
  }
  void AddEvents(const std::string& node, uint64_t first, uint64_t last) {
    for (uint64_t sequence = first; sequence <= last; ++sequence) {
      nats_.AddEvent(node, Event(sequence));
    }
  }

  // Runs until the source ends, at the latest when nothing more arrives.
  ExitCode Run() {
    WatchCommand command = command_;
    StopSource stop;
    stop_ = &stop;
    std::unique_ptr<CursorFile> cursor;
    if (with_cursor_) {
      cursor = *CursorFile::Open(directory_ / "cursor", {kFleetCursorKey});
      const auto position = cursor->Find(kFleetCursorKey);
      if (position) command.start = *position;
    }
    const auto note = [this](const std::string& sentence) { notes_.push_back(sentence); };
    const FleetEnvironment fleet = {.connect = [this] { return nats_.Connect(); },
                                    .servers = "nats://fake:4222",
                                    .note = note,
                                    .now = [] { return absl::FromUnixSeconds(1'782'907'200); },
                                    .clock = [this] { return nats_.clock; }};
    const ReconnectingSource::Environment environment = {.stop = &stop,
                                                         .note = note,
                                                         .wait =
                                                             [this](absl::Duration /*duration*/) {
                                                               on_wait_();
                                                               return false;
                                                             },
                                                         .random = [] { return 0.5; }};
    Delivery delivery({&memory_, cursor.get(), {kFleetCursorKey}, count_});
    return delivery.Run(WatchFleet(command, fleet, environment).get(), note);
  }
  // What has been seen after a run that ends well.
  const std::vector<std::string>& Seen() {
    EXPECT_EQ(Run(), ExitCode::kOk);
    return memory_.seen;
  }
  std::string notes() const { return absl::StrJoin(notes_, "\n"); }
  uint64_t saved() {
    return (*CursorFile::Open(directory_ / "cursor", {kFleetCursorKey}))
        ->Find(kFleetCursorKey)
        ->sequence;
  }

  FakeNats nats_;
  WatchCommand command_;
  std::optional<uint64_t> count_;
  Memory memory_;
  StopSource* stop_ = nullptr;  // of the present run
  std::vector<std::string> notes_;
  std::function<void()> on_wait_ = [] {};
  bool with_cursor_ = false;
  TemporaryDirectory directory_;
};

TEST_F(FleetWatchTest, DeliversEachEventOnceOverLostConnections) {
  AddEvents("n1", 1, 2);
  AddEvents("n2", 1, 3);
  nats_.lose_after = 3;
  count_ = 5;
  EXPECT_THAT(Seen(), ElementsAre("n1:1", "n1:2", "n2:1", "n2:2", "n2:3"));
  EXPECT_EQ(nats_.connections, 2);
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("the connection is lost (connecting again)"),
                                  HasSubstr("reading the stream VMEVENTS")));
}

TEST_F(FleetWatchTest, AMessageLostOnItsWayIsReadAgain) {
  AddEvents("n1", 1, 3);
  nats_.drop_one = true;
  EXPECT_THAT(Seen(), ElementsAre("n1:1", "n1:2", "n1:3"));
  EXPECT_THAT(notes(), HasSubstr("were lost on the way"));
}

TEST_F(FleetWatchTest, BeginsNow) {
  command_.start = FromNow{};
  AddEvents("n1", 1, 2);
  nats_.on_idle = [this] {
    if (nats_.events().last == 3) stop_->Stop();
    if (nats_.events().last == 2) AddEvents("n1", 3, 3);
  };
  EXPECT_THAT(Seen(), ElementsAre("n1:3"));
  EXPECT_EQ(nats_.deleted_consumers, 1);
}

TEST_F(FleetWatchTest, ContinuesAfterTheCursor) {
  with_cursor_ = true;
  AddEvents("n1", 1, 5);
  count_ = 2;
  EXPECT_EQ(Run(), ExitCode::kOk);
  count_.reset();
  EXPECT_THAT(Seen(), ElementsAre("n1:1", "n1:2", "n1:3", "n1:4", "n1:5"));
  EXPECT_EQ(saved(), 5u);
  EXPECT_THAT(notes_, IsEmpty());
}

// A publisher that was killed sends again what it had no acknowledgement for.
TEST_F(FleetWatchTest, RepeatedEventsAreSkipped) {
  AddEvents("n1", 1, 1);
  AddEvents("n1", 3, 4);
  AddEvents("n2", 3, 3);
  AddEvents("n1", 3, 5);
  EXPECT_THAT(Seen(), ElementsAre("n1:1", "n1:3", "n1:4", "n2:3", "n1:5"));
}

TEST_F(FleetWatchTest, TheSequencesOfANewJournalBeginAgain) {
  const auto add = [this](const std::string& journal, uint64_t sequence) {
    nats_.Add("VMEVENTS", "vmevents.v1.prod.n1.web1.paused",
              {{"ce-source", "/vmevents/prod/n1/" + journal}, {"ce-type", "vmevents.v1.paused"}},
              Event(sequence).SerializeAsString());
  };
  for (const uint64_t sequence : {4, 5, 5}) add("one", sequence);
  for (const uint64_t sequence : {3, 0, 0, 3}) add("another", sequence);
  EXPECT_THAT(Seen(), ElementsAre("n1:4", "n1:5", "n1:3", "n1:0", "n1:0"))
      << "a GAP of no journal counts each time";
}

TEST_F(FleetWatchTest, EventsRepeatedAfterTheCursorAreSkipped) {
  with_cursor_ = true;
  AddEvents("n1", 1, 5);
  EXPECT_EQ(Run(), ExitCode::kOk);
  memory_.seen.clear();
  AddEvents("n1", 3, 6);
  EXPECT_THAT(Seen(), ElementsAre("n1:6"));
}

TEST_F(FleetWatchTest, AStreamRestoredDuringTheWatchRepeatsNoEvent) {
  AddEvents("n1", 1, 5);
  nats_.lose_after = 5;
  on_wait_ = [this] {
    nats_.events().messages.erase(4);
    nats_.events().messages.erase(5);
    nats_.events().last = 3;
    nats_.stored += absl::Minutes(1);
    AddEvents("n1", 4, 6);
  };
  EXPECT_THAT(Seen(), ElementsAre("n1:1", "n1:2", "n1:3", "n1:4", "n1:5", "n1:6"));
  EXPECT_THAT(notes(), HasSubstr("is of another stream"));
}

TEST_F(FleetWatchTest, MissingMessagesAreAGap) {
  AddEvents("n1", 1, 9);
  const auto run_at = [this](const WatchPosition& position) {
    command_.start = FromSequence{position.sequence, position.journal_id};
    count_ = 2;
    memory_.seen.clear();
    notes_.clear();
    return Run();
  };
  const std::string stream = "VMEVENTS of 2026-07-01T12:00:00Z";
  EXPECT_EQ(run_at({7, stream}), ExitCode::kOk);
  EXPECT_THAT(notes_, IsEmpty());
  nats_.events().messages.erase(nats_.events().messages.begin(), nats_.events().messages.find(5));
  EXPECT_EQ(run_at({4, stream}), ExitCode::kOk) << "the next message is there";
  EXPECT_THAT(notes_, IsEmpty());
  EXPECT_EQ(run_at({3, stream}), ExitCode::kOk);
  EXPECT_THAT(notes(), AllOf(HasSubstr("GAP: "), HasSubstr("after 3, its oldest is 5")));
  EXPECT_THAT(memory_.seen, ElementsAre("n1:5", "n1:6"));
  EXPECT_EQ(run_at({10, stream}), ExitCode::kOk);
  EXPECT_THAT(notes(), HasSubstr("GAP: events may be missing: the position 10 is of another"));
  EXPECT_EQ(run_at({7, "VMEVENTS of another time"}), ExitCode::kOk);
  EXPECT_THAT(notes(),
              HasSubstr("GAP: events may be missing: the position 7 is of another stream"));
  EXPECT_THAT(memory_.seen, ElementsAre("n1:5", "n1:6"));
}

// Events that nodes publish again after the loss of a stream was observed long before it is stored.
TEST_F(FleetWatchTest, AfterALossOfTheStreamAReaderContinuesByTimeWithOneNotice) {
  const absl::Time begin = nats_.stored;
  const auto at = [&](absl::Duration after, uint64_t sequence) {
    v1::Event event = Event(sequence);
    event.mutable_observe_time()->set_seconds(absl::ToUnixSeconds(begin + after));
    nats_.AddEvent("n1", event);
  };
  const auto publish = [&](uint64_t first, uint64_t last) {
    for (uint64_t sequence = first; sequence <= last; ++sequence) {
      nats_.stored += absl::Minutes(1);
      at(absl::Hours(sequence), sequence);
    }
  };
  with_cursor_ = true;
  for (uint64_t sequence = 1; sequence <= 5; ++sequence) {
    nats_.stored = begin + absl::Hours(sequence);
    at(absl::Hours(sequence), sequence);
  }
  const FakeNats::Stream read = nats_.events();
  EXPECT_THAT(Seen(), ElementsAre("n1:1", "n1:2", "n1:3", "n1:4", "n1:5"));
  const auto overwrite = std::filesystem::copy_options::overwrite_existing;
  std::filesystem::copy_file(directory_ / "cursor", directory_ / "kept");
  const auto expect_after = [&](const char* what, auto reset, auto matcher, bool reported) {
    std::filesystem::copy_file(directory_ / "kept", directory_ / "cursor", overwrite);
    nats_.events() = read;
    nats_.stored = begin + absl::Hours(9);
    reset();
    memory_.seen.clear();
    notes_.clear();
    EXPECT_EQ(Run(), ExitCode::kOk) << what;
    EXPECT_THAT(memory_.seen, matcher) << what;
    if (reported) {
      EXPECT_THAT(notes_, ElementsAre(AllOf(HasSubstr("GAP: "), HasSubstr("observed since"))))
          << what;
    } else {
      EXPECT_THAT(notes_, IsEmpty()) << what;
    }
    memory_.seen.clear();
    notes_.clear();
    EXPECT_EQ(Run(), ExitCode::kOk) << what;
    EXPECT_THAT(memory_.seen, IsEmpty()) << what;
    EXPECT_THAT(notes_, IsEmpty()) << what;
  };
  expect_after(
      "nothing happened", [&] { publish(6, 6); }, ElementsAre("n1:6"), false);
  expect_after(
      "created again, and the node publishes its journal",
      [&] {
        nats_.events() = {.created = "2026-07-02T12:00:00Z"};
        publish(1, 7);
      },
      ElementsAre("n1:5", "n1:6", "n1:7"), true);
  expect_after(
      "rolled back, and more came than before",
      [&] {
        nats_.events().messages.erase(4);
        nats_.events().messages.erase(5);
        nats_.events().last = 3;
        nats_.AddEvent("n2", Event(1));
        publish(4, 7);
      },
      ElementsAre("n1:5", "n1:6", "n1:7"), true);
  expect_after(
      "rolled back behind the position",
      [&] {
        nats_.events().messages.erase(5);
        nats_.events().last = 4;
        publish(7, 7);
      },
      ElementsAre("n1:7"), true);
  expect_after(
      "restored with all of its messages under another time of creation",
      [&] {
        nats_.events().created = "2026-07-02T12:00:00Z";
        publish(6, 6);
      },
      ElementsAre("n1:5", "n1:6"), true);
}

// A server ends the connection of a reader that asks for more than it takes.
TEST_F(FleetWatchTest, LargeMessagesComeInParts) {
  constexpr size_t kLarge = size_t{1} << 20;
  for (const size_t size : {kLarge, 20 * kLarge}) {
    nats_.Add("VMEVENTS", "vmevents.v1.a.b.c.d", {}, std::string(size, 'x'));
  }
  AddEvents("n1", 1, 1);
  EXPECT_THAT(Seen(), ElementsAre("n1:1"));
  EXPECT_LT(nats_.most_pulled, 64 * kLarge);
}

TEST_F(FleetWatchTest, MessagesDeletedBeforeTheyWereReadAreAGap) {
  AddEvents("n1", 1, 1);
  int idle = 0;
  nats_.on_idle = [&] {
    ++idle;
    if (idle == 1) {
      AddEvents("n1", 2, 9);
      nats_.events().messages.erase(nats_.events().messages.begin(),
                                    nats_.events().messages.find(7));
    }
    if (idle == 2) nats_.clock += kFleetProgressInterval;
    if (idle == 3) stop_->Stop();
  };
  EXPECT_THAT(Seen(), ElementsAre("n1:1", "n1:7", "n1:8", "n1:9"));
  EXPECT_THAT(notes(), HasSubstr("no longer has the messages after 1, its oldest is 7"));
}

TEST_F(FleetWatchTest, ThePositionPassesFilteredEvents) {
  with_cursor_ = true;
  command_.filter.add_types(v1::EVENT_TYPE_GAP);
  AddEvents("n1", 1, 9);
  nats_.on_idle = [this, begin = nats_.clock] {
    // The fake sends nothing while it waits, which a watch takes for a loss after 15 s.
    if (nats_.clock - begin > kFleetProgressInterval + absl::Seconds(1)) stop_->Stop();
  };
  EXPECT_THAT(Seen(), IsEmpty());
  EXPECT_EQ(saved(), 9u);
  EXPECT_THAT(notes_, IsEmpty());
}

TEST_F(FleetWatchTest, ASnapshotIsFollowedByLaterEventsOnly) {
  command_.start = FromSnapshot{};
  for (const char* const vm : {"ref { name: 'web1' } state: VM_STATE_RUNNING last_sequence: 2",
                               "ref { name: 'old' } state: VM_STATE_STOPPED last_sequence: 2"}) {
    nats_.AddVm("n1", FromText<v1::Vm>(vm));
  }
  nats_.stored -= absl::Hours(1);
  nats_.AddEvent("n2", Event(7, "long ago"));
  nats_.stored += absl::Hours(1);
  AddEvents("n1", 1, 4);
  EXPECT_THAT(Seen(), ElementsAre("vm n1/web1", "n1:3", "n1:4"));
}

TEST_F(FleetWatchTest, ASnapshotThatFailedIsTakenAgain) {
  command_.start = FromSnapshot{};
  command_.wait = true;
  nats_.AddVm("n1",
              FromText<v1::Vm>("ref { name: 'web1' } state: VM_STATE_RUNNING last_sequence: 2"));
  AddEvents("n1", 1, 3);
  nats_.consumer_faults = {R"({"error":{"code":400,"err_code":10026,"description":"limit"}})"};
  nats_.complaint = "Permissions Violation";  // no further attempt on this connection
  EXPECT_THAT(Seen(), ElementsAre("vm n1/web1", "n1:3"));
}

TEST_F(FleetWatchTest, BeginsAtATime) {
  v1::Event early = Event(1);
  early.mutable_observe_time()->set_seconds(1'782'907'100);
  nats_.AddEvent("n1", early);
  nats_.AddEvent("n1", Event(2));
  command_.start = FromTime{absl::FromUnixSeconds(1'782'907'150)};
  EXPECT_THAT(Seen(), ElementsAre("n1:2"));
}

// The server permits a node only its own subjects, but a node may send any headers.
TEST_F(FleetWatchTest, AMessageThatNamesAnotherNodeThanItsSubjectIsSkippedAndCounted) {
  const auto add = [this](const std::string& source, const std::string& type) {
    nats_.Add("VMEVENTS", "vmevents.v1.prod.n2.web1.paused",
              {{"ce-source", source}, {"ce-id", "1"}, {"ce-type", type}},
              Event(1).SerializeAsString());
  };
  for (int i = 0; i < 9; ++i) add("/vmevents/prod/n1/j", "vmevents.v1.paused");
  add("/vmevents/other/n2/j", "vmevents.v1.paused");
  add("/vmevents/prod/n2/j", "vmevents.v1.stopped.crash");
  add("/vmevents/prod/n2/j", "");  // as a value of a bucket
  AddEvents("n2", 3, 3);
  EXPECT_THAT(Seen(), ElementsAre("n2:3"));
  EXPECT_THAT(
      notes_,
      ElementsAre(AllOf(HasSubstr("is \"/vmevents/prod/n1/j\", whose subject this is not"),
                        HasSubstr("(1 message so far)")),
                  AllOf(HasSubstr("/vmevents/other/n2/j"), HasSubstr("(10 messages so far)"))));
}

TEST_F(FleetWatchTest, MissingServersEndTheWatchUnlessItWaits) {
  nats_.reachable = false;
  EXPECT_EQ(Run(), ExitCode::kUnreachable);
  command_.wait = true;
  AddEvents("n1", 1, 1);
  int waits = 0;
  on_wait_ = [&] { nats_.reachable = ++waits == 3; };
  EXPECT_THAT(Seen(), ElementsAre("n1:1"));
}

TEST_F(FleetWatchTest, ATemporaryFaultIsRetriedAndAMissingPermissionIsReportedAtOnce) {
  const std::string no_leader = R"({"error":{"code":503,"err_code":10008,"description":"busy"}})";
  AddEvents("n1", 1, 1);
  nats_.consumer_faults = {no_leader, ""};
  EXPECT_THAT(Seen(), ElementsAre("n1:1"));
  EXPECT_THAT(notes_, IsEmpty());
  nats_.consumer_faults = {"", no_leader};
  nats_.complaint = "Permissions Violation";
  EXPECT_EQ(Run(), ExitCode::kUnreachable);
  EXPECT_EQ(nats_.consumer_faults.size(), 1u) << "it was not asked for again";
  EXPECT_THAT(notes(), HasSubstr("no answer from $JS.API.CONSUMER.CREATE.VMEVENTS"));
}

TEST_F(FleetWatchTest, APermanentFaultIsReported) {
  AddEvents("n1", 1, 1);
  nats_.consumer_faults.assign(
      5, R"({"error":{"code":400,"err_code":10136,"description":"overlap"}})");
  EXPECT_EQ(Run(), ExitCode::kUnreachable);
  EXPECT_THAT(notes(), HasSubstr("\"overlap\" (10136)"));
}

TEST_F(FleetWatchTest, AMissingStreamIsNotFound) {
  nats_.streams.clear();
  EXPECT_EQ(Run(), ExitCode::kNotFound);
  EXPECT_THAT(notes(), HasSubstr("create them with `vmevents fleet create`"));
}

}  // namespace
}  // namespace vmeventd::client
