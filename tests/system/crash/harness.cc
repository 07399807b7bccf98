#include "tests/system/crash/harness.h"

#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "tests/support/fail.h"
#include "tests/support/files.h"
#include "tests/support/wait.h"

namespace vmeventd::crash {
namespace {

using e2e::Exists;
using e2e::WaitUntil;

// Busy-waits: no sleep is exact enough.
void Spin(absl::Duration duration) {
  const absl::Time end = absl::Now() + duration;
  while (absl::Now() < end) {
  }
}

// A pause that is part of the scenario, not a way to wait for something.
void Idle(absl::Duration duration) {
  poll(nullptr, 0, static_cast<int>(absl::ToInt64Milliseconds(duration)));
}

}  // namespace

Harness::Harness(HarnessOptions options) : options_(std::move(options)), random_(options_.seed) {
  const std::string& dir = options_.directory;
  std::filesystem::create_directory(dir + "/ctrl");
  daemon_options_.watches = {dir + "/ctrl:*.kvmd"};
  daemon_options_.socket = dir + "/run/vmeventd.sock";
  daemon_options_.state_dir = dir + "/state";
  daemon_options_.log_file = dir + "/log";
  for (int i = 0; i < options_.vms; ++i) slots_.push_back({absl::StrCat("fake", i)});
}

std::string Harness::FileOf(const Slot& slot) const {
  return options_.directory + "/ctrl/" + slot.name + ".shutdown";
}

History Harness::Run() {
  StartClients();
  for (round_ = 1; round_ <= options_.rounds; ++round_) Round();
  EndEverything();
  for (const auto& client : clients_) history_.clients.push_back(client->Stop());
  EndDaemon(SIGKILL);
  AskLastDaemon();
  return std::move(history_);
}

void Harness::StartClients() {
  const std::string address = "unix:" + daemon_options_.socket;
  const auto start = [&](SubscriberOptions options) {
    options.address = address;
    clients_.push_back(std::make_unique<Subscriber>(std::move(options), &sightings_));
  };
  start({.name = "slow", .pause = absl::Milliseconds(15)});
  start({.name = "slower", .pause = absl::Milliseconds(150)});
  start({.name = "from the oldest", .start = StreamStart::kOldest});
  start({.name = "by snapshot", .start = StreamStart::kSnapshot});
  do {
    start({.name = absl::StrCat("resuming ", clients_.size())});
  } while (clients_.size() < static_cast<size_t>(options_.subscribers));
}

// The daemon

void Harness::StartDaemon(bool wait) {
  ++history_.lives;
  daemon_ = std::make_unique<e2e::Daemon>(daemon_options_, wait);
}

void Harness::EndDaemon(int signal) {
  if (daemon_->has_exited()) e2e::Fail("the daemon has ended by itself");
  daemon_->Signal(signal);
  WaitUntil(absl::StrCat("the daemon has ended after signal ", signal),
            [&] { return daemon_->has_exited(); });
  const int status = daemon_->WaitExit();
  if (signal == SIGTERM && status != 0) {
    e2e::Fail(absl::StrCat("after SIGTERM the daemon ended with wait status ", status));
  }
  daemon_.reset();
}

// Rounds

void Harness::Round() {
  StartUp();
  constexpr uint64_t kMaxDeeds = 14;
  const uint64_t deeds = 2 + random_.Below(kMaxDeeds);
  for (uint64_t i = 0; i < deeds; ++i) {
    DoSomething();
    if (random_.OneIn(3)) Idle(absl::Milliseconds(random_.Below(6)));
  }
  KillSomehow();
  WorkWhileDown();
}

void Harness::StartUp() {
  // The time up to the end of the first scan is some tens of milliseconds.
  constexpr uint64_t kMaxStartMicros = 60'000;
  while (random_.OneIn(5)) {
    StartDaemon(false);
    if (random_.OneIn(2)) DoSomething();
    Spin(absl::Microseconds(random_.Below(kMaxStartMicros)));
    EndDaemon(SIGKILL);
  }
  if (!random_.OneIn(7)) return StartDaemon(true);
  StartDaemon(false);  // things happen while it starts
  DoSomething();
  DoSomething();
  daemon_->WaitReady();
}

void Harness::WorkWhileDown() {
  if (random_.OneIn(2)) return;
  constexpr uint64_t kMaxDeeds = 4;
  const uint64_t deeds = 1 + random_.Below(kMaxDeeds);
  for (uint64_t i = 0; i < deeds; ++i) DoSomething();
}

void Harness::KillSomehow() {
  const uint64_t dice = random_.Below(100);
  if (dice < 30) return KillAfterEnd();
  if (dice < 45) return KillAtShutdownFile();
  if (dice < 55) return KillAtStopped();
  if (dice < 70) return KillInBurst();
  if (dice < 85) return KillAtIdle();
  Drain();
}

void Harness::KillAtIdle() {
  constexpr uint64_t kMaxIdleMs = 40;
  Idle(absl::Milliseconds(random_.Below(kMaxIdleMs)));
  EndDaemon(SIGKILL);
}

void Harness::KillAfterEnd() {
  Slot* const slot = BeginSomeEnd(false);
  static const std::vector<uint64_t> kMaxMicros = {1, 100, 400, 1000, 4000};
  Spin(absl::Microseconds(random_.Below(random_.Pick(kMaxMicros))));
  EndDaemon(SIGKILL);
  if (slot != nullptr) FinishEnd(slot);
}

// Kills it between the file and the event.
void Harness::KillAtShutdownFile() {
  Slot* const slot = BeginSomeEnd(true);
  const absl::Time deadline = absl::Now() + absl::Milliseconds(50);
  while (slot != nullptr && !Exists(FileOf(*slot)) && absl::Now() < deadline) {
  }
  EndDaemon(SIGKILL);
  if (slot != nullptr) FinishEnd(slot);
}

void Harness::KillAtStopped() {
  if (Slot* const slot = BeginSomeEnd(false); slot != nullptr) {
    FinishEnd(slot);
    sightings_.WaitStopped(history_.runs.back(), absl::Milliseconds(200));
  }
  EndDaemon(SIGKILL);
}

void Harness::KillInBurst() {
  for (Slot* slot : Running()) Chat(slot);
  constexpr uint64_t kMaxMicros = 3000;
  Spin(absl::Microseconds(random_.Below(kMaxMicros)));
  EndDaemon(SIGKILL);
}

void Harness::Drain() {
  if (random_.OneIn(2)) {
    for (Slot* slot : Running()) Chat(slot);
  }
  if (!random_.OneIn(3)) return EndDaemon(SIGTERM);
  daemon_->Signal(SIGTERM);
  constexpr uint64_t kMaxMicros = 20'000;
  Spin(absl::Microseconds(random_.Below(kMaxMicros)));
  if (daemon_->has_exited()) {
    daemon_->WaitExit();
    return daemon_.reset();
  }
  EndDaemon(SIGKILL);
}

// VMs

void Harness::Log(Slot* slot, const std::string& text) {
  slot->vm->Log(absl::StrCat("round ", round_, ", life ", history_.lives, ": ", text));
}

// The running VMs; those that the daemon has published if there are any.
std::vector<Harness::Slot*> Harness::Running() {
  std::vector<Slot*> running;
  std::vector<Slot*> published;
  for (Slot& slot : slots_) {
    if (slot.vm == nullptr || slot.vm->ended()) continue;
    running.push_back(&slot);
    if (sightings_.Started(slot.vm->history())) published.push_back(&slot);
  }
  return published.empty() ? running : published;
}

void Harness::DoSomething() {
  Slot* const slot = &slots_[random_.Below(slots_.size())];
  if (slot->vm == nullptr) return StartVm(slot);
  if (slot->vm->lingers()) return FinishEnd(slot);
  if (!random_.OneIn(3)) return Chat(slot);
  BeginEnd(slot, false);
  if (!slot->vm->lingers()) FinishEnd(slot);
}

void Harness::StartVm(Slot* slot) {
  unlink(FileOf(*slot).c_str());  // as Ganeti does
  slot->vm = std::make_unique<Vm>(slot->name, options_.directory + "/ctrl", options_.fake_program);
  Log(slot, "started");
}

void Harness::Chat(Slot* slot) { Log(slot, slot->vm->Chat(&random_)); }

void Harness::BeginEnd(Slot* slot, bool by_guest) {
  Log(slot, slot->vm->BeginEnd(&random_, by_guest));
}

Harness::Slot* Harness::BeginSomeEnd(bool by_guest) {
  const std::vector<Slot*> candidates = Running();
  if (candidates.empty()) return nullptr;
  Slot* const slot = random_.Pick(candidates);
  BeginEnd(slot, by_guest);
  return slot;
}

void Harness::FinishEnd(Slot* slot) {
  slot->vm->FinishEnd();
  Log(slot, "its process is gone");
  history_.runs.push_back(slot->vm->history());
  slot->vm.reset();
}

// The end

void Harness::EndEverything() {
  StartDaemon(true);
  for (Slot& slot : slots_) {
    if (slot.vm == nullptr) continue;
    const RunHistory& run = slot.vm->history();
    if (!slot.vm->ended()) {
      WaitUntil(run.name + " is published", [&] { return sightings_.Started(run); });
      BeginEnd(&slot, false);
    }
    FinishEnd(&slot);
  }
  for (RunHistory& run : history_.runs) {
    run.must_be_published = sightings_.Started(run);
    if (run.must_be_published && !sightings_.WaitStopped(run, e2e::Patience())) {
      e2e::Fail(absl::StrCat("no STOPPED of ", run.name, "/", run.pid, ": ",
                             absl::StrJoin(run.log, "; ")));
    }
  }
  WaitForClients();
}

void Harness::WaitForClients() {
  const uint64_t newest = daemon_->GetServerInfo().newest_sequence();
  for (const auto& client : clients_) client->HurryUp();
  for (const auto& client : clients_) {
    WaitUntil(absl::StrCat("client ", client->name(), " has everything up to ", newest),
              [&] { return client->HasReached(newest); });
  }
}

void Harness::AskLastDaemon() {
  StartDaemon(true);
  // A start after a kill publishes a GAP, which may come once it serves.
  WaitUntil("everything public is durable", [&] {
    grpc::ClientContext context;
    const auto reader = daemon_->stub().WatchEvents(&context, {});
    v1::WatchEventsResponse first;
    const bool read = reader->Read(&first);
    context.TryCancel();
    for (v1::WatchEventsResponse rest; reader->Read(&rest);) {
    }
    (void)reader->Finish();
    const v1::Progress& progress = first.progress();
    return read && progress.durable_sequence() >= progress.sequence();
  });
  history_.journal = daemon_->ListEvents();
  history_.journal_id = daemon_->GetServerInfo().journal_id();
  EndDaemon(SIGTERM);
}

}  // namespace vmeventd::crash
