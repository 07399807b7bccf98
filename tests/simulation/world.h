#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "tests/simulation/kernel.h"
#include "tests/simulation/libvirtd.h"
#include "tests/simulation/life.h"
#include "tests/simulation/plan.h"
#include "tests/simulation/random.h"
#include "tests/simulation/report.h"
#include "tests/simulation/story.h"

namespace vmeventd::simulation {

inline constexpr char kWatchedDirectory[] = "/run/qemu";
// Time with free descriptors after which all VMs are followed: twice the delay of a retry, plus the
// greetings.
inline constexpr absl::Duration kFollowsAgain = absl::Seconds(20);

// The VMs of the node and their managers: what they do, when, and with which messages, as measured
// in docs/internals/qemu.md. Each name has one QEMU after another.
class World {
 public:
  // Declares an intent for the VM of `life`, perhaps again, or withdraws it.
  using IntentCall = std::function<void(Life* life, size_t intent)>;

  World(Kernel* kernel, Random* random, Story* story, Libvirtd* libvirtd, const Plan& plan);

  void set_intents(IntentCall declare, IntentCall withdraw) {
    declare_ = std::move(declare);
    withdraw_ = std::move(withdraw);
  }
  // Sets a function that is called some time after the daemon was not notified of a socket.
  void set_after_overflow(std::function<void()> check) { after_overflow_ = std::move(check); }
  // Sets the number of the daemon that connects from now on; 0: none.
  void set_daemon(int number) {
    daemon_ = number;
    libvirtd_->set_daemon(number);
  }

  // The daemon `to` resumes what `from` handed over, and knows everything that `from` has read.
  void Resume(int from, int to);
  // The processes of these domains were handed over to `to`.
  void ResumeWithProcesses(int to, const std::set<std::string>& run_ids);

  // Time at which the next thing happens by itself; InfiniteDuration: nothing more happens.
  absl::Duration next() const;
  // Runs everything that is due.
  void RunDue();
  // Schedules `what` for `at` or later.
  void At(absl::Duration at, std::function<void()> what);

  // Runs one turn of a QEMU that has something to do. False: none has.
  bool QemuTurn();

  // The host ends: kills all QEMUs at once.
  void KillAll();

  // Returns whether a daemon has read a part of a line.
  bool HasHalfALine() const;
  // Returns whether a QEMU hangs that a daemon has asked something.
  bool IsAskedInVain() const;

  bool over() const { return ended_ == plan_.lives; }
  const std::vector<std::unique_ptr<Life>>& lives() const { return lives_; }

 private:
  using Step = void (World::*)(Life*);

  absl::Duration now() const { return kernel_->monotonic(); }
  // Schedules `what` in `low` to `high` from now. In() runs it only if the life's process still
  // exists.
  void Within(absl::Duration low, absl::Duration high, std::function<void()> what);
  void In(absl::Duration low, absl::Duration high, Life* life, std::function<void()> what);
  // The run id for a monitor's path and a process.
  std::string RunIdOf(const std::string& path, const Process& process) const;
  void Begin(const std::string& name);
  // The command line of its process: QEMU's, or that of another program.
  std::string CommandLineOf(Life* life);
  void BeginSocket(Life* life);
  void BeginLauncher(Life* life);
  // Reaps the launcher if it has ended and no living VM uses it.
  void ReapLauncher(const ProcessPtr& launcher);
  static std::string SecondSocketOf(const Life& life);
  void BeginDomain(Life* life);
  void NextStep(Life* life);
  // The queue of clients that wait at its monitor; null: nobody waits.
  static std::deque<ConnectionPtr>* WaitingAt(const Life& life);
  bool HasWork(const Life& life) const;
  void Serve(Life* life);
  void Answer(Life* life, absl::string_view command);
  // Checks that the daemon may send this QEMU a command now: docs/internals/qemu.md, "A command
  // while QEMU ends".
  void CheckPace(const Life& life) const;
  void Send(Life* life, const std::string& bytes);
  void SendEvent(Life* life, Report::Kind kind, absl::string_view event, absl::string_view data,
                 std::string text = "");
  void SendShutdown(Life* life, absl::string_view reason);
  // Its CPUs stop, with this run state, or resume, and it reports that. ResumeWithin() then takes
  // the next step.
  void Pause(Life* life, absl::string_view run_state);
  void Resume(Life* life);
  void ResumeWithin(absl::Duration high, Life* life);
  // Sets how the life ends. The first call wins.
  void Decide(Life* life, const Ending& ending);

