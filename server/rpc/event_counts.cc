#include "server/rpc/event_counts.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "watcher/core/causes.h"

namespace vmeventd {
namespace {

// "CRASH" for SHUTDOWN_CLASS_CRASH; empty for 0.
template <typename Enum>
std::string NameOf(Enum value, absl::string_view prefix, const std::string& name) {
  if (value == 0) return "";
  return name.empty() ? absl::StrCat(static_cast<int>(value))
                      : std::string(absl::StripPrefix(name, prefix));
}

// The name of the sender's program. A script's process has the script's name, and its interpreter's
// executable; a thread of a program may have any name.
std::string ProgramOf(const v1::SignalSender& sender) {
  constexpr absl::string_view kInterpreters[] = {"bash", "dash", "python", "perl",
                                                 "ruby", "node", "php"};
  const std::string& path = sender.executable();
  const std::string program = path.substr(path.rfind('/') + 1);
  const bool interprets = absl::c_any_of(kInterpreters, [&program](absl::string_view name) {
    return absl::StartsWith(program, name);
  });
  return program.empty() || (interprets && !sender.command().empty()) ? sender.command() : program;
}

std::string SenderOf(const v1::SignalSender& sender) {
  if (sender.kernel()) return "the kernel";
  if (sender.of_qemu()) return "QEMU itself";
  if (!sender.login_user().empty()) return sender.login_user();
  const std::string program = ProgramOf(sender);
  const std::string name = program.empty() ? absl::StrCat("pid ", sender.pid()) : program;
  const uint32_t uid = sender.has_login_uid() ? sender.login_uid() : sender.uid();
  return uid != 0 ? absl::StrCat(name, " (uid ", uid, ")") : name;
}

// The source's name is the manager's: no other source reports such an end.
std::string ManagerNameOf(const v1::VmRef& vm) {
  const absl::string_view source = vm.source();
  return source.empty() ? "the manager" : std::string(source.substr(0, source.find(':')));
}

}  // namespace

std::string WhoOf(const v1::ShutdownDetail& shutdown, const v1::VmRef& vm) {
  // With another class it did not decide.
  if (shutdown.has_intent() && shutdown.shutdown_class() == v1::SHUTDOWN_CLASS_ADMIN) {
    return shutdown.intent().actor();
  }
  if (shutdown.has_sender()) return SenderOf(shutdown.sender());
  switch (TraitsOf(static_cast<ShutdownCause>(shutdown.cause())).ender) {
    case Ender::kGuest:
      return "the guest";
    case Ender::kQemu:
      return "QEMU itself";
    case Ender::kManager:
      return ManagerNameOf(vm);
    case Ender::kOfClass:
      break;
  }
  switch (shutdown.shutdown_class()) {
    case v1::SHUTDOWN_CLASS_USER:
      return "the guest";
    case v1::SHUTDOWN_CLASS_ADMIN:
    case v1::SHUTDOWN_CLASS_CRASH:
      return "the host";
    default:
      return "unknown";
  }
}

std::string EventCounts::KeyOf(const EventRecord& event) const {
  switch (by_) {
    case v1::COUNT_KEY_WHO: {
      const auto parsed = Parsed<v1::Event>(event.event);
      if (!parsed.has_shutdown()) return parsed.intent().actor();
      return WhoOf(parsed.shutdown(), Parsed<v1::VmRef>(event.vm_ref));
    }
    case v1::COUNT_KEY_VM:
      return Parsed<v1::VmRef>(event.vm_ref).name();
    case v1::COUNT_KEY_CLASS:
      return NameOf(event.shutdown_class, "SHUTDOWN_CLASS_",
                    v1::ShutdownClass_Name(event.shutdown_class));
    case v1::COUNT_KEY_CAUSE: {
      const v1::ShutdownCause cause = Parsed<v1::Event>(event.event).shutdown().cause();
      return NameOf(cause, "SHUTDOWN_CAUSE_", v1::ShutdownCause_Name(cause));
    }
    case v1::COUNT_KEY_TYPE:
      return NameOf(event.type, "EVENT_TYPE_", v1::EventType_Name(event.type));
    case v1::COUNT_KEY_DAY:
      return absl::FormatTime("%Y-%m-%d", event.observe_time, zone_);
    case v1::COUNT_KEY_HOUR:
      return absl::FormatTime("%Y-%m-%d %H", event.observe_time, zone_);
    case v1::COUNT_KEY_MINUTE:
      return absl::FormatTime("%Y-%m-%d %H:%M", event.observe_time, zone_);
    default:
      return "";
  }
}

void EventCounts::Add(const EventRecord& event) {
  if (event.is_of_node() && !counts_gaps_) return;
  std::string key = KeyOf(event);
  const auto found = counts_.find(key);
  if (found != counts_.end()) {
    ++found->second;
  } else if (counts_.size() < kMaxKeys) {
    counts_.emplace(std::move(key), 1);
  } else {
    ++others_;
  }
}

v1::CountEventsResponse EventCounts::Take() const {
  std::vector<std::pair<std::string, uint64_t>> sorted(counts_.begin(), counts_.end());
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  v1::CountEventsResponse response;
  response.set_others(others_);
  for (const auto& [key, events] : sorted) {
    if (response.counts_size() == static_cast<int>(kMaxCounts)) {
      response.set_others(response.others() + events);
      continue;
    }
    v1::EventCount* const count = response.add_counts();
    count->set_key(key);
    count->set_events(events);
  }
  return response;
}

}  // namespace vmeventd
