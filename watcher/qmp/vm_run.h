#ifndef VMEVENTD_WATCHER_QMP_VM_RUN_H_
#define VMEVENTD_WATCHER_QMP_VM_RUN_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "watcher/core/vm_session.h"
#include "watcher/loop/event_loop.h"
#include "watcher/qmp/monitor_connection.h"
#include "watcher/qmp/node_watcher.h"
#include "watcher/runs/process.h"
#include "watcher/runs/process_watch.h"
#include "watcher/runs/watcher_meters.h"

namespace vmeventd {

// What all runs of one watcher share. Outlives them.
struct RunContext : ProcessContext {
  const WatcherOptions* options = nullptr;
  WatcherMeters meters;
  std::vector<char> buffer;  // what connections read into
  // What may still be on the call stack; emptied after each turn of the loop.
  std::vector<std::unique_ptr<MonitorConnection>> closed_connections;
};

// One VmSession with what it needs of the outside: the watch of its process, the monitor's
// connection while there is one, timers, and the shutdown file. Hands inputs to the session and
// carries out its effects, in order. Which socket to connect to, and when, is its owner's business.
// Loop thread.
class VmRun : public MonitorConnection::Delegate, public ProcessWatch::Delegate {
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
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void OnPublish(VmRun* run, VmUpdate update) = 0;
    virtual void OnMonitorReady(VmRun* run, const std::string& uuid) = 0;
    // The connection is closed and the run goes on: connect again. `answered_for` is how long QEMU
    // had answered on it, zero if it never did.
    virtual void OnMonitorEnded(VmRun* run, MonitorEnd end, absl::Duration answered_for) = 0;
    // The process `pid` speaks on the monitor of `run`, which is followed by another process or by
    // none. True: the connection is another run's now, and this run is over.
    virtual bool OnSpeaker(VmRun* run, int64_t pid) = 0;
    // Connects to a socket of `run` once more, without waiting.
    virtual Listener ConnectAgain(const VmRun* run, UniqueFd* connection,
                                  SocketIdentity* identity) = 0;
    // `run` is followed by the process `key` from now on, or no longer.
    virtual void OnFollowed(VmRun* run, const ProcessKey& key) = 0;
    virtual void OnUnfollowed(VmRun* run, const ProcessKey& key) = 0;
    // Whether no later run has the VM's name: its shutdown file is that run's then.
    virtual bool OwnsName(const VmRun* run) const = 0;
    // One of the `kills` that its cgroup counts was that of `run`, and so of no other run there.
    virtual void OnOomKill(VmRun* run, uint64_t kills) = 0;
    // The run is over, and its end published if its start was; it takes no more input. The owner
    // keeps the object until the turn of the loop is over.
    virtual void OnOver(VmRun* run) = 0;
  };

  // `owner` and `context` outlive the run.
  VmRun(RunContext* context, Owner* owner, VmSession session);
  ~VmRun() override;

  // Begins to wait for the end of `process`, which is tracked, and whose facts the session has.
  absl::Status Track(PeerProcess process);
  // The same for a restored run, whose process lives.
  absl::Status TrackAgain(PeerProcess process);
  // The same in place of the process that it followed, if any.
  absl::Status TrackInstead(PeerProcess process);
  // Takes over a new connection, to the socket `identity`, and closes the one it has.
  absl::Status Attach(UniqueFd socket, const SocketIdentity& identity);
  // Gives its connection away, and takes one that has just greeted over.
  std::unique_ptr<MonitorConnection> TakeConnection();
  void Adopt(std::unique_ptr<MonitorConnection> connection, const SocketIdentity& identity);
  // The process that listened is gone: whatever greets is another one, and without a greeting there
  // is no run.
  void ExpectSpeaker() { needs_speaker_ = !published_; }
  // Ends a run that nobody has heard of.
  void Discard();

  // Of a restored run: it goes on, its process cannot be followed any more, it ended with its host,
  // its shutdown file was written then.
  void Resume();
  void LoseTracking();
  // The same where another process listens on its socket.
  void LoseListener();
  void EndWithHost();
  void NoteShutdownFile(absl::Time written);

  // Which other run has the same UUID, as a problem; empty: none.
  void SetUuidProblem(absl::string_view problem);

  // The monitor cannot be had for now, and why.
  void ReportHeld();
  void ReportProblem(absl::string_view problem);
  // The end of a run that is not tracked, or was restored and has no process any more.
  void End(const ProcessEnd& end = {});
  // The same where `zombie` is what is left of the process.
  void EndWithZombie(const PeerProcess& zombie);

