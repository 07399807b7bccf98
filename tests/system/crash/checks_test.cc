// Each check finds the fault that is put into a correct history.

#include "tests/system/crash/checks.h"

#include "gmock/gmock.h"

namespace vmeventd::crash {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kJournal[] = "journal";

// Sequences 1 to 3: the first process, stopped by its user in the only life of the daemon;
// 4 to 5: a second one, which was quit.
class ChecksTest : public testing::Test {
 protected:
  ChecksTest() {
    history_.journal_id = kJournal;
    history_.lives = {{absl::FromUnixSeconds(100), absl::FromUnixSeconds(200), "SIGTERM"}};
    AddRun("vm1", 11, Deed::kGuestShutdown, v1::SHUTDOWN_CLASS_USER, true);
    AddRun("vm2", 12, Deed::kQuit, v1::SHUTDOWN_CLASS_ADMIN, false);
    history_.listed = history_.journal;
    history_.listed_newest_first = {history_.journal.rbegin(), history_.journal.rend()};
    history_.clients = {Client("all", {StreamOf(0, 2), StreamOf(2, 4)})};
  }

  void AddRun(const std::string& name, int64_t pid, Deed end, v1::ShutdownClass judged, bool file) {
    AddEvent(name, pid, v1::EVENT_TYPE_STARTED);
    v1::Event& stopped = AddEvent(name, pid, v1::EVENT_TYPE_STOPPED);
    stopped.mutable_shutdown()->set_shutdown_class(judged);
    stopped.mutable_shutdown()->set_shutdown_file_written(file);
    RunHistory run;
    run.name = name;
    run.pid = pid;
    run.acts = {{end, 0}};
    run.must_be_published = true;
    run.file_before = false;
    run.file_after = file;
    run.log = {"made by the test"};
    history_.runs.push_back(run);
    v1::Vm vm;
    *vm.mutable_ref() = stopped.vm();
    vm.set_state(v1::VM_STATE_STOPPED);
    history_.vms.push_back(vm);
  }

  v1::Event& AddEvent(const std::string& name, int64_t pid, v1::EventType type) {
    v1::Event event;
    event.set_sequence(history_.journal.size() + 1);
    event.mutable_observe_time()->set_seconds(150);
    event.mutable_vm()->set_name(name);
    event.mutable_vm()->set_pid(pid);
    event.mutable_vm()->set_run_id("run of " + name);
    event.set_type(type);
    event.set_durable(true);
    history_.journal.push_back(event);
    return history_.journal.back();
  }

  // A stream that delivered the events (after, last].
  StreamHistory StreamOf(uint64_t after, uint64_t last) const {
    StreamHistory stream;
    stream.start = after == 0 ? StreamStart::kOldest : StreamStart::kAfter;
    stream.after = after;
    stream.journal_id = kJournal;
    stream.position = last;
    stream.end = grpc::StatusCode::UNAVAILABLE;
    for (uint64_t i = after; i < last; ++i) {
      stream.deliveries.push_back({i + 1, true, history_.journal[i].SerializeAsString()});
    }
    return stream;
  }

  static ClientHistory Client(const std::string& name, std::vector<StreamHistory> streams) {
    ClientHistory client;
    client.name = name;
    client.resumes = true;
    client.streams = std::move(streams);
    return client;
  }

  StreamHistory& first_stream() { return history_.clients[0].streams[0]; }
  StreamHistory& second_stream() { return history_.clients[0].streams[1]; }