  // Steps of a life before its end.
  void Reboot(Life* life);
  void StopAndContinue(Life* life);
  void Sleep(Life* life);
  void PanicAndReset(Life* life);
  void DiskError(Life* life);
  void PressIgnored(Life* life);
  void LoseMonitor(Life* life);
  // Returns whether a daemon knows it by only one socket, at which QEMU itself answers.
  static bool AnswersAtOneSocket(const Life& life);
  void AddSocket(Life* life);
  void Hang(Life* life);
  void HangPaused(Life* life);
  void ManagerConnects(Life* life);
  void DownAndUp(Life* life);
  void ComesUp(Life* life);
  void DownAndUpUnseen(Life* life);
  void HibernatesInVain(Life* life);
  void WatchdogPause(Life* life);
  void WatchdogResets(Life* life);
  void WatchdogIsOutlived(Life* life);
  void ReturnsToSnapshot(Life* life);
  void InternalError(Life* life);
  void AnotherIsOutOfMemory(Life* life);
  void DeclareIntent(Life* life);
  // Somebody declares an intent for it, asks once more later, and may withdraw it.
  void Declare(Life* life, absl::Duration ttl);
  void MigrationFails(Life* life);
  // The host begins to shut down, and cancels this some time later.
  void ShutHostDown();
  void HostBeginsToShutDown(Life* life);

  // Endings.
  void GuestPowersOff(Life* life);
  void PowerdownObeyed(Life* life);
  void Quit(Life* life);
  void Signal(Life* life);
  void Kill(Life* life);
  void KillForMemory(Life* life);
  void EndByHost(Life* life);
  void DebuggerKills(Life* life);
  void GuestExits(Life* life);
  void EndsWithHost(Life* life);
  void Crash(Life* life);
  void OutOfMemory(Life* life);
  void Panic(Life* life);
  void PanicPauseQuit(Life* life);
  void RebootExit(Life* life);
  void WatchdogPoweroff(Life* life);
  void WatchdogShutdown(Life* life);
  void WatchdogPauseQuit(Life* life);
  void Hibernate(Life* life);
  void Migrate(Life* life);
  void KilledAsItMigrates(Life* life);
  void HostError(Life* life);
  void WindowClosed(Life* life);
  void ExitsSilently(Life* life);
  void StaysDown(Life* life);
  void StopQuit(Life* life);

  // Steps of a domain (world_domains.cc).
  void NextDomainStep(Life* life);
  void DomainArrives(Life* life);
  void DomainIsGone(Life* life);
  void Migration(Life* life, absl::string_view status);
  // The VM is stopped while its last pages are sent.
  void StopToMigrate(Life* life);
  void DomainMigrationFails(Life* life);
  void DomainMigrates(Life* life);
  void DomainIsKilledAsItMigrates(Life* life);
  void DomainIsDestroyed(Life* life);
  void DomainThatHangsIsDestroyed(Life* life);
  void DomainIsSaved(Life* life);
  void DomainIsDumped(Life* life);

  // QEMU exits in order: ShutDown() with a SHUTDOWN, Leave() without one.
  void ShutDown(Life* life, absl::string_view reason);
  void Leave(Life* life);
  void CloseSockets(Life* life, bool unlink);
  void ProcessEnds(Life* life, int wait_status);
  // A process that exits at once, the kernel (0), or QEMU itself sends it a signal. The first
  // signal is the one that ends it.
  void SendSignal(Life* life, int signal, int64_t sender, const std::string& command);
  void HostKills(Life* life);
  // Ends a process that belongs to no VM.
  void EndHelper(const ProcessPtr& process);
  void AllAreGone(Life* life);
  void CloseClient(Life* life);

  Kernel* const kernel_;
  Random* const random_;
  Story* const story_;
  Libvirtd* const libvirtd_;
  const Plan plan_;
  IntentCall declare_;
  IntentCall withdraw_;
  std::function<void()> after_overflow_;
  int daemon_ = 0;
  int begun_ = 0;
  int ended_ = 0;
  uint64_t serial_ = 0;
  std::map<std::pair<absl::Duration, uint64_t>, std::function<void()>> agenda_;
  std::vector<std::unique_ptr<Life>> lives_;
  std::vector<ProcessPtr> launchers_;  // processes that stay for a while
};

}  // namespace vmeventd::simulation