  // Whether the process has not ended. All that QEMU has said by now has been handed in then.
  bool Lives();
  const Intent* IntentOfRequest(absl::string_view request_id) const {
    return session_.IntentOfRequest(request_id);
  }
  absl::Status CheckIntent() const { return session_.CheckIntent(); }
  // Calls `told` when all that was published of the run by now is public.
  void Confirm(std::function<void()> told);
  // For a run for which CheckIntent() is OK and no intent is open. `told` is called when that is
  // public.
  void DeclareIntent(Intent intent, std::function<void()> told);
  // For a run with one.
  void WithdrawIntent(std::function<void()> told);
  const Intent* open_intent() const { return session_.open_intent(); }

  // One of the `kills` that its cgroup counts was of another process.
  void DiscountOomKill(uint64_t kills) { process_.DiscountOomKill(kills); }

  const RunInfo& info() const { return session_.run(); }
  Instant attached_at() const { return session_.attached_at(); }
  // Of its socket and its shutdown file.
  std::string Directory() const;
  VmStatus Status() const { return session_.Status(); }
  std::string Save() const { return session_.Save(); }
  bool tracked() const { return info().process_tracked; }
  bool followed() const { return process_.followed(); }
  bool needs_speaker() const { return needs_speaker_; }
  // Whether the process that it follows has ended.
  bool process_ended() const { return process_.ended(); }
  bool connected() const { return connection_ != nullptr; }
  // Whether the sink knows of it.
  bool published() const { return published_; }

 private:
  void OnProcessGone() override;
  void OnProcessEnd(const ProcessEnd& end) override;
  void OnOomKillsOfOthers(uint64_t kills) override;
  void OnOomKilled(uint64_t kills) override;
  void OnReleased() override;

  void OnGreeting() override;
  void OnReady(const MonitorInfo& info) override;
  void OnEvent(const QmpEvent& event) override;
  void OnRunStateReply(absl::string_view run_state) override;
  void OnGuestAgentReply(const GuestAgentInfo& info) override;
  void OnDrainCutShort() override;
  void OnDrained() override;
  void OnClosed(absl::string_view why, bool protocol_error) override;

  void OnGreetingTimeout();
  void AwaitReplies();
  // Whether the connection was given to another run, by who speaks on it.
  bool HandedOver();
  // The process is gone and nothing is connected: finds out whether another process serves the
  // monitor.
  void LookForSuccessor();
  absl::Status Connect(UniqueFd socket, const SocketIdentity& identity);
  // Waits kAnswerWait for an answer, without which the run has ended.
  void AwaitAnswer();
  // QEMU answers after the process that was followed had ended: it was not QEMU's.
  void Survive();
  // Another process listens on the monitor: the run goes on, and no process is known for it.
  void GoOnUntracked(bool answers);
  // The same where that process does not serve us.
  void GoOnUnserved();
  void ArmNudge();
  void OnReplyLate();
  // Carries out `effects`; the first event of `type` among them has `told` called.
  void ApplyTold(Effects effects, EventType type, std::function<void()> told);
  // Reads what the connection still has, then closes it and tells the session `why`.
  void DrainAndClose(absl::string_view why);
  // Lets go of the connection, whose object may be on the call stack.
  void RetireConnection();

  void Apply(Effects effects);
  void Carry(const WriteShutdownFile& effect);
  void Carry(const RemoveShutdownFile& effect);
  void Carry(const QueryRunState& effect);
  void Carry(const QueryGuestAgent& effect);
  void Carry(const Done& effect);
  void Carry(Publish& effect);
  bool OwnsShutdownFile() const;
  template <typename Operation>
  void TouchShutdownFile(Operation operation);
  void ArmTick();

  RunContext* const context_;
  Owner* const owner_;
  VmSession session_;
  ProcessWatch process_;
  std::unique_ptr<MonitorConnection> connection_;
  absl::Duration ready_since_ = absl::InfiniteDuration();     // InfiniteDuration: not yet
  absl::Duration reply_deadline_ = absl::InfiniteDuration();  // of the handshake
  TimerId monitor_timer_;  // for the greeting, then for the replies
  TimerId tick_timer_;
  TimerId answer_timer_;         // for an answer after the process's end
  uint64_t limited_events_ = 0;  // of the session, that were counted
  bool greeted_ = false;
  bool was_ready_ = false;  // a connection before this one was answered
  bool answers_ = false;    // the last connection that was not closed at once was answered
  bool published_ = false;
  bool is_last_try_ = false;  // the connection was made after the process had ended
  bool needs_speaker_ = false;
  bool ending_ = false;  // what is read now is the last: no new connection is wanted
  bool over_ = false;
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_QMP_VM_RUN_H_
