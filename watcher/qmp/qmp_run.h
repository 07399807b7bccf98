#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/compact.h"
#include "base/event_loop.h"
#include "base/receiving_socket.h"
#include "watcher/core/run_info.h"
#include "watcher/qmp/monitor_connection.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/vm_run.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {

// State shared by all runs with a QMP socket. Outlives them.
struct QmpContext : RunContext {
  std::unique_ptr<MonitorBudget> budget;
  // Connections that may still be on the call stack; emptied after each turn of the loop.
  std::vector<std::unique_ptr<MonitorConnection>> closed_connections;
};

class QmpRun;

// The watcher's state of one socket path, while the socket is there, and while a run that was found
// at it lives.
struct SocketSlot {
  std::string path;  // raw bytes
  int spec = -1;     // -1: known from a run of an earlier daemon only
  int runs = 0;      // live ones that were found here
  bool present = false;
  bool untried = false;  // found by the first scan, and not connected to yet
  // `socket` sent no greeting, and no VM is seen behind it: until then a foreign listener is left
  // alone.
  absl::Duration silent_until;

  // The run that this path is a way to: the newest of those found here. An older one, whose socket
  // was replaced, lives on without being it.
  QmpRun* run = nullptr;

  TimerId retry;
  absl::Duration backoff;  // the last wait; zero: none yet

  SocketIdentity socket;  // as seen last

  // A listener whose name is not a QEMU's, and its command line once that is read.
  struct ListeningProcess {
    ProcessId process;
    std::shared_ptr<const CommandLines::Read> command_line;
  };
  Rare<ListeningProcess> listener;

  // A read of all QEMUs' command lines, while it is not known whether one names the socket.
  std::shared_ptr<const CommandLines::Monitors> monitors;

  Problem problem;  // as reported, while no run is seen behind the socket
};

// The sockets of a run, as its source has them.
struct RunSockets {
  SocketSlot* home = nullptr;  // the slot of its first sight, which names it
  // Slots whose `run` it is, and the one of them that it was attached by last, if that is left.
  absl::InlinedVector<SocketSlot*, 1> ways;
  SocketSlot* attached_by = nullptr;
  // Key of the socket that it was attached by last, by which it is found again.
  std::optional<InodeKey> attached_inode;
  uint32_t owner = 0;  // the user whose socket that is
};

// A run that is followed by its QMP socket: a VmRun with the monitor's connection while there is
// one. Its process is the QEMU that listens, or else the first process that speaks on the monitor;
// another one is not read. Which socket to connect to, and when, is its source's business. Loop
// thread.
class QmpRun : public VmRun, public MonitorConnection::Delegate {
 public:
  enum class MonitorEnd {
    kLost,      // the peer closed it
    kHeld,      // no greeting in time
    kProtocol,  // what came is not QMP, or is of another process than the run's
  };

  // Called from within any method that hands an input to the session, and from the loop.
  class Connector {
   public:
    virtual ~Connector() = default;
    virtual void OnMonitorReady(QmpRun* run, const std::string& uuid) = 0;
    // The connection is closed and the run is open: connect again. `answered_for` is how long QEMU
    // had answered on it, zero if it never did.
    virtual void OnMonitorEnded(QmpRun* run, MonitorEnd end, absl::Duration answered_for) = 0;
    // There is no VM that anybody knows of behind the socket of `run`, of which nothing was
    // published: discard it.
    virtual void OnNoVm(QmpRun* run, const Problem& problem) = 0;
    // `speaker` is the first to speak on the monitor of `run`. Returns whether another run follows
    // it: then `run` was discarded.
    virtual bool LeaveToOther(QmpRun* run, const PeerProcess& speaker) = 0;
  };

  // `owner`, `connector` and `context` outlive the run.
  QmpRun(QmpContext* context, Owner* owner, Connector* connector, VmSession session);
  ~QmpRun() override;

  // Takes over a new connection, to the socket `identity`, and closes the one it has.
  absl::Status Attach(ReceivingSocket socket, const SocketIdentity& identity);
  // Returns whether the first to speak on its monitor is to be followed.
  bool awaits_speaker() const {
    return !spoken_ && !tracked() && context_->options->process_tracking;
  }

  bool connected() const override { return connection_ != nullptr; }
  std::optional<HandedRun> HandOver() override;
  // Only where its socket is watched.
  bool GoOn(HandedRun* handed) override;
  // Reads what QEMU has said meanwhile.
  void OnRestored() override { ReadNow(); }

  // Returns whether `socket`, at the path of `slot`, is still the one that it was attached by. Its
  // inode shows that too as long as the slot has it: where the file system has no birth times, a
  // chmod makes another identity of a socket.
  bool IsSocketOf(const SocketSlot& slot, const SocketIdentity& socket) const {
    return socket == info().socket || (slot.run == this && InodeOf(slot.socket) == InodeOf(socket));
  }
  // State of the source.
  RunSockets& sockets() { return sockets_; }
  const RunSockets& sockets() const { return sockets_; }

 private:
  void OnProcessGone() override;
  void Ask(Question question) override;
  void ReadNow() override {
    if (connection_ != nullptr) connection_->Drain();
  }
  void Disconnect() override { RetireConnection(); }
  bool OwnsName() const override;

  std::string OnSpeaker(int64_t pid) override;
  void OnGreetingLate() override;
  void OnReplyLate(bool last) override;
  void OnReady(const MonitorInfo& info) override;
  void OnEvent(const QmpEvent& event) override { HearEvent(event); }
  void OnRunStateReply(absl::string_view run_state) override;
  void OnGuestAgentReply(const GuestAgentInfo& agent) override { Hand(input::AgentAnswer{agent}); }
  void OnClosed(absl::string_view why, bool protocol_error) override;

  std::unique_ptr<MonitorConnection> NewConnection(ReceivingSocket socket);
  // Ends the run if its process is gone: what that said was handed in.
  void EndWithProcess();
  // Drops the connection, whose object may be on the call stack.
  void RetireConnection();

  QmpContext* const context_;
  Connector* const connector_;
  RunSockets sockets_;
  std::unique_ptr<MonitorConnection> connection_;
  absl::Duration ready_since_ = absl::InfiniteDuration();  // InfiniteDuration: not yet
  const bool known_;                                       // its process was, before anybody spoke
  bool spoken_;                  // somebody has spoken on its monitor as QEMU does
  bool answered_ = false;        // a handshake was completed
  bool silence_logged_ = false;  // logged since it was ready, as the next one
  bool protocol_error_logged_ = false;
};

}  // namespace vmeventd
