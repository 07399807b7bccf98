#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/receiving_socket.h"
#include "watcher/core/qmp_message.h"
#include "watcher/core/run_info.h"
#include "watcher/qmp/monitor_connection.h"
#include "watcher/qmp/socket_slot.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/directory_thread.h"
#include "watcher/runs/handed_run.h"
#include "watcher/runs/run_context.h"
#include "watcher/runs/run_table.h"
#include "watcher/runs/vm_run.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {

class QmpSource;

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

  // The pointers outlive the run.
  QmpRun(RunContext* context, RunTable* table, QmpSource* source, VmSession session);
  ~QmpRun() override;

  // Takes over a new connection, to the socket `identity`, and closes the one it has.
  absl::Status Attach(ReceivingSocket socket, const SocketIdentity& identity);
  // Returns whether the first to speak on its monitor is to be followed.
  bool awaits_sender() const {
    return !greeted_ && !tracked() && context_->options->process_tracking;
  }

  bool connected() const override { return connection_ != nullptr; }
  std::optional<HandedRun> HandOver() override;
  // Only where its socket is watched.
  bool ResumeFrom(HandedRun* handed) override;
  void ReadNow() override {
    if (connection_ != nullptr) connection_->Drain();
  }

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
  void Disconnect() override { RetireConnection(); }
  std::function<bool()> OwnsName() const override;
  DirectoryThread* Thread() const override;

  std::string OnSender(int64_t pid) override;
  void OnGreetingLate() override;
  void OnReplyLate(bool last) override;
  void OnReady(const MonitorInfo& info) override;
  void OnEvent(const QmpEvent& event) override { HandleQmpEvent(event); }
  void OnRunStateReply(absl::string_view run_state) override;
  void OnGuestAgentReply(const GuestAgentInfo& agent) override { Hand(input::AgentAnswer{agent}); }
  void OnClosed(absl::string_view why, bool protocol_error) override;

  std::unique_ptr<MonitorConnection> NewConnection(ReceivingSocket socket);
  // Ends the run if its process is gone: what that said was handed in.
  void EndWithProcess();
  // Drops the connection, whose object may be on the call stack.
  void RetireConnection();

  QmpSource* const source_;
  RunSockets sockets_;
  std::unique_ptr<MonitorConnection> connection_;
  absl::Duration ready_since_ = absl::InfiniteDuration();  // InfiniteDuration: not yet
  const bool known_;                                       // its process was, before anybody spoke
  bool greeted_;                 // somebody has spoken on its monitor as QEMU does
  bool answered_ = false;        // a handshake was completed
  bool silence_logged_ = false;  // logged since it was ready, as the next one
  bool protocol_error_logged_ = false;
  std::shared_ptr<const CommandLines::Read> command_line_;  // of a QEMU that another client has
};

}  // namespace vmeventd
