#include "tests/support/test_events.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/eventlog/open_journal.h"
#include "server/events/event_codec.h"

namespace vmeventd {
namespace {

JournalOptions WithPath(JournalOptions options, const std::string& path) {
  options.path = path;
  return options;
}

// Makes a journal with the id kJournal, and opens it as the daemon does.
std::unique_ptr<EventLog> OpenLog(const LiveStateOptions& live, const JournalOptions& options,
                                  const Clock* clock) {
  OpenJournal(options, At(0)).value();
  ExecuteSql(options.path, absl::StrCat("UPDATE meta SET value = CAST('", kJournal,
                                        "' AS BLOB) WHERE key = 'journal_id'"))
      .IgnoreError();
  return EventLog::Open({.journal = options, .live = live, .node_id = kNode}, clock).value();
}

}  // namespace

absl::Time At(int64_t seconds) { return absl::FromUnixSeconds(1'800'000'000 + seconds); }

VmStatus Status(const std::string& name, const std::string& run_id, VmState state) {
  VmStatus status;
  status.ref.name = name;
  status.ref.run_id = run_id;
  status.ref.pid = 4711;
  status.ref.source = "qmp:/run/vms";
  status.state = state;
  status.state_time = At(0);
  status.start_time = At(-60);
  status.qemu_version = "7.2.22";
  status.monitor_path = absl::StrCat("/run/vms/", name, ".kvmd");
  return status;
}

VmUpdate Update(const std::string& name, EventType type, absl::Time time) {
  return {.status = Status(name, absl::StrCat("run-", name)),
          .event = VmEvent{.type = type, .observe_time = time, .message = "something happened"}};
}

VmUpdate UpdateFrom(const std::string& source, const std::string& name, EventType type) {
  VmUpdate update = Update(name, type);
  update.status->ref.source = source;
  return update;
}

VmUpdate LargeUpdate(const std::string& name) {
  VmUpdate update = Update(name, EventType::kReset);
  update.event->detail_json = std::string(4000, 'x');
  return update;
}

VmUpdate Stopped(const std::string& name, const std::string& run_id, ShutdownClass shutdown_class) {
  VmUpdate update = Update(name, EventType::kStopped);
  update.status = Status(name, run_id, VmState::kStopped);
  ShutdownDetail detail;
  detail.shutdown_class = shutdown_class;
  detail.cause = ShutdownCause::kGuestPoweroff;
  detail.rule = "guest-shutdown";
  detail.evidence.push_back({At(1), "SHUTDOWN reason=guest-shutdown"});
  update.status->shutdown = detail;
  update.event->shutdown = detail;
  return update;
}

std::vector<v1::Event> EventsOf(const std::vector<EventBlockPtr>& blocks) {
  std::vector<v1::Event> out;
  for (const EventBlockPtr& block : blocks) {
    for (size_t i = 0; i < block->size(); ++i) {
      out.push_back(DecodeEventField(block->EncodedView(i)));
    }
  }
  return out;
}

absl::Status ExecuteSql(const std::string& path, const std::string& sql) {
  auto database = SqliteDatabase::Open(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  return database.ok() ? database->Execute(sql) : database.status();
}

std::vector<std::string> CostlyPatterns() {
  std::vector<std::string> out(32);
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = "*" + std::string(100, 'a') + "b" + std::string(i, '?') + "*";
  }
  return out;
}

PumpedState::PumpedState(LiveStateOptions options, JournalOptions journal)
    : options_(WithPath(std::move(journal), directory_ / "journal.db")),
      log_(OpenLog(options, options_, &clock_)),
      reader_(JournalReader::Open(options_.path).value()) {
  log_->Subscribe({.journal_writable = [this](bool writable) { reported_writable_ = writable; },
                   .journal_replaced = [this] { ++reported_replaced_; }});
}

void PumpedState::Push(std::vector<VmUpdate> updates) {
  for (VmUpdate& update : updates) log_->sink()->Push(std::move(update));
  log_->Step();
}

void PumpedState::PushEach(const std::string& name, int count) {
  for (int i = 0; i < count; ++i) Push({Update(name, EventType::kReset)});
}

}  // namespace vmeventd
