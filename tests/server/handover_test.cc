#include "server/handover.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/passed_descriptors.h"
#include "gtest/gtest.h"
#include "server/events/complete_event.h"
#include "server/events/logged_event.h"
#include "tests/support/filled_message.h"
#include "tests/support/passed_descriptor.h"
#include "tests/support/saved_messages.h"
#include "tests/support/vm_updates.h"
#include "watcher/runs/handed_run.h"

namespace vmeventd {
namespace {

const JournalEnd kEndOfJournal{"journal", 7, 7};

struct Unpacked : Handover {
  std::optional<HandedLog> log;
};
Unpacked Unpack(UniqueFd parcel, const JournalEnd& found = kEndOfJournal) {
  std::optional<HandedLog> log = LogIn(parcel, found);
  const bool has_log = log.has_value();
  return {UnpackHandover(std::move(parcel), has_log), std::move(log)};
}
Unpacked Unpack(const HandoverContents& contents, const JournalEnd& found = kEndOfJournal) {
  return Unpack(PackHandover(contents).value(), found);
}

UniqueFd NewSocket() { return UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)); }

ino_t InodeOf(const UniqueFd& fd) {
  struct stat status {};
  EXPECT_EQ(fstat(fd.get(), &status), 0);
  return status.st_ino;
}

// Three runs: with a connection and a process, with a process alone as libvirt's, with a connection
// alone as one that is not tracked.
std::vector<HandedRun> ThreeRuns() {
  std::vector<HandedRun> runs(3);
  for (int i = 0; i < 3; ++i) {
    runs[i].state.set_run_id(absl::StrCat("run ", i));
    runs[i].state.set_wait_status(i);
    if (i != 1) runs[i].connection = NewSocket();
    if (i == 2) continue;
    runs[i].state.set_pid(100 + i);
    runs[i].process = NewSocket();
  }
  return runs;
}

