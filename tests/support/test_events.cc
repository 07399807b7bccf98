#include "tests/support/test_events.h"

#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/eventlog/journal.h"
#include "server/eventlog/sequence_mark.h"
#include "server/events/event_codec.h"
#include "tests/support/event_log_for_tests.h"
#include "watcher/core/proto_time.h"
#include "watcher/core/vm_event.h"

namespace vmeventd {

absl::Time At(int64_t seconds) { return absl::FromUnixSeconds(1'800'000'000 + seconds); }

v1::Vm Status(const std::string& name, const std::string& run_id, VmState state) {
  v1::Vm status;
  status.mutable_ref()->set_name(name);
  status.mutable_ref()->set_run_id(run_id);
  status.mutable_ref()->set_pid(4711);
  status.mutable_ref()->set_source("qmp:/run/vms");
  status.set_state(ToProto(state));
  *status.mutable_state_time() = ToTimestamp(At(0));
  *status.mutable_start_time() = ToTimestamp(At(-60));
  status.set_qemu_version("7.2.22");
  status.set_monitor_path(absl::StrCat("/run/vms/", name, ".kvmd"));
  return status;
}

VmUpdate Update(const std::string& name, EventType type, absl::Time time) {
  VmUpdate update{.status = Status(name, absl::StrCat("run-", name)),
                  .event = MakeEvent(type, "something happened")};
  *update.event->mutable_observe_time() = ToTimestamp(time);
  return update;
}

VmUpdate UpdateFrom(const std::string& source, const std::string& name, EventType type) {
  VmUpdate update = Update(name, type);
  update.status->mutable_ref()->set_source(source);
  return update;
}

VmUpdate LargeUpdate(const std::string& name) {
  VmUpdate update = Update(name, EventType::kReset);
  update.event->set_detail_json(std::string(4000, 'x'));
  return update;
}

VmUpdate Stopped(const std::string& name, const std::string& run_id, ShutdownClass shutdown_class) {
  VmUpdate update = Update(name, EventType::kStopped);
  update.status = Status(name, run_id, VmState::kStopped);
  v1::ShutdownDetail& detail = *update.event->mutable_shutdown();
  detail.set_shutdown_class(ToProto(shutdown_class));
  detail.set_cause(ToProto(ShutdownCause::kGuestPoweroff));
  detail.set_rule("guest-shutdown");
  *detail.add_evidence()->mutable_time() = ToTimestamp(At(1));
  detail.mutable_evidence(0)->set_what("SHUTDOWN reason=guest-shutdown");
  detail.set_exit_unknown(true);
  *update.status->mutable_shutdown() = detail;
  return update;
}

std::vector<v1::Event> EventsOf(const std::vector<EventPtr>& events) {
  std::vector<v1::Event> out;
  out.reserve(events.size());
  for (const EventPtr& event : events) out.push_back(EventOf(*event));
  return out;
}

absl::StatusOr<std::vector<v1::Event>> JournalEvents(JournalReader* journal, uint64_t first,
                                                     uint64_t last, uint64_t* through) {
  const FakeClock clock;
  EventPage page{.clock = &clock};
  page.Begin(absl::InfiniteDuration(), SIZE_MAX);
  const absl::StatusOr<uint64_t> read = journal->Read(
      first, last, [](const EventRecord&) { return true; }, &page);
  if (!read.ok()) return read.status();
  if (through != nullptr) *through = *read;
  const auto events = Parsed<v1::ListEventsResponse>(page.encoded).events();
  EXPECT_EQ(static_cast<size_t>(events.size()), page.count);
  return std::vector<v1::Event>(events.begin(), events.end());
}

absl::Status ExecuteSql(const std::string& path, const std::string& sql) try {
  SqliteDatabase(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE).exec(sql);
  return absl::OkStatus();
} catch (const SQLite::Exception& error) {
  return SqliteError(path, error);
}

void GarbleJournal(const std::string& path) {
  ASSERT_TRUE(ExecuteSql(path, "PRAGMA wal_checkpoint(TRUNCATE)").ok());
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file << std::string(4096, '\x5a');
}

Ring RingOf(size_t events) {
  const VmUpdate update = Update("a", EventType::kReset);
  v1::Event event = *update.event;
  CompleteEvent(&*update.status, events, &event);
  return {events * Logged(std::move(event))->memory()};
}

std::vector<std::string> CostlyPatterns() {
  std::vector<std::string> out(32);
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = "*" + std::string(100, 'a') + "b" + std::string(i, '?') + "*";
  }
  return out;
}

PumpedState::PumpedState(Ring ring, JournalOptions journal)
    : PumpedState(EventLogOptions{.journal = std::move(journal), .ring_bytes = ring.bytes}) {}

PumpedState::PumpedState(EventLogOptions options) : options_(std::move(options)) {
  options_.node_id = kNode;
  options_.journal.path = directory_ / "journal.db";
  Journal::OpenLate(options_.journal, {kJournal, 0}).value();
  EXPECT_TRUE(WriteMark(options_.journal.path, {kJournal, 0}).ok());
  Open();
}

void PumpedState::Open(const TakeHanded& take_handed) {
  log_ = EventLog::Open(options_, &clock_, take_handed).value();
  reported_writable_ = log_->state().journal_writable;
  log_->Subscribe([this](bool published) {
    reported_writable_ = log_->state().journal_writable;
    published_ = published_ || published;
  });
  Write();
}

void PumpedState::PushUnwritten(std::vector<VmUpdate> updates) {
  for (VmUpdate& update : updates) log_->Push(std::move(update));
  log_->EndTurn();
  log_->Step();
}

void PumpedState::Push(std::vector<VmUpdate> updates) {
  PushUnwritten(std::move(updates));
  Write();
}

void PumpedState::PushEach(const std::string& name, int count) {
  for (int i = 0; i < count; ++i) Push({Update(name, EventType::kReset)});
}

void PumpedState::Write() {
  do {
    while (log_->StepWriter()) {
    }
    log_->Step();
  } while (EventLogForTests::NextWrite(*log_) <= clock_.Now().monotonic);
}

void PumpedState::Restart(bool in_order, const TakeHanded& take_handed) {
  if (in_order) {
    log_->Start();
    log_->Close();
  }
  log_.reset();
  Open(take_handed);
}

std::vector<v1::Event> PumpedState::Events(uint64_t first) {
  std::vector<v1::Event> out;
  while (true) {
    const ReadResult read = log_->Read(first, 1 << 20);
    if (read.in_journal_through.has_value()) {
      const auto events = JournalEvents(reader(), first, *read.in_journal_through);
      EXPECT_TRUE(events.ok()) << events.status();
      if (!events.ok()) return out;
      out.insert(out.end(), events->begin(), events->end());
      first = *read.in_journal_through + 1;
      continue;
    }
    if (read.events.empty()) return out;
    for (const EventPtr& event : read.events) {
      out.push_back(EventOf(*event, event->sequence <= read.range.committed));
    }
    first = read.events.back()->sequence + 1;
  }
}

}  // namespace vmeventd
