#include "tests/system/crash/test_vm.h"

#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "nlohmann/json.hpp"
#include "tests/support/fake_qemu.h"
#include "tests/support/guest.h"

namespace vmeventd::crash {
namespace {

using nlohmann::json;

// One line in the format of QEMU 7.2.
std::string Qmp(const std::string& name, const json& data = json::object()) {
  const int64_t now = absl::ToUnixMicros(absl::Now());
  constexpr int64_t kMicros = 1'000'000;
  return json{{"event", name},
              {"data", data},
              {"timestamp", {{"seconds", now / kMicros}, {"microseconds", now % kMicros}}}}
             .dump() +
         "\r\n";
}

std::string Shutdown(bool guest, const std::string& reason) {
  return Qmp("SHUTDOWN", {{"guest", guest}, {"reason", reason}});
}

std::string Panic(const std::string& action) { return Qmp("GUEST_PANICKED", {{"action", action}}); }

class FakeVm : public TestVm {
 public:
  FakeVm(const std::string& name, const std::string& directory, const std::string& program,
         int round)
      : TestVm(name, round), qemu_(program) {
    const std::string path = directory + "/" + name + ".kvmd";
    unlink(path.c_str());  // a stale socket, as QEMU does
    history().pid = qemu_.pid();
    monitor_ = qemu_.AddMonitor(path, behavior_);
    Log("started, a fake");
  }

  std::vector<Deed> Deeds() const override {
    if (behavior_.status == "running") {
      return {Deed::kPowerdown, Deed::kReset, Deed::kGuestDown, Deed::kPanic};
    }
    if (behavior_.status == "shutdown") return {Deed::kRevive};
    return {};
  }

  std::vector<Deed> Ends() const override {
    if (behavior_.status == "running") {
      return {Deed::kGuestShutdown, Deed::kGuestShutdown,
              Deed::kGuestShutdown, Deed::kGuestReset,
              Deed::kQuit,          Deed::kSignal,
              Deed::kHostReset,     Deed::kPanicExit,
              Deed::kWatchdog,      Deed::kDie};
    }
    return {Deed::kQuit, Deed::kSignal, Deed::kDie};
  }

  // The monitor is attached once all queries of the handshake are answered.
  int Witness(const DaemonNow& daemon) override {
    if (daemon.pid == 0) return -1;
    const FakeClient client = qemu_.Client(monitor_);
    constexpr size_t kHandshake = 4;
    return client.pid == daemon.pid && client.commands.size() >= kHandshake ? daemon.life : -1;
  }

 private:
  void SetStatus(const std::string& status) {
    behavior_.status = status;
    qemu_.SetBehavior(monitor_, behavior_);
  }

  void CarryOut(Deed deed) override {
    switch (deed) {
      case Deed::kPowerdown:
        return qemu_.Send(monitor_, Qmp("POWERDOWN"));
      case Deed::kReset:
        return qemu_.Send(monitor_, Qmp("RESET", {{"guest", true}, {"reason", "guest-reset"}}));
      case Deed::kGuestDown:
        SetStatus("shutdown");
        return qemu_.Send(monitor_, Shutdown(true, "guest-shutdown") + Qmp("STOP"));
      case Deed::kRevive:
        SetStatus("running");
        return qemu_.Send(
            monitor_,
            Qmp("RESET", {{"guest", false}, {"reason", "host-qmp-system-reset"}}) + Qmp("RESUME"));
      default:
        SetStatus("guest-panicked");
        return qemu_.Send(monitor_, Panic("pause") + Qmp("STOP"));
    }
  }

  static std::string LastWords(Deed deed) {
    switch (deed) {
      case Deed::kGuestShutdown:
        return Shutdown(true, "guest-shutdown");
      case Deed::kGuestReset:
        return Shutdown(true, "guest-reset");
      case Deed::kQuit:
        return Shutdown(false, "host-qmp-quit");
      case Deed::kSignal:
        return Shutdown(false, "host-signal");
      case Deed::kHostReset:
        return Shutdown(false, "host-qmp-system-reset");
      case Deed::kPanicExit:
        return Panic("poweroff") + Shutdown(true, "guest-panic");
      case Deed::kWatchdog:
        return Qmp("WATCHDOG", {{"action", "poweroff"}});
      default:
        return "";
    }
  }

  bool CarryOutEnd(Deed deed, bool linger) override {
    if (deed == Deed::kDie) {
      qemu_.Kill(SIGKILL);
      return false;
    }
    if (!linger) {
      qemu_.SendAndExit(monitor_, LastWords(deed));
      return false;
    }
    qemu_.Send(monitor_, LastWords(deed));
    qemu_.CloseClient(monitor_);
    qemu_.CloseListener(monitor_);
    return true;
  }