// The first message of a parcel, which stays in it.
struct FirstMessage {
  std::string text;
  UniqueFd contents;  // the file of the log
};
FirstMessage PeekAt(const UniqueFd& parcel) {
  std::array<char, 256> text{};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(16 * sizeof(int))> control{};
  iovec data{text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t size = recvmsg(parcel.get(), &message, MSG_PEEK | MSG_CMSG_CLOEXEC);
  EXPECT_GT(size, 0);
  return {std::string(text.data(), static_cast<size_t>(std::max<ssize_t>(size, 0))),
          std::move(TakeDescriptors(&message).at(0))};
}
std::string Contents(const UniqueFd& parcel) {
  const UniqueFd file = PeekAt(parcel).contents;
  struct stat status {};
  EXPECT_EQ(fstat(file.get(), &status), 0);
  std::string bytes(static_cast<size_t>(status.st_size), 0);
  EXPECT_EQ(pread(file.get(), bytes.data(), bytes.size(), 0), status.st_size);
  return bytes;
}
void ReplaceContents(const UniqueFd& parcel, const std::string& bytes) {
  const UniqueFd file = PeekAt(parcel).contents;
  EXPECT_EQ(ftruncate(file.get(), 0), 0);
  EXPECT_EQ(pwrite(file.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
}

// A list with the event of an update.
std::string EncodedEvent(VmUpdate update) {
  CompleteEvent(&*update.status, 9, &*update.event);
  return Logged(*update.event)->field;
}

TEST(HandoverTest, RunsAreHandedOverWithTheirDescriptors) {
  const HandoverContents contents = {.log = {.end = kEndOfJournal}, .open = {.runs = ThreeRuns()}};
  const std::vector<HandedRun>& runs = contents.open.runs;
  const Unpacked read = Unpack(contents);
  EXPECT_FALSE(read.exit_statuses.valid());
  ASSERT_EQ(read.runs.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(read.runs[i].state.run_id(), runs[i].state.run_id());
    EXPECT_EQ(read.runs[i].state.SerializeAsString(), runs[i].state.SerializeAsString());
    ASSERT_EQ(read.runs[i].connection.valid(), i != 1);
    ASSERT_EQ(read.runs[i].process.valid(), i != 2);
    if (i != 1) {
      EXPECT_EQ(InodeOf(read.runs[i].connection), InodeOf(runs[i].connection));
    }
    if (i != 2) {
      EXPECT_EQ(InodeOf(read.runs[i].process), InodeOf(runs[i].process));
    }
  }
}

TEST(HandoverTest, ExitStatusesAndTraceAreHandedOverIndependently) {
  const UniqueFd exits = NewSocket();
  const UniqueFd ring = NewSocket();
  const UniqueFd link = NewSocket();
  const std::vector<int> trace = {ring.get(), link.get()};
  for (const int exit_statuses : {exits.get(), -1}) {
    UniqueFd parcel =
        PackHandover(
            {.log = {.end = kEndOfJournal}, .exit_statuses = exit_statuses, .trace = trace})
            .value();
    for (int start = 0; start < 2; ++start) {  // the first start fails before it unpacks
      EXPECT_TRUE(LogIn(parcel, kEndOfJournal).has_value());
      const std::vector<UniqueFd> found = TraceIn(parcel);
      ASSERT_EQ(found.size(), 2u);
      EXPECT_EQ(InodeOf(found[1]), InodeOf(link));
    }
    const Unpacked read = Unpack(std::move(parcel));
    ASSERT_EQ(read.exit_statuses.valid(), exit_statuses >= 0);
    if (exit_statuses >= 0) {
      EXPECT_EQ(InodeOf(read.exit_statuses), InodeOf(exits));
    }
  }
}

TEST(HandoverTest, WithAnotherJournalOrACopyNoRunIsResumed) {
  for (const JournalEnd& found :
       {JournalEnd{"other", 7, 7}, JournalEnd{"journal", 6, 6}, JournalEnd{"journal", 8, 8}}) {
    const Unpacked read =
        Unpack({.log = {.end = kEndOfJournal}, .open = {.runs = ThreeRuns()}}, found);
    EXPECT_FALSE(read.log.has_value());
    ASSERT_EQ(read.runs.size(), 3u);
    for (const HandedRun& run : read.runs) EXPECT_EQ(run.state.run_id(), "");
    EXPECT_TRUE(read.runs[0].connection.valid()) << "it is still to be closed";
  }
}

// The disk was full, or hung, when the daemon stopped: its last events may be in the file or not.
TEST(HandoverTest, AJournalThatIsBehindGetsTheStatesOfTheRuns) {
  const HandoverContents contents = {
      .log = {.journal_id = "id",
              .end = {"journal", 5, 9},
              .runs = {{"run 1", {"state 1"}}, {"run 2", {"state 2", 3}}}}};
  for (const JournalEnd& found :
       {JournalEnd{"journal", 5, 5}, JournalEnd{"journal", 9, 9}, JournalEnd{"journal", 0, 99}}) {
    const Unpacked read = Unpack(contents, found);
    ASSERT_TRUE(read.log.has_value());
    EXPECT_EQ(read.log->journal_id, "id");
    EXPECT_EQ(read.log->end.newest, 9u);
    ASSERT_EQ(read.log->runs.size(), 2u);
    EXPECT_EQ(read.log->runs.at("run 1").payload, "state 1");
    EXPECT_EQ(read.log->runs.at("run 2").payload, "state 2");
    EXPECT_EQ(read.log->runs.at("run 2").last_sequence, 3u);
  }
}

TEST(HandoverTest, TheTimeUntilWhichItWatchedIsHandedOver) {
  for (const bool knows_runs : {true, false}) {
    for (const absl::Time watched_until :
         {absl::FromUnixNanos(1'795'157'000'123'456'789), absl::InfinitePast()}) {
      const Unpacked read = Unpack(
          {.log = {
               .end = kEndOfJournal, .knows_runs = knows_runs, .watched_until = watched_until}});
      ASSERT_TRUE(read.log.has_value());
      EXPECT_EQ(read.log->knows_runs, knows_runs);
      EXPECT_EQ(read.log->watched_until, watched_until);
    }
  }
}

TEST(HandoverTest, UnwrittenEventsAreHandedOverUnchanged) {
  HandoverContents contents = {.log = {.end = {"journal", 5, 8}}};
  VmUpdate stopped = Stopped("a", "run-a", ShutdownClass::kUser);
  stopped.status->set_last_sequence(6);
  contents.log.unwritten.stops[6] = std::make_shared<const v1::Vm>(*stopped.status);
  for (VmUpdate update : {stopped, Update("b", EventType::kReset)}) {
    CompleteEvent(&*update.status, 6 + contents.log.unwritten.events.size(), &*update.event);
    contents.log.unwritten.Put(Logged(*update.event));
  }
  const Unpacked read = Unpack(contents, {"journal", 5, 5});
  ASSERT_TRUE(read.log.has_value());
  const JournalBatch& unwritten = read.log->unwritten;
  ASSERT_EQ(unwritten.events.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(unwritten.events[i]->field, contents.log.unwritten.events[i]->field);
  }
  EXPECT_EQ(unwritten.bytes, contents.log.unwritten.bytes);
  ASSERT_EQ(unwritten.stops.size(), 1u);
  EXPECT_EQ(unwritten.stops.at(6)->SerializeAsString(), stopped.status->SerializeAsString());
}

TEST(HandoverTest, EachFieldOfTheContentsIsReadAndPackedAgain) {
  SavedMessages messages;
  for (const bool flag : {true, false}) {
    const auto packed = messages.New("Handover");
    Fill(flag, packed.get());
    // The two maps are of the same runs, and the events are those of a list.
    internal::Handover valid;
    ASSERT_TRUE(valid.ParseFromString(packed->SerializeAsString()));
    valid.clear_last_sequences();
    for (const auto& [run_id, state] : valid.states()) {
      (*valid.mutable_last_sequences())[run_id] = valid.last_sequences_size() + 1;
    }
    valid.set_events(EncodedEvent(Update("a", EventType::kReset)));
    ASSERT_TRUE(packed->ParseFromString(valid.SerializeAsString()));

    const UniqueFd parcel = PackHandover({}).value();
    ReplaceContents(parcel, packed->SerializeAsString());
    const std::optional<HandedLog> log =
        LogIn(parcel, {valid.journal_file(), valid.stored(), valid.newest()});
    ASSERT_TRUE(log.has_value());
    const auto again = messages.New("Handover");
    ASSERT_TRUE(again->ParseFromString(Contents(PackHandover({.log = *log}).value())));
    EXPECT_EQ(Differences(*packed, *again), "");
  }
}

TEST(HandoverTest, EachFieldOfARunIsHandedOver) {
  SavedMessages messages;
  const auto filled = messages.New("HandedRunState");
  Fill(true, filled.get());
  HandoverContents contents = {.log = {.end = kEndOfJournal}, .open = {.runs = ThreeRuns()}};
  for (HandedRun& run : contents.open.runs) {
    ASSERT_TRUE(run.state.ParseFromString(filled->SerializeAsString()));
  }
  const Unpacked read = Unpack(contents);
  ASSERT_EQ(read.runs.size(), 3u);
  for (const HandedRun& run : read.runs) {
    const auto found = messages.New("HandedRunState");
    ASSERT_TRUE(found->ParseFromString(run.state.SerializeAsString()));
    EXPECT_EQ(Differences(*filled, *found), "");
  }
}

TEST(HandoverTest, TheLongestUnhandledInputFits) {
  HandoverContents contents = {.log = {.end = kEndOfJournal},
                               .open = {.runs = std::vector<HandedRun>(1)}};
  internal::HandedRunState& state = contents.open.runs[0].state;
  state.set_run_id(std::string(1000, 'x'));
  state.set_unhandled(std::string(HandedRun::kMaxUnhandled, '\xff'));
  const Unpacked read = Unpack(contents);
  ASSERT_EQ(read.runs.size(), 1u);
  EXPECT_EQ(read.runs[0].state.unhandled(), state.unhandled());
}

TEST(HandoverTest, RunsBeyondTheQueueAreLeftOut) {
  HandoverContents contents = {.log = {.end = kEndOfJournal},
                               .open = {.runs = std::vector<HandedRun>(2000)}};
  contents.log.runs["run"] = {std::string(1'000, 's')};
  for (HandedRun& run : contents.open.runs) {
    run.state.set_run_id("run");
    run.state.set_unhandled(std::string(HandedRun::kMaxUnhandled, 'x'));
  }
  const Unpacked read = Unpack(contents);
  EXPECT_GT(read.runs.size(), 0u);
  EXPECT_LT(read.runs.size(), contents.open.runs.size());
  EXPECT_EQ(read.log.value().runs.size(), 1u) << "every state is there";
}

// The receiver's end of a parcel whose first message has that text and, unless null, that file;
// one run follows.
UniqueFd MadeUpParcel(const std::string& text, const UniqueFd* contents) {
  int ends[2] = {};
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  const UniqueFd sender(ends[1]);
  if (contents == nullptr) {
    EXPECT_GE(send(sender.get(), text.data(), text.size(), 0), 0);
  } else {
    EXPECT_EQ(e2e::PassDescriptor(sender.get(), text, contents->get()), 0);
  }
  const std::string run = ThreeRuns()[2].state.SerializeAsString();
  EXPECT_GE(send(sender.get(), run.data(), run.size(), 0), 0);
  return UniqueFd(ends[0]);
}

TEST(HandoverTest, AMessageOfAnotherFormIsRefused) {
  EXPECT_TRUE(Unpack(UniqueFd()).runs.empty());
  EXPECT_TRUE(TraceIn(UniqueFd()).empty());
  EXPECT_TRUE(Unpack(NewSocket()).runs.empty());
  const UniqueFd packed = PackHandover({.log = {.end = kEndOfJournal}}).value();
  const FirstMessage first = PeekAt(packed);
  const std::string format = first.text.substr(0, first.text.find(' '));
  const UniqueFd* const with_log = &first.contents;
  ASSERT_EQ(Unpack(MadeUpParcel(format + " 0", with_log)).runs.size(), 1u);
  const struct {
    std::string text;
    const UniqueFd* contents;
  } kRefused[] = {
      {"", nullptr},
      {"x", with_log},
      {"vmeventd-handover-5 0", with_log},  // another version
      {format, with_log},                   // no number of sockets for exit statuses
      {format + " x", with_log},
      {format + " -1", with_log},
      {format + " 2", with_log},
      {format + " 0 0", with_log},
      {format + " 1", with_log},  // without that socket
      {format + " 0", nullptr},   // without the log
  };
  for (const auto& [text, contents] : kRefused) {
    UniqueFd parcel = MadeUpParcel(text, contents);
    EXPECT_TRUE(TraceIn(parcel).empty()) << text;
    EXPECT_TRUE(Unpack(std::move(parcel)).runs.empty()) << text;
  }
}

}  // namespace
}  // namespace vmeventd
