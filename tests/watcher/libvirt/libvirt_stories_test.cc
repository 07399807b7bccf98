// Stories of a host with a libvirt: domains that start and end, libvirtds that are restarted and
// count their ids from 1 again, lists that are late, migrations that are aborted, reboots. A story
// follows from its seed. Each QEMU is a real process, and nothing else is.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "gtest/gtest.h"
#include "tests/support/fake_libvirt.h"
#include "tests/support/test_util.h"
#include "tests/watcher/libvirt/shifted_clock.h"
#include "tests/watcher/runs/child.h"
#include "watcher/core/libvirt_spec.h"
#include "watcher/node/node_watcher.h"
#include "watcher/runs/process.h"

namespace vmeventd {
namespace {

constexpr int kSteps = 24;
constexpr int kNames = 3;

// One process of a domain, as it truly was.
struct Life {
  DomainName domain;
  std::unique_ptr<Child> process;  // null: it has ended
  UniqueFd hold;                   // it exits with 0 when this is closed
  int64_t pid = 0;
  bool paused = false;
  bool known = false;  // a daemon has followed it
  std::optional<ShutdownClass> truth;
};

class LibvirtStory {
 public:
  explicit LibvirtStory(unsigned seed) : random_(seed) {
    directory_.MakeDirectory("ctrl");
    directory_.MakeDirectory("qemu");
    options_.watches = {{directory_.Path("ctrl"), "", ".kvmd"}};
    options_.libvirts = {
        ParseLibvirtUri("qemu+unix:///system?socket=" + directory_.Path("libvirt-sock")).value()};
    options_.libvirt_api = libvirt_;
    options_.session.event_limits = false;
  }

  void Run() {
    StartDaemon();
    for (int step = 0; step < kSteps && !testing::Test::HasFailure(); ++step) {
      // What libvirt's other threads do while it makes its next list.
      if (OneIn(3)) {
        libvirt_->AroundNextList(Chosen(), Chosen());
      }
      SomeStep();
      Settle();
    }
    if (testing::Test::HasFailure()) Tell();
  }

 private:
  using Action = std::function<void()>;

  bool OneIn(unsigned times) { return random_() % times == 0; }
  void Say(const std::string& what) { lines_.push_back(what); }
  void Tell() {
    for (const std::string& line : lines_) ADD_FAILURE() << line;
    for (const RecordingSink::Entry& entry : sink_.entries()) {
      if (!entry.update.event.has_value()) continue;
      const VmEvent& event = *entry.update.event;
      ADD_FAILURE() << (entry.update.status ? entry.update.status->ref.name : "the node") << " "
                    << event.message;
    }
  }

  Action Chosen() {
    if (OneIn(2)) return nullptr;
    return [this] {
      const MutexLock lock(&mutex_);
      Say("  around the list:");
      if (OneIn(2)) return StartSome();
      EndSome();
    };
  }

  void SomeStep() {
    switch (random_() % 10) {
      case 0:
      case 1:
      case 2:
        return StartSome();
      case 3:
      case 4:
        return EndSome();
      case 5:
        return PauseSome();
      case 6:
        return AbortMigration();
      case 7:
        return RestartLibvirtd();
      case 8:
        return RestartDaemon();
      default:
        return OneIn(3) ? Reboot() : RestartLibvirtd();
    }
  }

  // Domains

  Life* Living(const std::string& name) {
    for (const std::unique_ptr<Life>& life : lives_) {
      if (life->process != nullptr && life->domain.name == name) return life.get();
    }
    return nullptr;
  }
  Life* SomeLife() {
    std::vector<Life*> living;
    for (const std::unique_ptr<Life>& life : lives_) {
      if (life->process != nullptr) living.push_back(life.get());
    }
    return living.empty() ? nullptr : living[random_() % living.size()];
  }
  void Publish() {
    std::vector<ActiveDomain> active;
    for (const std::unique_ptr<Life>& life : lives_) {
      if (life->process == nullptr) continue;
      active.push_back({life->domain, life->paused ? "paused" : "running"});
    }
    libvirt_->SetActive(std::move(active));
  }

