#include "tests/support/pumped_state.h"

#include "gtest/gtest.h"
#include "server/eventlog/journal.h"
#include "server/eventlog/sequence_mark.h"
#include "server/events/complete_event.h"
#include "server/events/logged_event.h"
#include "tests/support/client_events.h"
#include "tests/support/event_log_for_tests.h"
#include "tests/support/journal_events.h"
#include "tests/support/vm_updates.h"

namespace vmeventd {
namespace {

constexpr char kNode[] = "6e6f6465-0000-4c00-8000-000000000007";

}  // namespace

Ring RingOf(size_t events) {
  const VmUpdate update = Update("a", EventType::kReset);
  v1::Event event = *update.event;
  CompleteEvent(&*update.status, events, &event);
  return {events * Logged(std::move(event))->memory()};
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