  History history_;
};

TEST_F(ChecksTest, GoodHistoryHasNoFindings) { EXPECT_THAT(CheckAll(history_), IsEmpty()); }

TEST_F(ChecksTest, EventThatTheJournalLacks) {
  history_.journal.pop_back();
  EXPECT_THAT(CheckNothingIsLost(history_), ElementsAre(HasSubstr("does not have it")));
}

TEST_F(ChecksTest, EventThatDiffersInTheJournal) {
  history_.journal[1].set_message("other");
  EXPECT_THAT(CheckNothingIsLost(history_), ElementsAre(HasSubstr("has sequence: 2")));
}

TEST_F(ChecksTest, EventThatWasNotDurableMayBeLost) {
  history_.journal.pop_back();
  second_stream().deliveries.back().durable = false;
  EXPECT_THAT(CheckNothingIsLost(history_), IsEmpty());
}

TEST_F(ChecksTest, EventMissingOnAStream) {
  first_stream().deliveries.erase(first_stream().deliveries.begin());
  EXPECT_THAT(CheckStreamsAreComplete(history_),
              ElementsAre(HasSubstr("#1 STARTED vm1/11 was left out")));
}

TEST_F(ChecksTest, EventThatAProgressPassedOver) {
  second_stream().deliveries.pop_back();
  EXPECT_THAT(CheckStreamsAreComplete(history_), ElementsAre(HasSubstr("#4 STOPPED")));
  second_stream().position = 3;
  EXPECT_THAT(CheckStreamsAreComplete(history_), IsEmpty());
}

TEST_F(ChecksTest, EventsOutOfOrder) {
  std::swap(first_stream().deliveries[0], first_stream().deliveries[1]);
  EXPECT_THAT(CheckStreamsAreComplete(history_), ElementsAre(HasSubstr("event 1 came after 2")));
}

TEST_F(ChecksTest, EventTwiceOnAStream) {
  first_stream().deliveries.push_back(first_stream().deliveries.back());
  EXPECT_THAT(CheckStreamsAreComplete(history_), ElementsAre(HasSubstr("event 2 came after 2")));
}

TEST_F(ChecksTest, EventThatTheFilterExcludes) {
  history_.clients[0].filter.add_vm_names("vm2");
  EXPECT_THAT(CheckStreamsAreComplete(history_),
              ElementsAre(HasSubstr("does not match"), HasSubstr("does not match")));
}

TEST_F(ChecksTest, EventAgainAfterAResumption) {
  second_stream().after = 1;
  second_stream().deliveries.insert(second_stream().deliveries.begin(),
                                    first_stream().deliveries.back());
  EXPECT_THAT(CheckResumption(history_),
              ElementsAre(HasSubstr("began after 1"), HasSubstr("event 2 was repeated")));
}

TEST_F(ChecksTest, CursorThatIsRefused) {
  second_stream().end = grpc::StatusCode::OUT_OF_RANGE;
  second_stream().end_message = "beyond the newest";
  EXPECT_THAT(CheckResumption(history_), ElementsAre(HasSubstr("beyond the newest")));
}

TEST_F(ChecksTest, JournalThatChangedItsId) {
  second_stream().journal_id = "another";
  EXPECT_THAT(CheckResumption(history_), ElementsAre(HasSubstr("the journal was another")));
}

TEST_F(ChecksTest, SnapshotThatLacksARunOrHasOneTooMany) {
  StreamHistory& stream = first_stream();
  stream.start = StreamStart::kSnapshot;
  stream.snapshot_sequence = 3;
  stream.deliveries.clear();
  EXPECT_THAT(CheckSnapshots(history_), ElementsAre(HasSubstr("open were run of vm2")));
  stream.snapshot.push_back(history_.vms[1]);
  EXPECT_THAT(CheckSnapshots(history_), IsEmpty());
  stream.snapshot.push_back(history_.vms[0]);
  EXPECT_THAT(CheckSnapshots(history_), ElementsAre(HasSubstr("open were run of vm2")));
}

TEST_F(ChecksTest, JournalWithAHole) {
  history_.journal.erase(history_.journal.begin() + 1);
  EXPECT_THAT(CheckJournal(history_), Contains(HasSubstr("where 2 is due")));
}

TEST_F(ChecksTest, JournalWithAnEventThatIsNotDurable) {
  history_.journal[0].set_durable(false);
  EXPECT_THAT(CheckJournal(history_), Contains(HasSubstr("not durable")));
}

TEST_F(ChecksTest, ListEventsThatDiffers) {
  history_.listed.pop_back();
  std::swap(history_.listed_newest_first[0], history_.listed_newest_first[1]);
  EXPECT_THAT(CheckJournal(history_),
              ElementsAre(HasSubstr("ListEvents returns 3"), HasSubstr("newest_first")));
}

TEST_F(ChecksTest, RunThatStartsTwiceOrNotFirst) {
  history_.journal[1].set_type(v1::EVENT_TYPE_STARTED);
  EXPECT_THAT(CheckRuns(history_),
              ElementsAre(HasSubstr("2 STARTED"), AllOf(HasSubstr("0 STOPPED"))));
}

TEST_F(ChecksTest, RunThatStopsTwice) {
  v1::Event again = history_.journal[1];
  again.set_sequence(5);
  history_.journal.push_back(again);
  EXPECT_THAT(CheckRuns(history_), ElementsAre(HasSubstr("2 STOPPED")));
}

TEST_F(ChecksTest, RunThatContinuesAfterItsEnd) {
  AddEvent("vm1", 11, v1::EVENT_TYPE_RESET);
  EXPECT_THAT(CheckRuns(history_), ElementsAre(HasSubstr("1 STOPPED, one is due, last")));
}

TEST_F(ChecksTest, ProcessWithTwoRuns) {
  for (size_t i : {2, 3}) *history_.journal[i].mutable_vm() = history_.journal[0].vm();
  for (size_t i : {2, 3}) history_.journal[i].mutable_vm()->set_run_id("z");
  EXPECT_THAT(CheckRuns(history_), Contains(HasSubstr("is run run of vm1 already")));
}

TEST_F(ChecksTest, RunThatIsNoProcess) {
  history_.runs.pop_back();
  EXPECT_THAT(CheckRuns(history_), ElementsAre(HasSubstr("no process of the harness")));
}

TEST_F(ChecksTest, RunWithoutAPidIsAProcessThatHasNoRun) {
  for (size_t i : {2, 3}) history_.journal[i].mutable_vm()->set_pid(0);
  history_.runs[1].must_be_published = false;
  EXPECT_THAT(CheckRuns(history_), IsEmpty());
  history_.runs.pop_back();
  EXPECT_THAT(CheckRuns(history_), ElementsAre(HasSubstr("no process of the harness")));
}

TEST_F(ChecksTest, ProcessThatIsNotInTheJournal) {
  history_.journal.resize(2);
  EXPECT_THAT(CheckRuns(history_), ElementsAre(HasSubstr("vm2/12 was published")));
}

TEST_F(ChecksTest, WrongClass) {
  history_.journal[1].mutable_shutdown()->set_shutdown_class(v1::SHUTDOWN_CLASS_CRASH);
  EXPECT_THAT(CheckClasses(history_),
              ElementsAre(AllOf(HasSubstr("says CRASH"), HasSubstr("it is USER"))));
}

TEST_F(ChecksTest, UnknownOnlyIfTheEndMayHaveBeenMissed) {
  history_.journal[1].mutable_shutdown()->set_shutdown_class(v1::SHUTDOWN_CLASS_UNKNOWN);
  EXPECT_THAT(CheckClasses(history_), ElementsAre(HasSubstr("says UNKNOWN")));
  history_.runs[0].acts[0].seen_by = -1;
  EXPECT_THAT(CheckClasses(history_), IsEmpty());
}

TEST_F(ChecksTest, LifeThatObservedIsFoundByTime) {
  history_.journal[1].mutable_shutdown()->set_shutdown_class(v1::SHUTDOWN_CLASS_UNKNOWN);
  history_.lives.push_back({absl::FromUnixSeconds(300), absl::FromUnixSeconds(400), "kill -9"});
  history_.journal[1].mutable_observe_time()->set_seconds(350);
  EXPECT_THAT(CheckClasses(history_), IsEmpty()) << "the next life cannot know";
}

TEST_F(ChecksTest, FileThatContradictsTheClass) {
  history_.runs[0].file_after = false;
  history_.runs[1].file_after = true;
  EXPECT_THAT(CheckFiles(history_),
              ElementsAre(HasSubstr("the file is not there"), HasSubstr("the file is there")));
}

TEST_F(ChecksTest, FileThatAnUnknownEndTouched) {
  history_.journal[3].mutable_shutdown()->set_shutdown_class(v1::SHUTDOWN_CLASS_UNKNOWN);
  EXPECT_THAT(CheckFiles(history_), IsEmpty());
  history_.runs[1].file_after = true;
  EXPECT_THAT(CheckFiles(history_), ElementsAre(HasSubstr("says UNKNOWN and the file is there")));
  history_.runs[1].acts[0].deed = Deed::kGuestShutdown;
  EXPECT_THAT(CheckFiles(history_), IsEmpty()) << "an earlier life handled it";
}

TEST_F(ChecksTest, StoppedThatIsWrongAboutItsFile) {
  history_.journal[1].mutable_shutdown()->set_shutdown_file_written(false);
  EXPECT_THAT(CheckFiles(history_), ElementsAre(HasSubstr("the file not written")));
  history_.runs[0].next_began = absl::FromUnixSeconds(149);
  EXPECT_THAT(CheckFiles(history_), IsEmpty()) << "the file was another run's by then";
}

TEST_F(ChecksTest, ListOfVmsThatIsWrong) {
  history_.vms[0].set_state(v1::VM_STATE_RUNNING);
  history_.vms.pop_back();
  EXPECT_THAT(CheckListing(history_),
              ElementsAre(HasSubstr("VM_STATE_RUNNING"), HasSubstr("run of vm2 is missing")));
}

TEST_F(ChecksTest, ProbeWithTheWrongAnswer) {
  history_.probes = {{"a cursor", grpc::StatusCode::OUT_OF_RANGE, grpc::StatusCode::OK, "fine"}};
  EXPECT_THAT(CheckProbes(history_), ElementsAre(HasSubstr("a cursor: code 0 (fine) and not 11")));
}

TEST_F(ChecksTest, GapOfTheNodePassesEveryFilter) {
  v1::EventFilter filter;
  filter.add_vm_names("nobody");
  v1::Event gap;
  gap.set_type(v1::EVENT_TYPE_GAP);
  EXPECT_TRUE(Passes(gap, filter));
  gap.mutable_vm()->set_name("vm1");
  EXPECT_FALSE(Passes(gap, filter));
}

}  // namespace
}  // namespace vmeventd::crash