  void StartSome() {
    const int number = static_cast<int>(random_() % kNames);
    const std::string name = absl::StrCat("vm", number);
    if (!libvirtd_runs_ || Living(name) != nullptr) return;
    lives_.push_back(std::make_unique<Life>());
    Life* const life = lives_.back().get();
    life->domain = {name, absl::StrCat("475852fa-ea74-4630-8eae-00000000000", number), ++last_id_};
    int hold[2];
    int running[2];
    ASSERT_EQ(pipe2(hold, O_CLOEXEC), 0);
    ASSERT_EQ(pipe2(running, O_CLOEXEC), 0);
    life->process = std::make_unique<Child>([&] {
      dup2(hold[0], 0);
      return execl("/bin/sh", "sh", "-c", "read nothing; exit 0", "sh", "-uuid",
                   life->domain.uuid.c_str(), nullptr);
    });
    close(running[1]);
    char byte = 0;
    EXPECT_EQ(read(running[0], &byte, 1), 0);  // it has its new command line
    close(running[0]);
    close(hold[0]);
    life->hold = UniqueFd(hold[1]);
    life->pid = life->process->pid();
    std::ofstream(directory_.Path("qemu/" + name + ".pid")) << life->pid << "\n";
    Say(absl::StrCat(name, " starts, id ", life->domain.id, ", pid ", life->pid));
    Publish();
    if (!HasListener()) return;
    libvirt_->Qmp(life->domain, "RESUME");
    libvirt_->Started(life->domain);
  }

  void EndSome() {
    if (Life* const life = SomeLife(); life != nullptr) End(life);
  }

  void End(Life* life) {
    const std::string& name = life->domain.name;
    ManagerEnd end = ManagerEnd::kShutdown;
    switch (random_() % 5) {
      case 0:
        Say(name + ": the guest powers off");
        life->truth = ShutdownClass::kUser;
        Qmp(life, "SHUTDOWN", R"({"guest":true,"reason":"guest-shutdown"})");
        Qmp(life, "STOP");
        Qmp(life, "SHUTDOWN", R"({"guest":false,"reason":"host-signal"})");
        break;
      case 1:
        Say(name + ": the guest obeys the power button");
        life->truth = ShutdownClass::kAdmin;
        Qmp(life, "POWERDOWN");
        Qmp(life, "SHUTDOWN", R"({"guest":true,"reason":"guest-shutdown"})");
        break;
      case 2:
        Say(name + " is destroyed");
        life->truth = ShutdownClass::kAdmin;
        Qmp(life, "SHUTDOWN", R"({"guest":false,"reason":"host-signal"})");
        end = ManagerEnd::kDestroyed;
        break;
      case 3:
        Say(name + " is migrated away");
        life->truth = ShutdownClass::kAdmin;
        Qmp(life, "STOP");
        end = ManagerEnd::kMigrated;
        break;
      default:
        Say(name + " is killed");
        life->truth = ShutdownClass::kCrash;
        end = ManagerEnd::kFailed;
    }
    if (life->truth != ShutdownClass::kCrash) {
      life->hold = UniqueFd();
      life->process->AwaitEnd();
    }
    life->process.reset();
    std::error_code none;
    if (libvirtd_runs_ && OneIn(2)) std::filesystem::remove(PidFile(name), none);
    Publish();
    if (HasListener()) libvirt_->Stopped(life->domain, end, "stopped");
  }

  void PauseSome() {
    Life* const life = SomeLife();
    if (life == nullptr) return;
    life->paused = !life->paused;
    Say(life->domain.name + (life->paused ? " is paused" : " is resumed"));
    Publish();
    Qmp(life, life->paused ? "STOP" : "RESUME");
  }

  void AbortMigration() {
    Life* const life = SomeLife();
    if (life == nullptr || life->paused) return;
    Say(life->domain.name + ": a migration is aborted");
    Qmp(life, "MIGRATION", R"({"status":"setup"})");
    Qmp(life, "MIGRATION", R"({"status":"active"})");
    Qmp(life, "STOP");
    Qmp(life, "MIGRATION", R"({"status":"failed"})");
    Qmp(life, "RESUME");
  }

  // libvirtd, the daemon, the host

  // Whether what libvirt says goes to somebody; without one it is lost.
  bool HasListener() const { return libvirtd_runs_ && libvirt_->has_listener(); }
  void Qmp(Life* life, const std::string& event, const std::string& data = "") {
    if (HasListener()) libvirt_->Qmp(life->domain, event, data);
  }
  std::string PidFile(const std::string& name) const {
    return directory_.Path("qemu/" + name + ".pid");
  }