  std::string CarryOutChat(Random* random) override {
    if (behavior_.status == "running" && random->Percent(30)) {
      SetStatus("paused");
      qemu_.Send(monitor_, Qmp("STOP"));
      return "stop";
    }
    if (behavior_.status == "paused") {
      SetStatus("running");
      qemu_.Send(monitor_, Qmp("RESUME"));
      return "cont";
    }
    if (behavior_.status == "running" && random->Percent(20)) {
      qemu_.Send(monitor_, Qmp("SUSPEND") + Qmp("WAKEUP"));
      return "suspend, wakeup";
    }
    constexpr uint64_t kMaxErrors = 60;
    const uint64_t errors = 1 + random->Below(kMaxErrors);
    std::string burst;
    for (uint64_t i = 0; i < errors; ++i) {
      burst += Qmp("BLOCK_IO_ERROR", {{"device", absl::StrCat("disk", i)}, {"action", "report"}});
    }
    qemu_.Send(monitor_, burst);
    return absl::StrCat(errors, " I/O errors");
  }

  void LetGo() override { qemu_.Exit(); }
  bool Reap() override {
    qemu_.Reap();
    return true;
  }

  FakeQemu qemu_;
  FakeMonitor behavior_;
  int monitor_ = 0;
};

class RealVm : public TestVm {
 public:
  RealVm(const std::string& name, const std::string& directory, const Sightings* sightings,
         int round)
      : TestVm(name, round),
        sightings_(sightings),
        guest_({.name = name, .directory = directory, .boot = e2e::Boot::kNothing}) {
    history().pid = guest_.pid();
    Log("started, a real one");
  }

  std::vector<Deed> Deeds() const override { return {Deed::kPowerdown}; }
  std::vector<Deed> Ends() const override { return {Deed::kQuit, Deed::kSignal, Deed::kDie}; }

  int Witness(const DaemonNow& daemon) override {
    const bool heard = sightings_->Of(history().name, history().pid).heard_of >= daemon.begin;
    return daemon.pid != 0 && heard ? daemon.life : -1;
  }

 private:
  void CarryOut(Deed) override { guest_.manager().Execute("system_powerdown"); }

  bool CarryOutEnd(Deed deed, bool) override {
    if (deed == Deed::kQuit) {
      guest_.manager().Execute("quit");
    } else {
      guest_.Signal(deed == Deed::kSignal ? SIGTERM : SIGKILL);
    }
    return false;
  }

  std::string CarryOutChat(Random*) override {
    paused_ = !paused_;
    std::string command = paused_ ? "stop" : "cont";
    guest_.manager().Execute(command);
    return command;
  }

  void LetGo() override {}
  // QEMU 7.2 may wait forever for its own monitor's threads if a client connects or disconnects
  // while it ends.
  bool Reap() override {
    const absl::Time deadline = absl::Now() + kMaxEnding;
    while (!guest_.has_exited() && absl::Now() < deadline) poll(nullptr, 0, 1);
    const bool ended = guest_.has_exited();
    if (!ended) guest_.Signal(SIGKILL);
    guest_.WaitExit();
    return ended;
  }

  static constexpr absl::Duration kMaxEnding = absl::Seconds(5);

  const Sightings* const sightings_;
  e2e::Guest guest_;
  bool paused_ = false;
};

}  // namespace

void TestVm::Log(const std::string& text) {
  history_.log.push_back(absl::StrCat("round ", round_, ": ", text));
}

void TestVm::Note(Deed deed, const DaemonNow& daemon) {
  const int witness = Witness(daemon);
  history_.acts.push_back({deed, witness});
  Log(absl::StrCat(DeedName(deed), witness < 0 ? "" : absl::StrCat(" before life ", witness)));
}

void TestVm::Do(Deed deed, const DaemonNow& daemon) {
  Note(deed, daemon);
  CarryOut(deed);
}

void TestVm::BeginEnd(Deed deed, bool linger, const DaemonNow& daemon) {
  Note(deed, daemon);
  lingers_ = CarryOutEnd(deed, linger);
  ended_ = true;
}

void TestVm::FinishEnd() {
  if (std::exchange(lingers_, false)) LetGo();
  if (!Reap()) {
    history_.acts.push_back({Deed::kDie});
    Log("hung at its end and was killed");
  }
  Log("its process is gone");
}

void TestVm::Chat(Random* random, const DaemonNow& daemon) {
  const int witness = Witness(daemon);
  const std::string what = CarryOutChat(random);
  Log(absl::StrCat(what, witness < 0 ? "" : absl::StrCat(" before life ", witness)));
}

std::unique_ptr<TestVm> MakeFakeVm(const std::string& name, const std::string& directory,
                                   const std::string& program, int round) {
  return std::make_unique<FakeVm>(name, directory, program, round);
}

std::unique_ptr<TestVm> MakeRealVm(const std::string& name, const std::string& directory,
                                   const Sightings* sightings, int round) {
  return std::make_unique<RealVm>(name, directory, sightings, round);
}

}  // namespace vmeventd::crash
