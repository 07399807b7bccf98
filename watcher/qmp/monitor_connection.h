#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/receiving_socket.h"
#include "watcher/core/line_framer.h"
#include "watcher/core/monitor_info.h"
#include "watcher/core/qmp_message.h"
#include "watcher/qmp/monitor_budget.h"
#include "watcher/runs/command_line_read.h"
#include "watcher/runs/command_lines.h"
#include "watcher/session/command_pacer.h"
#include "watcher/session/guest_agent_probe.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {

struct HandedRun;
namespace internal {
class HandedRunState;
}  // namespace internal

// Our end of one QMP connection. Leads the handshake (capabilities, query-uuid, query-name,
// query-status) and then reads for ever. The status comes last, so that no event stands between its
// reply and OnReady. Afterwards it sends only the questions of Request(): it observes. All commands
// pass a CommandPacer, which lets one out at a time and none to a QEMU that may be ending. It does
// not ask for a name or UUID that the sender's command line has, and asks the first question some
// time after the capabilities (docs/internals/qemu.md).
//
// No peer can keep the loop from the others: from each, it reads at most MonitorBudget::kTurnBytes
// in a turn of the loop. Holds no buffer while no line is incomplete. Loop thread.
class MonitorConnection : public FdHandler {
 public:
  // Timeout of an answer in the handshake, and the interval in which it is reported as late.
  static constexpr absl::Duration kReplyTimeout = absl::Seconds(10);
  static constexpr absl::Duration kNudgeInterval = absl::Seconds(1);
  // Pause after the capabilities before QEMU is asked anything, unless its VM is migrated here:
  // many VMs end shortly after their start. Also the longest wait for its command line.
  static constexpr absl::Duration kQuietStart = absl::Milliseconds(100);
  // Limit of draining what a process left behind in its socket, above what the kernel's default
  // (net.core.wmem_max) lets a socket hold.
  static constexpr size_t kMaxDrainBytes = 4 << 20;

  // Called from within OnFdReady, Drain and the loop. None of these may destroy the
  // connection.
  class Delegate {
   public:
    virtual ~Delegate() = default;
    // The process `pid` sent the input that follows; another process, or none, sent what came
    // before. Returns why it may not send, which closes the connection; empty: it may. May close
    // the connection, but must not read from it.
    virtual std::string OnSender(int64_t pid) = 0;
    // The sender's command line was read; before OnReady, and not at all if that takes too long.
    // May close the connection.
    virtual void OnCommandLine(const CommandLineRead& command_line) = 0;
    // No greeting came within the time that Start() was given.
    virtual void OnGreetingLate() = 0;
    // Called in the handshake after each kNudgeInterval without the expected answer; `last`: after
    // kReplyTimeout.
    virtual void OnReplyLate(bool last) = 0;
    virtual void OnReady(const MonitorInfo& info) = 0;
    virtual void OnEvent(const QmpEvent& event) = 0;
    virtual void OnRunStateReply(absl::string_view run_state) = 0;
    virtual void OnGuestAgentReply(const GuestAgentInfo& info) = 0;
    // The connection has ended; the last call. open() is false already, and the descriptor is
    // closed after the call. `protocol_error`: its input was invalid; the peer did not close it.
    // `why` is for people.
    virtual void OnClosed(absl::string_view why, bool protocol_error) = 0;
  };

  // All pointers must outlive it. Without `command_lines` everything is asked.
  MonitorConnection(EventLoop* loop, ReceivingSocket socket, MonitorBudget* budget,
                    CommandLines* command_lines, Delegate* delegate);
  ~MonitorConnection() override;

  // Begins to listen for the greeting. An error leaves the connection closed, without OnClosed.
  absl::Status Start(absl::Duration greeting_timeout = absl::InfiniteDuration());
  // Call it instead of Start: resumes where the previous daemon's connection stopped. Handles
  // nothing before the loop's next turn or Drain. The first sender is reported again. Errors are as
  // for Start.
  absl::Status ResumeFrom(const internal::HandedRunState& handed);
  // Stops a ready connection at this point of its input, and passes its socket and position to the
  // caller. The connection is closed without OnClosed; the peer does not notice. False, and nothing
  // is done: more input waits than can be handed over.
  bool HandOver(HandedRun* handed);