  void EndLibvirtd() {
    Say("libvirtd ends");
    libvirtd_runs_ = false;
    libvirt_->SetOpenError(absl::UnavailableError("it is away"));
    if (libvirt_->has_listener()) libvirt_->Close("libvirt closed the connection");
  }
  void StartLibvirtd() {
    last_id_ = 0;
    for (const std::unique_ptr<Life>& life : lives_) {
      if (life->process != nullptr) last_id_ = std::max(last_id_, life->domain.id);
    }
    Say(absl::StrCat("libvirtd starts, the last id is ", last_id_));
    libvirtd_runs_ = true;
    libvirt_->SetOpenError(absl::OkStatus());
    Publish();
  }

  void RestartLibvirtd() {
    EndLibvirtd();
    if (OneIn(2)) SettleAway();
    for (unsigned ends = random_() % 4; ends > 0; --ends) EndSome();
    if (OneIn(2)) SettleAway();
    StartLibvirtd();
    for (unsigned starts = random_() % 3; starts > 0; --starts) StartSome();
  }

  void StartDaemon() { watcher_ = NodeWatcher::Create(options_, &clock_, &sink_).value(); }
  void StopDaemon() {
    Say("the daemon ends");
    watcher_.reset();
    options_.saved_runs.clear();
    std::map<std::string, std::string> kept;
    for (const RecordingSink::Entry& entry : sink_.entries()) {
      if (!entry.update.saved_run.has_value()) continue;
      const std::string& run_id = entry.update.status->ref.run_id;
      kept[run_id] = *entry.update.saved_run;
      if (kept[run_id].empty()) kept.erase(run_id);
    }
    for (const auto& [run_id, text] : kept) options_.saved_runs.push_back(text);
  }

  void RestartDaemon() {
    StopDaemon();
    for (unsigned steps = random_() % 4; steps > 0; --steps) {
      if (OneIn(3)) {
        EndLibvirtd();
        EndSome();
        StartLibvirtd();
      } else if (OneIn(2)) {
        EndSome();
      } else {
        StartSome();
      }
    }
    Say("the daemon starts");
    StartDaemon();
  }

  void Reboot() {
    StopDaemon();
    Say("the host is rebooted");
    for (const std::unique_ptr<Life>& life : lives_) {
      if (life->process == nullptr) continue;
      life->process.reset();
      life->truth = ShutdownClass::kUnknown;
    }
    std::filesystem::remove_all(directory_.Path("qemu"));
    directory_.MakeDirectory("qemu");
    for (std::string& text : options_.saved_runs) {
      text = absl::StrReplaceAll(text, {{ReadBootId(), "00000000-0000-4000-8000-000000000000"}});
    }
    if (libvirt_->has_listener()) libvirt_->Close("libvirt closed the connection");
    StartLibvirtd();
    for (unsigned starts = random_() % 4; starts > 0; --starts) StartSome();  // they autostart
    StartDaemon();
  }

  // The judge

  void Step() {
    clock_.Advance(absl::Milliseconds(200));
    watcher_->RunOnce(absl::Milliseconds(1));
  }
  // Until the daemon knows that libvirt is away.
  void SettleAway() {
    EXPECT_TRUE(StepUntil(
        [this] { Step(); },
        [this] {
          const std::vector<LibvirtConnectionState> states = watcher_->libvirt_connections();
          return watcher_->first_scan_done() && states.size() == 1 && !states[0].connected;
        }));
  }

  // Until what is published is what is true.
  void Settle() {
    const auto settled = [this] { return Problem().empty(); };
    if (StepUntilLong(settled)) {
      const MutexLock lock(&mutex_);
      for (const std::unique_ptr<Life>& life : lives_) life->known |= life->process != nullptr;
      CheckEnds();
    } else {
      ADD_FAILURE() << Problem();
    }
  }
  bool StepUntilLong(const std::function<bool()>& done) {
    // A minute and a half of the daemon's clock after the last call of libvirt has returned.
    for (int steps = 0; steps < 450;) {
      if (done()) return true;
      Step();
      if (libvirt_->calls_under_way() == 0) ++steps;
    }
    return done();
  }

