#include "watcher/runs/vm_run.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/escaping.h"
#include "spdlog/spdlog.h"
#include "watcher/core/names.h"
#include "watcher/runs/handed_run.h"
#include "watcher/runs/shutdown_file.h"

namespace vmeventd {
namespace {

// Time that a request about an intent may wait for input that QEMU has already sent.
constexpr absl::Duration kMaxDrain = absl::Milliseconds(20);

}  // namespace

VmRun::VmRun(RunContext* context, Owner* owner, VmSession session)
    : context_(context),
      owner_(owner),
      session_(std::move(session)),
      process_(context, this,
               {.pid = info().pid,
                .start_ticks = info().start_ticks,
                .pidfd_inode = info().pidfd_inode,
                .oom_file = info().oom_file,
                .oom_kills = info().oom_kills}),
      others_(context, this, info().others),
      published_(session_.away()) {}

VmRun::~VmRun() {
  process_.Reset({});
  others_.Clear();
  context_->loop->CancelTimer(&tick_timer_);
}

// The process

absl::Status VmRun::Track(PeerProcess process) {
  if (absl::Status status = process_.Follow(std::move(process)); !status.ok()) return status;
  if (const auto key = process_.key(); key.has_value()) owner_->OnFollowed(this, *key);
  return absl::OkStatus();
}

absl::Status VmRun::TrackAgain(PeerProcess process) {
  if (absl::Status status = Track(std::move(process)); !status.ok()) return status;
  // A kill there while vmeventd was away was not of this process, if it lives now.
  process_.OnOomCountChanged();
  return absl::OkStatus();
}

absl::Status VmRun::TrackHanded(UniqueFd pidfd) {
  if (!IsPidfdOf(pidfd.get(), {.pidfd_inode = info().pidfd_inode,
                               .pid = info().pid,
                               .start_ticks = info().start_ticks})) {
    return absl::InvalidArgumentError("the descriptor is of another process");
  }
  if (absl::Status status = TrackAgain(
          {PeerProcess::Kind::kTracked, info().pid, info().start_ticks, std::move(pidfd)});
      !status.ok()) {
    return status;
  }
  process_.ExpectUnseenEnd();
  return absl::OkStatus();
}

void VmRun::NoteUnseenEnd() {
  if (process_.followed() && !process_.gone()) process_.NoteUnseenEnd();
}

absl::Status VmRun::TrackInstead(PeerProcess process) {
  const ProcessInfo info = DescribeProcess(process, *context_->oom_counters);
  process_.Reset(info);
  Hand(input::ProcessFound{info});
  absl::Status status = Track(std::move(process));
  if (!status.ok()) LoseTracking();
  return status;
}

void VmRun::TrackOn(PeerProcess process) {
  if (!tracked()) return TrackInstead(std::move(process)).IgnoreError();
  if (!TrackAgain(std::move(process)).ok()) LoseTracking();
}

bool VmRun::Follows(int64_t pid) const {
  return (pid == info().pid && process_.followed() && !process_.ended()) || others_.Has(pid);
}

int VmRun::Room() const {
  return std::min(context_->max_vm_descriptors - context_->vm_descriptors, RoomForOthers());
}

void VmRun::AddProcess(PeerProcess process) {
  others_.Add(std::move(process), Room());
  NoteOthers();
}

void VmRun::AddWaitingProcess(const ProcessId& process) {
  others_.AddWaiting(process);
  NoteOthers();
}

bool VmRun::FollowAll() {
  if (others_.any_waits()) {
    others_.FollowWaiting(Room());
    NoteOthers();
  }
  return !others_.any_waits();
}

VmRun::Next VmRun::FollowAnother() {
  if (others_.empty()) return Next::kNone;
  // It takes the place of the one that is gone, if that has a descriptor.
  if (!process_.followed() && context_->vm_descriptors >= context_->max_vm_descriptors) {
    return Next::kUnknown;
  }
  absl::StatusOr<PeerProcess> next = others_.TakeLiving();
  if (absl::IsResourceExhausted(next.status())) return Next::kUnknown;
  const bool found = next.ok();
  if (found) {
    spdlog::info("{} is followed by its process {}: the one that it was followed by is gone",
                 absl::Utf8SafeCHexEscape(info().name), next->pid);
    TrackInstead(*std::move(next)).IgnoreError();  // else the monitor's end is the run's
  }
  NoteOthers();
  FollowAll();
  return found ? Next::kFollowed : Next::kNone;
}

void VmRun::NoteOthers() { Hand(input::OtherProcesses{others_.List()}); }

void VmRun::OnOtherFollowed(const std::optional<ProcessKey>& key) {
  OnOtherDescriptors(1);
  if (key.has_value()) owner_->OnFollowed(this, *key);
}

void VmRun::OnOtherUnfollowed(const std::optional<ProcessKey>& key) {
  OnOtherDescriptors(-1);
  if (key.has_value()) owner_->OnUnfollowed(this, *key);
}

void VmRun::OnOtherGone() {
  FollowAll();
  NoteOthers();
}

void VmRun::GoOnUntracked() {
  process_.Reset({});
  spdlog::warn(
      "{}: the process that listened on its socket is gone, another one serves the socket and is "
      "not known: the end of the monitor will count as the VM's end",
      absl::Utf8SafeCHexEscape(info().name));
  Hand(input::ListenerGone{});
}

void VmRun::OnSignal(const SignalSender& sender) { Hand(input::SignalSent{sender}); }

void VmRun::OnOomVictim(const OomVictim& victim) { Hand(input::NamedOomVictim{victim}); }

void VmRun::OnReleased() {
  if (const auto key = process_.key(); key.has_value()) owner_->OnUnfollowed(this, *key);
}

void VmRun::OnProcessEnd(const ProcessEnd& end) {
  // The report of its end is lost, as it may be before Linux 6.15: nothing says how it ended.
  if (process_.end_unseen() && !end.status.has_value()) session_.LoseSight();
  End(end);
}

// A run's course

void VmRun::Discard() {
  over_ = true;
  context_->loop->CancelTimer(&tick_timer_);
  process_.Reset({});  // its end may be in the same turn of the loop
  others_.Clear();
  Disconnect();
  owner_->OnOver(this);
}

VmSession VmRun::GiveAway() {
  Discard();
  return std::move(session_);
}

void VmRun::HandOverTo(HandedRun* handed) {
  Hand(input::HandOver{});
  handed->run_id = std::string(info().run_id);
  handed->saved = StableHash(Save());
  if (!tracked()) return;
  handed->pid = info().pid;
  handed->wait_status = context_->exit_statuses->WaitStatusRead(handed->pid);
  handed->process = TakeProcess().pidfd;
}

void VmRun::Resume() {
  owner_->OnPublish(this, {Status(), std::nullopt});
  ArmTick();
}

void VmRun::LoseTracking() {
  others_.Clear();
  Hand(input::TrackingLost{});
}

void VmRun::NoteHostShutdown(bool shutting_down, absl::string_view by) {
  Hand(input::HostShutdown{shutting_down, by});
}

void VmRun::HearEvent(const QmpEvent& event) {
  if (event.name == "SHUTDOWN") {
    // The signal that it obeyed was recorded before it said so.
    context_->signals->Drain();
    context_->host->Drain();
  }
  Hand(input::Event{event});
}

// The end of one of several processes says nothing of QEMU's.
void VmRun::End(const ProcessEnd& end) {
  Hand(input::ProcessGone{info().several_processes ? ProcessEnd{} : end});
}

std::string VmRun::Directory() const {
  const absl::string_view path = info().raw_path();
  return std::string(path.substr(0, std::max<size_t>(path.rfind('/'), 1)));
}

// Intents

bool VmRun::Lives() {
  ReadNow(kMaxDrain);
  return !over_ && !process_ended();
}

void VmRun::Confirm(std::function<void()> done) {
  VmUpdate update{Status(), std::nullopt};
  update.on_public = std::move(done);
  owner_->OnPublish(this, std::move(update));
}

void VmRun::DeclareIntent(Intent intent, std::function<void()> done) {
  ApplyThen(session_.On(input::IntentDeclared{std::move(intent)}, Now()),
            EventType::kIntentDeclared, std::move(done));
}

void VmRun::WithdrawIntent(std::function<void()> done) {
  ApplyThen(session_.On(input::IntentWithdrawn{}, Now()), EventType::kIntentWithdrawn,
            std::move(done));
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
  if (!owner_->OwnsName(this)) return Hand(input::FileLeft{});
  const absl::Status status =
      context_->spares.Do([&] { return operation(Directory(), std::string(info().raw_name())); });
  if (!status.ok()) {
    context_->meters.shutdown_file_errors.Add();
    const std::string problem(status.message());
    spdlog::warn("{}", problem);
  }
  const Instant now = Now();
  context_->shutdown_file_times.Observe(now.monotonic - context_->loop->turn_began());
  Hand(input::FileDone{status});
}

void VmRun::Execute(const ExamineThreads&) {
  const int64_t pid = info().pid;
  Hand(input::Threads{pid == 0 ? "" : DescribeThreads(pid)});
}

void VmRun::Execute(const Done&) {
  over_ = true;
  context_->loop->CancelTimer(&tick_timer_);
  others_.Clear();
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
  if (never) return context_->loop->CancelTimer(&tick_timer_);
  context_->loop->SetTimer(&tick_timer_, next, [this] { Hand(input::Tick{}); });
}

}  // namespace vmeventd