  // Asks `question` once more, as soon as the pacer permits it; no-op before the end of the
  // handshake. Until it is sent, further requests for the same question count as one.
  void Request(Question question);

  // Handles all that the peer has sent by now, up to kMaxDrainBytes, and calls OnClosed at the end
  // of the stream.
  void Drain();

  // Closes without OnClosed.
  void Close();

  // Returns whether the peer speaks QMP but has no VM, such as qemu-storage-daemon: it does not
  // know query-status. The connection has then failed.
  bool runs_no_vm() const { return runs_no_vm_; }
  bool open() const { return socket_.valid(); }
  bool greeted() const { return phase_ != Phase::kGreeting; }
  bool ready() const { return phase_ == Phase::kReady; }

  void OnFdReady(uint32_t events) override;

 private:
  // The message that comes next. kCapabilities to kStatus are commands, which are sent and then
  // answered.
  enum class Phase : uint8_t { kGreeting, kCapabilities, kUuid, kName, kStatus, kReady };
  struct Handshake {
    MonitorInfo info;
    bool negotiated = false;  // it has accepted qmp_capabilities
    bool name_known = false;  // known without asking
    // The sender's command line, from the greeting until it is used, and the deadline of the wait
    // for it.
    std::shared_ptr<const CommandLineRead> command_line;
    absl::Duration quiet_start_ends;
    absl::Duration deadline;  // for the pending answer
    TimerId timer;            // for the greeting, then for the answers
  };
  // Reads and handles until nothing is left or `max_bytes` were read, and accounts for an
  // incomplete line. `to_the_end`: until the end of the stream.
  void Read(size_t max_bytes, bool to_the_end);
  // One read. Returns whether more may be there.
  bool ReadOnce(size_t max_bytes, bool to_the_end, size_t* total);
  void ArmReplyTimer();
  // Handles the whole lines of `bytes`, and holds the rest. False: `bytes` were refused, and the
  // connection is closed.
  bool HandleLines(absl::string_view bytes);
  absl::Status OnLine(absl::string_view line);
  void OnEvent(const QmpEvent& event);
  void OnReply(const QmpReturn& reply);
  void OnReadyReply(const QmpObject& value);
  // Sends the next command that is wanted, now or when the pacer permits it.
  void SendNext();
  // Begins to read the sender's command line, if the sender is known.
  void ReadCommandLine();
  // Uses the sender's command line, once it is known or took too long. Returns the time at which
  // the next question may be sent.
  absl::Duration UseCommandLine();
  // The next command; empty: none is wanted.
  std::string TakeCommand();
  // Stops waiting, and releases the memory of an incomplete line.
  void StopWaiting();
  void StopHandshakeTimer();
  void Fail(absl::string_view why, bool protocol_error);

  EventLoop* const loop_;
  Delegate* const delegate_;
  MonitorBudget* const budget_;
  CommandLines* const command_lines_;
  ReceivingSocket socket_;
  LineFramer framer_;
  std::string unhandled_;                 // input that the previous daemon read
  std::unique_ptr<Handshake> handshake_;  // null once it is complete
  size_t held_ = 0;                       // memory of an incomplete line, as accounted for
  // The process that sent what was read last, which need not be the one that listened. Any process
  // with this socket open may send.
  ucred sender_{};
  Phase phase_ = Phase::kGreeting;
  CommandPacer pacer_;
  TimerId next_command_;
  // The last question, and those to be asked, once it is ready.
  std::optional<Question> asked_;
  bool status_wanted_ = false;
  bool agent_wanted_ = false;
  bool runs_no_vm_ = false;
  std::unique_ptr<GuestAgentProbe> probe_;  // the one under way
};

}  // namespace vmeventd
