#include "watcher/runs/vm_run.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/escaping.h"
#include "spdlog/spdlog.h"
#include "watcher/runs/shutdown_file.h"

namespace vmeventd {
namespace {

// How long a request about an intent may wait for what QEMU has said already.
constexpr absl::Duration kMaxDrain = absl::Milliseconds(20);

}  // namespace

VmRun::VmRun(RunContext* context, Owner* owner, VmSession session)
    : context_(context),
      owner_(owner),
      session_(std::move(session)),
      process_(context, this,
               {.pid = info().pid,
                .start_ticks = info().start_ticks,
                .oom_file = info().oom_file,
                .oom_kills = info().oom_kills}),
      published_(session_.away()) {}

VmRun::~VmRun() {
  process_.Reset({});
  context_->loop->CancelTimer(&tick_timer_);
}

// The process

absl::Status VmRun::Track(PeerProcess process) {
  if (absl::Status status = process_.Follow(std::move(process)); !status.ok()) return status;
  if (process_.key().has_value()) owner_->OnFollowed(this, *process_.key());
  return absl::OkStatus();
}

absl::Status VmRun::TrackAgain(PeerProcess process) {
  if (absl::Status status = Track(std::move(process)); !status.ok()) return status;
  // What was killed there while vmeventd was away was not this process, if it lives now.
  process_.OnOomCountChanged();
  return absl::OkStatus();
}

absl::Status VmRun::TrackInstead(PeerProcess process) {
  const ProcessInfo info = DescribeProcess(process, *context_->oom_counters);
  process_.Reset(info);
  OnProcessReplaced();
  Apply(session_.OnProcessFound(info, Now()));
  absl::Status status = Track(std::move(process));
  if (!status.ok()) LoseTracking();
  return status;
}

void VmRun::GoOnUntracked(bool answers) {
  process_.Reset({});
  OnProcessReplaced();
  spdlog::warn(
      "{}: the process that listened on its socket is gone, another one serves the socket and is "
      "not known: the end of the monitor will count as the VM's end",
      absl::Utf8SafeCHexEscape(info().name));
  Apply(session_.OnListenerGone(answers, Now()));
}

void VmRun::OnOomKillsOfOthers(uint64_t kills) { Apply(session_.OnOomKills(kills)); }

void VmRun::OnOomKilled(uint64_t kills) { owner_->OnOomKill(this, kills); }

void VmRun::OnReleased() {
  if (process_.key().has_value()) owner_->OnUnfollowed(this, *process_.key());
}

void VmRun::OnProcessEnd(const ProcessEnd& end) { End(end); }

// A run's course

void VmRun::Discard() {
  over_ = true;
  process_.Reset({});  // its end may be in the same turn of the loop
  Disconnect();
  owner_->OnOver(this);
}

VmSession VmRun::GiveAway() {
  context_->loop->CancelTimer(&tick_timer_);
  Discard();
  return std::move(session_);
}

void VmRun::Resume() {
  owner_->OnPublish(this, {Status(), std::nullopt});
  ArmTick();
}

void VmRun::LoseTracking() { Apply(session_.OnTrackingLost(Now())); }

void VmRun::LoseListener() { Apply(session_.OnListenerGone(false, Now())); }

void VmRun::EndWithHost() { Apply(session_.OnHostRebooted(Now())); }

void VmRun::NoteShutdownFile(absl::Time written) {
  Apply(session_.OnShutdownFileFound(written, Now()));
}

void VmRun::SetUuidProblem(absl::string_view problem) {
  Apply(session_.OnSharedUuid(problem, Now()));
}

void VmRun::ReportHeld(absl::string_view why) { Apply(session_.OnMonitorHeld(Now(), why)); }

void VmRun::ReportProblem(absl::string_view problem) {
  Apply(session_.OnMonitorProblem(problem, Now()));
}

void VmRun::End(const ProcessEnd& end) { Apply(session_.OnProcessGone(Now(), end)); }

void VmRun::EndWithZombie(const PeerProcess& zombie) { End(process_.EndOfZombie(zombie)); }

std::string VmRun::Directory() const {
  return info().raw_path().substr(0, std::max<size_t>(info().raw_path().rfind('/'), 1));
}

// Intents

bool VmRun::Lives() {
  ReadNow(kMaxDrain);
  return !over_ && !process_.ended();
}

void VmRun::Confirm(std::function<void()> done) {
  VmUpdate update{Status(), std::nullopt};
  update.on_public = std::move(done);
  owner_->OnPublish(this, std::move(update));
}

void VmRun::DeclareIntent(Intent intent, std::function<void()> done) {
  ApplyThen(session_.OnIntentDeclared(std::move(intent), Now()), EventType::kIntentDeclared,
            std::move(done));
}

void VmRun::WithdrawIntent(std::function<void()> done) {
  ApplyThen(session_.OnIntentWithdrawn(Now()), EventType::kIntentWithdrawn, std::move(done));
}

void VmRun::ApplyThen(Effects effects, EventType type, std::function<void()> done) {
  for (Effect& effect : effects) {
    Publish* const publish = std::get_if<Publish>(&effect);
    if (publish == nullptr || !publish->update.event.has_value()) continue;
    if (publish->update.event->type != type) continue;
    publish->update.on_public = std::move(done);
    break;
  }
  Apply(std::move(effects));
}

// Effects

void VmRun::Apply(Effects effects) {
  const uint64_t limited = session_.rate_limited_events();
  context_->meters.rate_limited_events.Add(limited - std::exchange(limited_events_, limited));
  for (Effect& effect : effects) {
    if (over_) return;
    std::visit([this](auto& known) { Execute(known); }, effect);
  }
  if (!over_) ArmTick();
}

void VmRun::Execute(Publish& effect) {
  published_ = true;
  owner_->OnPublish(this, std::move(effect.update));
}

void VmRun::Execute(const WriteShutdownFile&) {
  TouchShutdownFile([this](const std::string& directory, const std::string& vm_name) {
    return CreateShutdownFile(directory, vm_name, info().shutdown_file_mark);
  });
}

void VmRun::Execute(const RemoveShutdownFile&) { TouchShutdownFile(DeleteShutdownFile); }

template <typename Operation>
void VmRun::TouchShutdownFile(Operation operation) {
  if (!owner_->OwnsName(this)) return Apply(session_.OnShutdownFileLeft(Now()));
  const absl::Status status =
      context_->spares.Do([&] { return operation(Directory(), info().raw_name()); });
  if (!status.ok()) {
    context_->meters.shutdown_file_errors.Add();
    const std::string problem(status.message());
    spdlog::warn("{}", problem);
  }
  const Instant now = Now();
  context_->meters.shutdown_file_times.Observe(now.monotonic - context_->loop->turn_began());
  Apply(session_.OnShutdownFileDone(status, now));
}

void VmRun::Execute(const QueryRunState&) { AskRunState(); }

void VmRun::Execute(const QueryGuestAgent&) { AskGuestAgent(); }

void VmRun::Execute(const Done&) {
  over_ = true;
  context_->loop->CancelTimer(&tick_timer_);
  Disconnect();
  owner_->OnOver(this);
}

void VmRun::ArmTick() {
  const absl::Duration next = session_.NextTick();
  const bool never = next == absl::InfiniteDuration();
  if (never
          ? tick_timer_.serial == 0
          : tick_timer_.serial != 0 && tick_timer_.deadline_ns == absl::ToInt64Nanoseconds(next)) {
    return;
  }
  context_->loop->CancelTimer(&tick_timer_);
  if (never) return;
  tick_timer_ = context_->loop->AddTimer(next, [this] {
    tick_timer_ = {};
    Apply(session_.OnTick(Now()));
  });
}

}  // namespace vmeventd
