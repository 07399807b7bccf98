#include "watcher/qmp/monitor_connection.h"

#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "watcher/runs/handed_run.h"

namespace vmeventd {
namespace {

constexpr size_t kMaxTextBytes = 4096;

// The text member `name` of a reply; empty if there is none, or if it is too long to be plausible.
std::string TextMember(const QmpObject& value, const char* name) {
  std::string text = QmpText(value, name);
  if (text.size() > kMaxTextBytes) text.clear();
  return text;
}

}  // namespace

MonitorConnection::MonitorConnection(EventLoop* loop, ReceivingSocket socket, MonitorBudget* budget,
                                     CommandLines* command_lines, Delegate* delegate)
    : loop_(loop),
      delegate_(delegate),
      budget_(budget),
      command_lines_(command_lines),
      socket_(std::move(socket)),
      handshake_(std::make_unique<Handshake>()) {}

MonitorConnection::~MonitorConnection() { Close(); }

absl::Status MonitorConnection::Start(absl::Duration greeting_timeout) {
  absl::Status status = loop_->Add(socket_.get(), EPOLLIN | EPOLLRDHUP, this);
  if (!status.ok()) {
    socket_.Reset();
  } else if (greeting_timeout < absl::InfiniteDuration()) {
    loop_->SetTimerIn(&handshake_->timer, greeting_timeout,
                      [this] { delegate_->OnGreetingLate(); });
  }
  return status;
}

absl::Status MonitorConnection::ResumeFrom(const internal::HandedRunState& handed) {
  if (absl::Status status = Start(); !status.ok()) return status;
  phase_ = Phase::kReady;
  handshake_.reset();
  unhandled_ = handed.unhandled();
  status_wanted_ = handed.status_wanted();
  agent_wanted_ = handed.agent_wanted();
  pacer_.Resume(handed.answer_due(), handed.ending(), loop_->Now().monotonic);
  SendNext();
  return absl::OkStatus();
}

bool MonitorConnection::HandOver(HandedRun* handed) {
  if (!ready() || !open()) return false;
  const std::string unhandled = absl::StrCat(framer_.partial(), unhandled_);
  if (unhandled.size() > HandedRun::kMaxUnhandled) return false;
  internal::HandedRunState& state = handed->state;
  state.set_unhandled(unhandled);
  state.set_answer_due(pacer_.outstanding());
  state.set_ending(pacer_.ending());
  // The next daemon does not know which question the pending answer belongs to, so it asks again.
  state.set_status_wanted(status_wanted_ ||
                          (pacer_.outstanding() && asked_ == Question::kRunState));
  state.set_agent_wanted(agent_wanted_ || probe_ != nullptr);
  StopWaiting();
  loop_->Remove(socket_.get());
  handed->connection = socket_.Release();
  return true;
}

void MonitorConnection::ArmReplyTimer() {
  loop_->SetTimerIn(&handshake_->timer, kNudgeInterval, [this] {
    const bool last = loop_->Now().monotonic >= handshake_->deadline;
    if (!last) ArmReplyTimer();
    delegate_->OnReplyLate(last);
  });
}

void MonitorConnection::StopHandshakeTimer() {
  if (handshake_ != nullptr) loop_->CancelTimer(&handshake_->timer);
}

void MonitorConnection::StopWaiting() {
  StopHandshakeTimer();
  loop_->CancelTimer(&next_command_);
  budget_->Hold(&held_, 0);
}

void MonitorConnection::Close() {
  if (!socket_.valid()) return;
  StopWaiting();
  loop_->Remove(socket_.get());
  socket_.Reset();
}

void MonitorConnection::Fail(absl::string_view why, bool protocol_error) {
  if (!socket_.valid()) return;
  // The system calls that close the connection come after those for the shutdown file.
  const ReceivingSocket socket = std::move(socket_);
  StopWaiting();
  delegate_->OnClosed(why, protocol_error);
  loop_->Remove(socket.get());
}

void MonitorConnection::OnFdReady(uint32_t events) {
  Read(MonitorBudget::kTurnBytes, (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
}

void MonitorConnection::Drain() {
  int waiting = 0;
  if (ioctl(socket_.get(), SIOCINQ, &waiting) != 0) waiting = 0;
  // One byte more than the limit, to reach the end of the stream.
  Read(std::min(static_cast<size_t>(waiting), kMaxDrainBytes) + 1, true);
}

void MonitorConnection::Read(size_t max_bytes, bool to_the_end) {
  if (!unhandled_.empty() && !HandleLines(std::exchange(unhandled_, {}))) return;
  size_t total = 0;
  while (socket_.valid() && total < max_bytes && ReadOnce(max_bytes, to_the_end, &total)) {
  }
  if (socket_.valid() && !budget_->Hold(&held_, framer_.held())) {
    Fail("the unfinished lines of all monitors hold too much memory", true);
  }
}

bool MonitorConnection::ReadOnce(size_t max_bytes, bool to_the_end, size_t* total) {
  const absl::Span<char> buffer = budget_->buffer();
  const pid_t sender = sender_.pid;
  const size_t wanted = std::min(max_bytes - *total, buffer.size());
  const ssize_t size = socket_.Receive(buffer.data(), wanted, &sender_);
  if (size < 0) {
    if (errno == EINTR) return true;
    if (errno == EAGAIN) return false;
    // The peer ended before it had read all of our commands.
    const bool ended = errno == ECONNRESET;
    const bool passes = errno == EBADMSG;
    Fail(ended    ? "EOF"
         : passes ? "it passes file descriptors"
                  : std::generic_category().message(errno),
         passes);
    return false;
  }
  if (size == 0) {
    Fail("EOF", false);
    return false;
  }
  const auto bytes = static_cast<size_t>(size);
  *total += bytes;
  if (sender_.pid != sender) {
    const std::string refusal = delegate_->OnSender(sender_.pid);
    if (!refusal.empty()) Fail(refusal, true);
    if (!socket_.valid()) return false;
  }
  // A short read has emptied the socket: epoll reports what follows.
  return HandleLines(absl::string_view(buffer.data(), bytes)) && (bytes == wanted || to_the_end);
}

bool MonitorConnection::HandleLines(absl::string_view bytes) {
  const absl::Status status =
      framer_.Feed(bytes, [this](absl::string_view line) { return OnLine(line); });
  if (!status.ok()) Fail(status.message(), true);
  return status.ok();
}

absl::Status MonitorConnection::OnLine(absl::string_view line) {
  if (!socket_.valid()) return absl::OkStatus();  // closed by the line before
  absl::StatusOr<QmpMessage> message = ParseQmpMessage(line);
  if (!message.ok()) return message.status();
  if (const auto* event = std::get_if<QmpEvent>(&*message)) {
    OnEvent(*event);
  } else if (const auto* greeting = std::get_if<QmpGreeting>(&*message)) {
    if (phase_ != Phase::kGreeting) return absl::OkStatus();
    handshake_->info.qemu_version = greeting->qemu_version;
    phase_ = Phase::kCapabilities;
    pacer_.OnGreeting(loop_->Now().monotonic);
    StopHandshakeTimer();
    ReadCommandLine();
    SendNext();
  } else {
    OnReply(std::get<QmpReturn>(*message));
  }
  return absl::OkStatus();
}

void MonitorConnection::OnEvent(const QmpEvent& event) {
  pacer_.OnEvent(event.name, loop_->Now().monotonic);
  // An ending QEMU need not answer. If it survives, the remaining questions are asked.
  if (pacer_.ending()) {
    StopHandshakeTimer();
  } else {
    SendNext();
  }
  delegate_->OnEvent(event);
}

// A null value means that QEMU replied with an error: the answer is not known, and the handshake
// continues.
void MonitorConnection::OnReply(const QmpReturn& reply) {
  const QmpObject& value = reply.value;
  if (!pacer_.OnReply(loop_->Now().monotonic)) return;  // nothing was asked
  StopHandshakeTimer();
  switch (phase_) {
    case Phase::kGreeting:
      return;
    case Phase::kCapabilities:
      handshake_->negotiated = !value.is_null();
      ReadCommandLine();
      phase_ = Phase::kUuid;
      handshake_->quiet_start_ends = loop_->Now().monotonic + kQuietStart;
      break;
    case Phase::kUuid:
      handshake_->info.uuid = WithoutNullUuid(TextMember(value, "UUID"));
      phase_ = handshake_->name_known ? Phase::kStatus : Phase::kName;
      break;
    case Phase::kName:
      handshake_->info.qemu_name = TextMember(value, "name");
      phase_ = Phase::kStatus;
      break;
    case Phase::kStatus: {
      runs_no_vm_ = handshake_->negotiated && reply.command_not_found;
      if (runs_no_vm_) return Fail("it does not know query-status, so it runs no VM", true);
      handshake_->info.run_state = TextMember(value, "status");
      phase_ = Phase::kReady;
      const std::unique_ptr<Handshake> handshake = std::move(handshake_);
      return delegate_->OnReady(handshake->info);
    }
    case Phase::kReady:
      OnReadyReply(value);
      break;
  }
  SendNext();
}

void MonitorConnection::OnReadyReply(const QmpObject& value) {
  if (!asked_.has_value()) return;  // the previous daemon asked; this one asks again
  if (asked_ == Question::kRunState) {
    if (!value.is_null()) delegate_->OnRunStateReply(TextMember(value, "status"));
    return;
  }
  probe_->OnReply(value);
  if (!probe_->done()) return;
  const std::unique_ptr<GuestAgentProbe> probe = std::move(probe_);
  delegate_->OnGuestAgentReply(probe->Take());
}

void MonitorConnection::Request(Question question) {
  if (phase_ != Phase::kReady) return;
  (question == Question::kRunState ? status_wanted_ : agent_wanted_) = true;
  SendNext();
}

void MonitorConnection::SendNext() {
  if (!socket_.valid() || next_command_.serial != 0) return;
  const bool wanted =
      phase_ != Phase::kReady || status_wanted_ || agent_wanted_ || probe_ != nullptr;
  absl::Duration at = pacer_.NextAt();
  if (phase_ == Phase::kGreeting || !wanted || at == absl::InfiniteDuration()) return;
  if (phase_ == Phase::kUuid && handshake_->command_line != nullptr &&
      loop_->Now().monotonic >= at) {
    at = UseCommandLine();
    if (!open()) return;
  }
  if (loop_->Now().monotonic < at) {
    return loop_->SetTimer(&next_command_, at, [this] { SendNext(); });
  }
  pacer_.OnSent();
  if (phase_ != Phase::kReady) {
    handshake_->deadline = loop_->Now().monotonic + kReplyTimeout;
    ArmReplyTimer();
  }
  const std::string command = TakeCommand();
  const ssize_t size =
      send(socket_.get(), command.data(), command.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (size == static_cast<ssize_t>(command.size())) return;
  // A peer that has closed may have left things to read, whose end reports the close. One that
  // reads nothing still has room for our few commands.
  if (size < 0 && (errno == EPIPE || errno == ECONNRESET)) return;
  Fail("QEMU does not read its monitor", false);
}

void MonitorConnection::ReadCommandLine() {
  // A greeting that comes with the connection does not name its sender, but the next answer does.
  if (command_lines_ == nullptr || handshake_->command_line != nullptr || sender_.pid <= 0) return;
  handshake_->command_line = command_lines_->Begin(sender_.pid);
}

absl::Duration MonitorConnection::UseCommandLine() {
  const absl::Duration now = loop_->Now().monotonic;
  if (!handshake_->command_line->done() && now < handshake_->quiet_start_ends) {
    return std::min(now + CommandPacer::kQuietTime, handshake_->quiet_start_ends);
  }
  const std::shared_ptr<const CommandLineRead> read = handshake_->command_line;
  const QemuArguments* const found = read->done() ? read->found() : nullptr;
  if (found != nullptr) delegate_->OnCommandLine(*read);
  if (!open()) return now;
  if (found != nullptr && !found->incoming && now < handshake_->quiet_start_ends)
    return handshake_->quiet_start_ends;
  if (found != nullptr) {
    handshake_->info.traits = found->traits;
    if (const auto& name = found->certain_name; name.has_value() && name->size() <= kMaxTextBytes) {
      handshake_->info.qemu_name = *name;
      handshake_->name_known = true;
    }
    if (const auto& uuid = found->certain_uuid; uuid.has_value()) {
      handshake_->info.uuid = *uuid;
      phase_ = handshake_->name_known ? Phase::kStatus : Phase::kName;
    }
  }
  handshake_->command_line.reset();
  return now;
}

std::string MonitorConnection::TakeCommand() {
  // The command that is sent in each phase.
  constexpr const char* kCommands[] = {"", "qmp_capabilities", "query-uuid", "query-name",
                                       "query-status"};
  const auto command = [&](Phase phase) {
    return absl::StrCat("{\"execute\":\"", kCommands[static_cast<int>(phase)], "\"}\n");
  };
  if (phase_ != Phase::kReady) return command(phase_);
  // The two alternate while both wait.
  const bool agent_waits = probe_ != nullptr || agent_wanted_;
  if (!agent_waits || (status_wanted_ && asked_ == Question::kGuestAgent)) {
    asked_ = Question::kRunState;
    status_wanted_ = false;
    return command(Phase::kStatus);
  }
  asked_ = Question::kGuestAgent;
  if (probe_ == nullptr) {
    agent_wanted_ = false;
    probe_ = std::make_unique<GuestAgentProbe>();
  }
  return probe_->NextCommand();
}

}  // namespace vmeventd
