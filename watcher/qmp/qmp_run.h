#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/receiving_socket.h"
#include "watcher/core/monitor_info.h"
#include "watcher/core/qmp_message.h"
#include "watcher/core/run_info.h"
#include "watcher/qmp/monitor_connection.h"
#include "watcher/qmp/run_sockets.h"
#include "watcher/runs/command_line_read.h"
#include "watcher/runs/directory_thread.h"
#include "watcher/runs/handed_run.h"
#include "watcher/runs/run_context.h"
#include "watcher/runs/run_table.h"
#include "watcher/runs/vm_run.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {

class QmpSource;

// A run that is followed by its QMP socket: a VmRun with the monitor's connection while there is
// one. Its process is the QEMU that listens or, if that cannot be seen, the first process that
// sends on the monitor; input from others is not accepted. Its source decides which socket to
// connect to, and when. Loop thread.
class QmpRun : public VmRun, public MonitorConnection::Delegate {
 public:
  enum class MonitorEnd {
    kLost,      // the peer closed it
    kHeld,      // no greeting in time
    kProtocol,  // the input is not QMP, or came from another process than the run's
  };

  // The pointers outlive the run.
  QmpRun(RunContext* context, RunTable* table, QmpSource* source, VmSession session);
  ~QmpRun() override;

  // Takes over a new connection, to the socket `identity`, and closes the one it has.
  absl::Status Attach(ReceivingSocket socket, const SocketIdentity& identity);
  // Returns whether the first process that sends on its monitor becomes its process.
  bool awaits_sender() const {
    return !greeted_ && !tracked() && context_->options->process_tracking;
  }

  bool connected() const override { return connection_ != nullptr; }
  std::optional<HandedRun> HandOver() override;
  // Fails if no --watch covers its socket.
  bool ResumeFrom(HandedRun* handed) override;
  void ReadNow() override {
    if (connection_ != nullptr) connection_->Drain();
  }

  // Returns whether `socket`, at the path of `slot`, is still the one that it was attached by.
  // While the slot has the same inode, that shows it too: on a file system without birth times, a
  // chmod changes the socket's identity.
  bool IsSocketOf(const SocketSlot& slot, const SocketIdentity& socket) const {
    return socket == info().socket ||
           (slot.run() == this && InodeOf(slot.socket) == InodeOf(socket));
  }
  // The source's state of the run.
  RunSockets& sockets() { return sockets_; }
  const RunSockets& sockets() const { return sockets_; }

 private:
  void OnProcessGone() override;
  void Ask(Question question) override;
  void Disconnect() override { RetireConnection(); }
  std::function<bool()> OwnsName() const override;
  DirectoryThread* Thread() const override;

  std::string OnSender(int64_t pid) override;
  void OnCommandLine(const CommandLineRead& command_line) override;
  void OnGreetingLate() override;
  void OnReplyLate(bool last) override;
  void OnReady(const MonitorInfo& info) override;
  void OnEvent(const QmpEvent& event) override { HandleQmpEvent(event); }
  void OnRunStateReply(absl::string_view run_state) override;
  void OnGuestAgentReply(const GuestAgentInfo& agent) override { Feed(input::AgentAnswer{agent}); }
  void OnClosed(absl::string_view why, bool protocol_error) override;

  std::unique_ptr<MonitorConnection> NewConnection(ReceivingSocket socket);
  // Ends the run if its process is gone; all that the process sent must have been handed in.
  void EndWithProcess();
  // Drops the connection, whose object may be on the call stack.
  void RetireConnection();

  QmpSource* const source_;
  RunSockets sockets_;
  std::unique_ptr<MonitorConnection> connection_;
  absl::Duration ready_since_ = absl::InfiniteDuration();  // InfiniteDuration: not yet
  const bool process_was_known_;  // its process was known before anybody sent on the monitor
  bool greeted_;                  // a QEMU's greeting came on its monitor
  bool answered_ = false;         // a handshake was completed
  bool silence_logged_ = false;   // logged since the last handshake, like the next
  bool protocol_error_logged_ = false;
  // The command line of a QEMU whose monitor another client holds.
  std::shared_ptr<const CommandLineRead> command_line_;
};

}  // namespace vmeventd
