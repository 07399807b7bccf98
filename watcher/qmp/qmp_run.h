#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/receiving_socket.h"
#include "watcher/qmp/monitor_budget.h"
#include "watcher/qmp/monitor_connection.h"
#include "watcher/qmp/socket_file.h"
#include "watcher/qmp/socket_slot.h"
#include "watcher/runs/handed_run.h"
#include "watcher/runs/vm_run.h"
#include "watcher/runs/watcher_options.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {

// State shared by all runs with a QMP socket. Outlives them.
struct QmpContext : RunContext {
  const WatcherOptions* options = nullptr;
  std::unique_ptr<MonitorBudget> budget;
  // Connections that may still be on the call stack; emptied after each turn of the loop.
  std::vector<std::unique_ptr<MonitorConnection>> closed_connections;
};

// A run that is followed by its QMP socket: a VmRun with the monitor's connection while there is
// one. Which socket to connect to, and when, is its source's business. Loop thread.
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
    // The connection is closed and the run goes on: connect again. `answered_for` is how long QEMU
    // had answered on it, zero if it never did.
    virtual void OnMonitorEnded(QmpRun* run, MonitorEnd end, absl::Duration answered_for) = 0;
    // `speaker` has spoken on the monitor of `run`, of which nothing was published, and is another
    // process than the one that listens: the run is over, and its connection another one's or
    // closed.
    virtual void OnSpeaker(QmpRun* run, PeerProcess speaker) = 0;
    // Somebody has spoken on the monitor of `run`, of which nothing was published, and no
    // descriptor is left to follow who it is: the run is over, and tried again later.
    virtual void OnSpeakerUnread(QmpRun* run) = 0;
    // Returns whether who listens on the monitor of `run`, whose process is not known, turned out
    // to be a QEMU: a new connection will have its process.
    virtual bool ListensAsQemu(const QmpRun* run) const = 0;
    // No greeting came for a run that was never published. Returns whose the socket is: of a
    // program that is no QEMU, or of a QEMU that has another one to be tried first.
    enum class Silent { kOnlyOne, kForeign, kOneOfSeveral };
    virtual Silent NoteSilent(QmpRun* run) = 0;
  };

  // `owner`, `source` and `context` outlive the run.
  QmpRun(QmpContext* context, Owner* owner, Connector* connector, VmSession session);
  ~QmpRun() override;

  // Takes over a new connection, to the socket `file`, and closes the one it has.
  absl::Status Attach(ReceivingSocket socket, const SocketFile& file);
  // Gives its connection away, and takes one that has just greeted over.
  std::unique_ptr<MonitorConnection> TakeConnection();
  void Adopt(std::unique_ptr<MonitorConnection> connection, const SocketIdentity& identity);
  // Hands its connection and its process to the next daemon, if both can be: the last use of the
  // run, with what it publishes. `socket_owner` is left to the caller.
  std::optional<HandedRun> HandOver();
  // As RunSource::GoOn().
  bool GoOn(HandedRun* handed);
  // Reads what QEMU has said meanwhile.
  void CatchUp() { ReadNow(absl::InfiniteDuration()); }
  // Notes that the process that listened is gone: what greets is another one, and without a
  // greeting there is no run.
  void ExpectSpeaker() { needs_speaker_ = !published(); }
  bool needs_speaker() const { return needs_speaker_; }
  // Returns whether nobody has spoken on its monitor so far, so that the first speaker is to be
  // followed.
  bool awaits_speaker() const { return !spoken_ && context_->options->process_tracking; }

  bool connected() const override { return connection_ != nullptr; }
  // State of the source.
  RunSockets& sockets() { return sockets_; }
  const RunSockets& sockets() const { return sockets_; }

 private:
  void OnProcessGone() override;
  void AskRunState() override {
    if (connection_ != nullptr) connection_->RequestRunState();
  }
  void AskGuestAgent() override {
    if (connection_ != nullptr) connection_->RequestGuestAgent();
  }
  void ReadNow(absl::Duration /*limit*/) override {
    if (connection_ != nullptr) connection_->Drain();
  }
  void Disconnect() override;
  std::string OnSpeaker(int64_t pid) override;
  void OnGreeting() override { needs_speaker_ = false; }
  void OnGreetingLate() override;
  void OnReplyLate(bool given_up) override;
  void OnReady(const MonitorInfo& info) override;
  void OnEvent(const QmpEvent& event) override;
  void OnRunStateReply(absl::string_view run_state) override;
  void OnGuestAgentReply(const GuestAgentInfo& agent) override;
  void OnClosed(absl::string_view why, bool protocol_error) override;

  // Ends the run if its process is gone: what that said was handed in.
  void EndWithProcess();
  // Reads what the connection still has, then closes it and hands in `why`.
  void DrainAndClose(absl::string_view why);
  // Lets go of the connection, whose object may be on the call stack.
  void RetireConnection();

  QmpContext* const context_;
  Connector* const connector_;
  RunSockets sockets_;
  std::unique_ptr<MonitorConnection> connection_;
  absl::Duration ready_since_ = absl::InfiniteDuration();  // InfiniteDuration: not yet
  // Somebody has spoken on its monitor; until then it is followed by the process that listens.
  bool spoken_;
  bool answered_ = false;  // a handshake was completed
  bool needs_speaker_ = false;
  bool silence_logged_ = false;  // logged since it was ready, as the next one
  bool protocol_error_logged_ = false;
};

}  // namespace vmeventd
