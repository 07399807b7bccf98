#include "watcher/runs/vm_run.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/overloaded.h"
#include "base/standstill.h"
#include "spdlog/spdlog.h"
#include "watcher/runs/describe_process.h"
#include "watcher/runs/held_processes.h"
#include "watcher/runs/process.h"
#include "watcher/runs/run_table.h"
#include "watcher/runs/shutdown_file.h"

namespace vmeventd {
namespace {

// Longest time for which the end of a run waits for QEMU's last words; it polls for them every
// kWordsPoll.
constexpr absl::Duration kWordsWait = absl::Milliseconds(200);
constexpr absl::Duration kWordsPoll = absl::Milliseconds(5);
constexpr absl::Duration kFindRetry = absl::Seconds(1);

}  // namespace

VmRun::VmRun(RunContext* context, RunTable* table, VmSession session)
    : context_(context),
      table_(table),
      session_(std::move(session)),
      process_(context, this),
      published_(session_.restored_unattached()) {}

VmRun::~VmRun() { CancelTimers(); }

void VmRun::CancelTimers() {
  context_->loop->CancelTimer(&tick_timer_);
  context_->loop->CancelTimer(&find_timer_);
  if (words_.has_value()) context_->loop->CancelTimer(&words_->timer);
}

// The process

absl::Status VmRun::Track(PeerProcess process) {
  LastWordsReader* const words = context_->options->last_words.get();
  if (words != nullptr && !info().is_container) trail_ = words->Begin(info());
  return process_.Follow(std::move(process));
}

absl::Status VmRun::TrackAgain(PeerProcess process) {
  if (absl::Status status = Track(std::move(process)); !status.ok()) return status;
  process_.NoteFound();
  ReadOomKills();
  return absl::OkStatus();
}

absl::Status VmRun::TrackHanded(UniqueFd pidfd) {
  if (!IsPidfdOf(pidfd.get(), {.pidfd_inode = info().pidfd_inode,
                               .pid = info().pid,
                               .start_ticks = info().start_ticks})) {
    return absl::InvalidArgumentError("the descriptor belongs to another process");
  }
  return TrackAgain(
      {PeerProcess::Kind::kTracked, info().pid, info().start_ticks, std::move(pidfd)});
}

bool VmRun::FindProcess() {
  absl::StatusOr<PeerProcess> found = PeerProcess();
  HeldProcesses* const held = context_->options->held_processes.get();
  std::optional<PeerProcess> taken =
      held == nullptr ? std::nullopt : held->Take(info().pid, info().start_ticks);
  if (taken.has_value()) {
    found = *std::move(taken);
  } else {
    found = IdentifyAgain(info().pid, info().start_ticks);
  }
  if (!found.ok()) return false;
  if (found->kind == PeerProcess::Kind::kTracked) {
    return context_->vm_descriptors < context_->max_vm_descriptors &&
           TrackAgain(*std::move(found)).ok();
  }
  if (found->kind == PeerProcess::Kind::kUntracked) {
    LoseTracking();
    return true;
  }
  const bool is_zombie =
      found->pidfd.valid() && found->start_ticks != 0 && found->start_ticks == info().start_ticks;
  End(is_zombie ? process_.EndOfZombie(*found) : ProcessEnd{.late = true});
  return true;
}

void VmRun::FindProcessLater() {
  context_->loop->SetTimerIn(&find_timer_, kFindRetry, [this] {
    // A new connection may have brought its process in the meantime.
    if (over_ || !tracked() || followed()) return;
    if (!FindProcess()) return FindProcessLater();
    if (!connected()) ReportProblem({});
  });
}

absl::Status VmRun::TrackInstead(PeerProcess process) {
  const ProcessInfo info = DescribeProcess(process, context_->oom_counters);
  process_.Reset();
  Feed(input::ProcessFound{info});
  if (!over_) table_->OnProcessChanged(this);
  absl::Status status = Track(std::move(process));
  if (!status.ok()) LoseTracking();
  return status;
}

void VmRun::LoseTracking() {
  Feed(input::TrackingLost{});
  if (!over_) table_->OnProcessChanged(this);
}

void VmRun::ReadOomKills() {
  if (const std::optional<uint64_t> kills = process_.ReadOomKillsOfOthers()) {
    Feed(input::OomKills{*kills});
  }
}

// A run's course

void VmRun::Discard() {
  process_.Reset();  // its end may be in the same turn of the loop
  Leave();
}

void VmRun::Leave() {
  over_ = true;
  CancelTimers();
  Disconnect();
  table_->OnOver(this);
}

void VmRun::HandOverTo(HandedRun* handed) {
  internal::HandedRunState& state = handed->state;
  state.set_run_id(std::string(info().run_id));
  if (!tracked()) return;
  state.set_pid(info().pid);
  const std::optional<int> wait_status = context_->exit_statuses->WaitStatusRead(info().pid);
  if (wait_status.has_value()) state.set_wait_status(*wait_status);
  handed->process = process_.Release();
}

void VmRun::Resume() {
  table_->OnPublish({session_.Status(), std::nullopt, session_.Save()});
  ArmTick();
}

void VmRun::HandleQmpEvent(const QmpEvent& event) {
  if (event.name == "SHUTDOWN") {
    // The signal that QEMU obeyed was recorded before QEMU reported the shutdown.
    context_->signals->Drain();
    context_->host->Drain();
  }
  Feed(input::Event{event});
}

void VmRun::End(const ProcessEnd& end) { Feed(input::ProcessGone{end}); }

std::string VmRun::Directory() const {
  const absl::string_view path = info().raw_path;
  return std::string(path.substr(0, std::max<size_t>(path.rfind('/'), 1)));
}

// Intents

bool VmRun::Lives() {
  ReadNow();
  return !over_ && !process_ended();
}

void VmRun::Confirm(std::function<void()> done) {
  VmUpdate update{session_.Status(), std::nullopt};
  update.on_public = std::move(done);
  table_->OnPublish(std::move(update));
}

void VmRun::DeclareIntent(const v1::Intent& intent, std::function<void()> done) {
  ReadOomKills();  // one before it must not count as a kill that it announces
  Feed(input::IntentDeclared{intent});
  Confirm(std::move(done));
}

void VmRun::WithdrawIntent(std::function<void()> done) {
  Feed(input::IntentWithdrawn{});
  Confirm(std::move(done));
}

// Effects

void VmRun::Apply(Effects effects) {
  const uint64_t limited = session_.rate_limited_events();
  context_->meters.rate_limited_events.Add(limited - std::exchange(limited_events_, limited));
  const Overloaded execute{
      [&](Publish& publish) {
        published_ = true;
        table_->OnPublish(std::move(publish.update));
      },
      [&](const SetShutdownFile& file) { TouchShutdownFile(file.there); },
      [&](const AskQemu& ask) { Ask(ask.question); },
      [&](const ExamineThreads&) {
        const int64_t pid = info().pid;
        Feed(input::Threads{DescribeThreads(pid), FrozenCgroup(pid), DumpsCore(pid)});
      },
      [&](const ReadLastWords& words) {
        words_ = WordsWait{.read = context_->options->last_words->BeginRead(info(), words.status,
                                                                            std::move(trail_)),
                           .deadline = Now().monotonic + kWordsWait};
        AwaitWords();
      },
      [&](const Done&) { Leave(); }};
  for (Effect& effect : effects) {
    if (over_) return;
    std::visit(execute, effect);
  }
  if (!over_) ArmTick();
}

void VmRun::TouchShutdownFile(bool there) {
  std::function<bool()> owns_name = OwnsName();
  if (owns_name == nullptr) return Feed(input::FileDone{std::nullopt});
  ++file_changes_;
  const absl::Duration begun = context_->loop->turn_began();
  const auto on_touched = [table = table_, run_id = std::string(info().run_id),
                           begun](const std::optional<absl::Status>& status) {
    if (VmRun* const run = table->Find(run_id)) run->OnFileTouched(status, begun);
  };
  Thread()->Run(
      [there, owns_name = std::move(owns_name), directory = Directory(), name = info().raw_name,
       on_touched]() -> DirectoryThread::Then {
        std::optional<absl::Status> status;
        const auto& touch = there ? CreateShutdownFile : DeleteShutdownFile;
        if (owns_name()) status = touch(directory, name);
        return [on_touched, status] { on_touched(status); };
      },
      [there, directory = Directory(), on_touched] {
        on_touched(absl::DeadlineExceededError(
            absl::StrCat("cannot ", there ? "create" : "remove",
                         " the shutdown file: ", absl::CHexEscape(directory), " does not answer")));
      });
}

void VmRun::OnFileTouched(const std::optional<absl::Status>& status, absl::Duration begun) {
  if (status.has_value() && !status->ok()) {
    context_->meters.shutdown_file_errors.Add();
    spdlog::warn("{}", std::string(status->message()));
  }
  if (status.has_value()) context_->shutdown_file_times.Observe(Now().monotonic - begun);
  if (--file_changes_ == 0) Feed(input::FileDone{status});
}

void VmRun::AwaitWords() {
  if (words_->read->done || Now().monotonic >= words_->deadline) return FinishWords();
  context_->loop->SetTimerIn(&words_->timer, kWordsPoll, [this] { AwaitWords(); });
}

void VmRun::FinishWords() {
  const LastWordsReader::Read& read = *words_->read;
  v1::ShutdownDetail facts;
  if (read.done) facts = read.facts;
  if (!read.core.empty()) facts.set_core(read.core);
  context_->loop->CancelTimer(&words_->timer);
  words_ = Rare<WordsWait>();
  Feed(input::WordsRead{facts});
}

void VmRun::ArmTick() {
  const absl::Duration next = session_.NextTick();
  const bool never = next == absl::InfiniteDuration();
  if (never
          ? tick_timer_.serial == 0
          : tick_timer_.serial != 0 && tick_timer_.deadline_ns == absl::ToInt64Nanoseconds(next)) {
    return;
  }
  if (never) return context_->loop->CancelTimer(&tick_timer_);
  context_->loop->SetTimer(&tick_timer_, next, [this] { Feed(input::Tick{}); });
}

}  // namespace vmeventd
