#include "tests/system/crash/vm.h"

#include <unistd.h>

#include <csignal>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "nlohmann/json.hpp"

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

// The last events before an end.
std::string LastWords(const std::string& end) {
  if (end == "panic") return Panic("poweroff") + Shutdown(true, "guest-panic");
  if (end == "watchdog") return Qmp("WATCHDOG", {{"action", "poweroff"}});
  return Shutdown(end.starts_with("guest-"), end);
}

}  // namespace

Vm::Vm(const std::string& name, const std::string& directory, const std::string& program)
    : qemu_(program) {
  const std::string path = absl::StrCat(directory, "/", name, ".kvmd");
  unlink(path.c_str());  // a stale socket, as QEMU does
  history_.name = name;
  history_.pid = qemu_.pid();
  monitor_ = qemu_.AddMonitor(path, behavior_);
}

std::string Vm::Chat(Random* random) {
  // Changes of the run state, which a daemon asks for at each start; events that come and go; a
  // burst.
  static const std::vector<std::string> kDeeds = {"STOP",  "POWERDOWN", "RESET",
                                                  "panic", "SUSPEND",   "errors"};
  std::string deed = random->Pick(kDeeds);
  const auto now = [this](const std::string& status, const std::string& lines) {
    behavior_.status = status;
    qemu_.SetBehavior(monitor_, behavior_);
    qemu_.Send(monitor_, lines);
  };
  if (behavior_.status != "running") {
    deed = "RESUME";
    now("running",
        Qmp("RESET", {{"guest", false}, {"reason", "host-qmp-system-reset"}}) + Qmp("RESUME"));
  } else if (deed == "STOP") {
    now("paused", Qmp("STOP"));
  } else if (deed == "panic") {
    now("guest-panicked", Panic("pause") + Qmp("STOP"));
  } else if (deed == "RESET") {
    qemu_.Send(monitor_, Qmp("RESET", {{"guest", true}, {"reason", "guest-reset"}}));
  } else if (deed == "SUSPEND") {
    qemu_.Send(monitor_, Qmp("SUSPEND") + Qmp("WAKEUP"));
  } else if (deed == "POWERDOWN") {
    qemu_.Send(monitor_, Qmp("POWERDOWN"));
  } else {
    constexpr uint64_t kMaxErrors = 60;
    const uint64_t errors = 1 + random->Below(kMaxErrors);
    std::string burst;
    for (uint64_t i = 0; i < errors; ++i) {
      burst += Qmp("BLOCK_IO_ERROR", {{"device", absl::StrCat("disk", i)}, {"action", "report"}});
    }
    qemu_.Send(monitor_, burst);
    deed = absl::StrCat(errors, " I/O errors");
  }
  return deed;
}

std::string Vm::BeginEnd(Random* random, bool by_guest) {
  static const std::vector<std::string> kEnds = {
      "guest-shutdown",        "guest-reset", "host-qmp-quit", "host-signal",
      "host-qmp-system-reset", "panic",       "watchdog",      "death"};
  std::string end = by_guest ? "guest-shutdown" : random->Pick(kEnds);
  ended_ = true;
  lingers_ = end != "death" && random->OneIn(4);
  if (lingers_) {
    qemu_.Send(monitor_, LastWords(end));
    qemu_.CloseClient(monitor_);
    qemu_.CloseListener(monitor_);
  } else if (end == "death") {
    qemu_.Kill(SIGKILL);
  } else {
    qemu_.SendAndExit(monitor_, LastWords(end));
  }
  return end;
}

void Vm::FinishEnd() {
  if (std::exchange(lingers_, false)) qemu_.Exit();
  qemu_.Reap();
}

}  // namespace vmeventd::crash