  std::string Problem() {
    const MutexLock lock(&mutex_);
    const std::vector<LibvirtConnectionState> states = watcher_->libvirt_connections();
    if (!watcher_->first_scan_done() || states.size() != 1 || !states[0].connected) {
      return "it is not connected";
    }
    std::map<int64_t, const VmStatus*> open;  // by pid
    std::map<std::string, const VmStatus*> newest;
    for (const RecordingSink::Entry& entry : sink_.entries()) {
      if (entry.update.status.has_value()) {
        newest[entry.update.status->ref.run_id] = &*entry.update.status;
      }
    }
    for (const auto& [run_id, status] : newest) {
      if (status->state != VmState::kStopped) open[status->ref.pid] = status;
    }
    for (const std::unique_ptr<Life>& life : lives_) {
      if (life->process == nullptr) continue;
      const auto it = open.find(life->pid);
      const std::string who = absl::StrCat(life->domain.name, ", pid ", life->pid);
      if (it == open.end()) return who + " is not followed";
      if (it->second->ref.name != life->domain.name) return who + " has another's name";
      const VmState state = life->paused ? VmState::kPaused : VmState::kRunning;
      if (it->second->state != state) return who + " has another state";
      open.erase(it);
    }
    if (!open.empty()) {
      return absl::StrCat(open.begin()->second->ref.name, " is followed as pid ",
                          open.begin()->first, " and does not run");
    }
    return "";
  }

  // Each life has one run at the most, with one end, whose class is true or UNKNOWN.
  void CheckEnds() {
    std::map<int64_t, std::set<std::string>> runs;  // by pid
    std::map<std::string, int64_t> pids;
    std::map<std::string, int> starts;
    std::map<std::string, int> stops;
    std::map<std::string, ShutdownClass> classes;
    for (const RecordingSink::Entry& entry : sink_.entries()) {
      if (!entry.update.status.has_value()) continue;
      const VmRef& ref = entry.update.status->ref;
      runs[ref.pid].insert(ref.run_id);
      if (ref.pid != 0) pids[ref.run_id] = ref.pid;
      if (!entry.update.event.has_value()) continue;
      if (entry.update.event->type == EventType::kStarted) ++starts[ref.run_id];
      if (entry.update.event->type != EventType::kStopped) continue;
      ++stops[ref.run_id];
      classes[ref.run_id] = entry.update.event->shutdown->shutdown_class;
    }
    for (const auto& [run_id, count] : starts) EXPECT_EQ(count, 1) << run_id;
    for (const auto& [run_id, count] : stops) EXPECT_EQ(count, 1) << run_id;
    for (const std::unique_ptr<Life>& life : lives_) {
      const std::set<std::string>& known = runs[life->pid];
      if (life->known) {
        EXPECT_EQ(known.size(), 1) << life->domain.name << ", pid " << life->pid;
      }
      EXPECT_LE(known.size(), 1) << life->domain.name << ", pid " << life->pid;
      for (const std::string& run_id : known) {
        if (!classes.contains(run_id) || classes[run_id] == ShutdownClass::kUnknown) continue;
        ASSERT_TRUE(life->truth.has_value());
        EXPECT_EQ(classes[run_id], *life->truth) << life->domain.name << ", pid " << life->pid;
      }
    }
  }

  TempDir directory_;
  ShiftedClock clock_;
  RecordingSink sink_;
  WatcherOptions options_;
  std::shared_ptr<FakeLibvirt> libvirt_ = std::make_shared<FakeLibvirt>();
  std::mt19937 random_;
  // The main thread, which takes its steps while libvirt makes no list, needs it only to look.
  Mutex mutex_;
  std::vector<std::string> lines_;
  bool libvirtd_runs_ = true;
  int64_t last_id_ = 0;
  std::vector<std::unique_ptr<Life>> lives_;
  std::unique_ptr<NodeWatcher> watcher_;
};

// VMEVENTD_STORIES: how many more.
TEST(LibvirtStoriesTest, WhateverLibvirtDoesEachLifeIsOneRun) {
  int stories = 12;
  if (const char* const more = std::getenv("VMEVENTD_STORIES"); more != nullptr) {
    ASSERT_TRUE(absl::SimpleAtoi(more, &stories));
  }
  for (int seed = 1; seed <= stories && !HasFailure(); ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    LibvirtStory(static_cast<unsigned>(seed)).Run();
  }
}

}  // namespace
}  // namespace vmeventd
