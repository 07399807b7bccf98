#ifndef VMEVENTD_WATCHER_QMP_QMP_RUN_H_
#define VMEVENTD_WATCHER_QMP_QMP_RUN_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/rare_text.h"
#include "base/receiving_socket.h"
#include "watcher/loop/event_loop.h"
#include "watcher/qmp/monitor_connection.h"
#include "watcher/qmp/silent_monitors.h"
#include "watcher/runs/vm_run.h"
#include "watcher/runs/watcher_options.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {

// What all runs with a QMP socket share. Outlives them.
struct QmpContext : RunContext {
  const WatcherOptions* options = nullptr;
  std::vector<char> buffer;  // what connections read into
  SocketCloser closer;
  SilentMonitors silent_monitors;
  // What may still be on the call stack; emptied after each turn of the loop.
  std::vector<std::unique_ptr<MonitorConnection>> closed_connections;
};

// A run that is followed by its QMP socket: a VmRun with the monitor's connection while there is
// one. Which socket to connect to, and when, is its source's business. Loop thread.
class QmpRun : public VmRun, public MonitorConnection::Delegate {
 public:
  enum class MonitorEnd {
    kLost,      // the peer closed it
    kHeld,      // no greeting in time
    kProtocol,  // what came is not QMP
  };
  // Who listens on the sockets of a run whose process has ended.
  enum class Listener {
    kNone,
    kConnected,  // somebody, and the connection is made
    kUnknown,    // somebody whose queue of connections is full, or no descriptor was left to try
  };

  // Called from within any method that hands an input to the session, and from the loop.
  class Source {
   public:
    virtual ~Source() = default;
    virtual void OnMonitorReady(QmpRun* run, const std::string& uuid) = 0;
    // The connection is closed and the run goes on: connect again. `answered_for` is how long QEMU
    // had answered on it, zero if it never did.
    virtual void OnMonitorEnded(QmpRun* run, MonitorEnd end, absl::Duration answered_for) = 0;
    // The process `pid` speaks on the monitor of `run`, which is followed by another process or by
    // none. True: the connection is another run's now, and this run is over.
    virtual bool OnSpeaker(QmpRun* run, int64_t pid) = 0;
    // Connects to a socket of `run` once more, without waiting.
    virtual Listener ConnectAgain(const QmpRun* run, ReceivingSocket* connection,
                                  SocketIdentity* identity) = 0;
  };

  // `owner`, `source` and `context` outlive the run.
  QmpRun(QmpContext* context, Owner* owner, Source* source, VmSession session);
  ~QmpRun() override;

  // Takes over a new connection, to the socket `identity`, and closes the one it has.
  absl::Status Attach(ReceivingSocket socket, const SocketIdentity& identity);
  // Gives its connection away, and takes one that has just greeted over.
  std::unique_ptr<MonitorConnection> TakeConnection();
  void Adopt(std::unique_ptr<MonitorConnection> connection, const SocketIdentity& identity);
  // The process that listened is gone: what greets is another one, and without a greeting there is
  // no run.
  void ExpectSpeaker() { needs_speaker_ = !published(); }
  bool needs_speaker() const { return needs_speaker_; }

  bool connected() const override { return connection_ != nullptr; }

 private:
  // What its connection is for.
  enum class Course {
    kFollowing,    // to read what comes; a new one is wanted where it ends
    kClosing,      // what is read now is the last
    kProcessGone,  // to read what the process left, or to find out that another one is QEMU
    kLastTry,      // likewise; made after the process had ended
  };
  enum class History {
    kNeverAnswered,
    kAnswered,  // the last connection that was not closed at once
    kSilent,    // that one was not answered, one before it was
  };

  void OnProcessGone() override;
  void AskRunState() override;
  void AskGuestAgent() override;
  void ReadNow(absl::Duration limit) override;
  void OnProcessReplaced() override;
  void Disconnect() override;

  void OnGreeting() override;
  void OnGreetingLate(bool given_up) override;
  void OnReplyLate(bool given_up) override;
  void OnReady(const MonitorInfo& info) override;
  void OnEvent(const QmpEvent& event) override;
  void OnRunStateReply(absl::string_view run_state) override;
  void OnGuestAgentReply(const GuestAgentInfo& agent) override;
  void OnDrainCutShort() override;
  void OnDrained() override;
  void OnClosed(absl::string_view why, bool protocol_error) override;

  // Whether the connection was given to another run, by who speaks on it.
  bool HandedOver();
  // The process is gone and nothing is connected: finds out whether another process serves the
  // monitor.
  void LookForSuccessor();
  absl::Status Connect(ReceivingSocket socket, const SocketIdentity& identity,
                       absl::Duration greeting_timeout);
  // `why` no greeting comes, as a problem of the VM; in the log once.
  void ReportSilence(absl::string_view why);
  // Waits kAnswerWait for an answer, without which the run has ended.
  void AwaitAnswer();
  // QEMU answers after the process that was followed had ended: it was not QEMU's.
  void Survive();
  // Another process listens on the monitor and does not serve us: the run goes on, and no process
  // is known for it.
  void GoOnUnserved();
  // Reads what the connection still has, then closes it and hands in `why`.
  void DrainAndClose(absl::string_view why);
  // Lets go of the connection, whose object may be on the call stack.
  void RetireConnection();

  QmpContext* const context_;
  Source* const source_;
  std::unique_ptr<MonitorConnection> connection_;
  absl::Duration ready_since_ = absl::InfiniteDuration();  // InfiniteDuration: not yet
  TimerId answer_timer_;                                   // after the process's end
  Course course_ = Course::kFollowing;
  History history_ = History::kNeverAnswered;
  bool needs_speaker_ = false;
  RareText logged_silence_;  // the reason that was logged last, since it was ready
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_QMP_QMP_RUN_H_
