#include "watcher/core/qemu_arguments.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/labels.h"
#include "base/utf8.h"
#include "base/uuid.h"
#include "watcher/core/foreign_text.h"
#include "watcher/core/given_value.h"
#include "watcher/core/labels.h"
#include "watcher/core/qemu_program.h"

namespace vmeventd {
namespace {

// The options in QEMU's "value,key=value,flag". Without "=" the first one is the value of
// `first_key`, and another one has the value "on". A doubled comma stands for a comma.
using Options = std::vector<std::pair<std::string, std::string>>;

Options ParseOptions(absl::string_view text, absl::string_view first_key) {
  Options options;
  std::string item;
  const auto finish = [&] {
    const size_t equals = item.find('=');
    if (equals == std::string::npos && options.empty()) {
      options.emplace_back(first_key, item);
    } else if (equals == std::string::npos) {
      options.emplace_back(item, "on");
    } else {
      options.emplace_back(item.substr(0, equals), item.substr(equals + 1));
    }
    item.clear();
  };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != ',') {
      item += text[i];
    } else if (i + 1 < text.size() && text[i + 1] == ',') {
      item += text[i++];
    } else {
      finish();
    }
  }
  finish();
  return options;
}

// The value that QEMU uses: if a key is there twice, the last one.
std::optional<std::string> Find(const Options& options, absl::string_view key) {
  const auto found = std::find_if(options.rbegin(), options.rend(),
                                  [key](const auto& option) { return option.first == key; });
  return found == options.rend() ? std::nullopt : std::optional(found->second);
}

bool IsOn(const Options& options, absl::string_view key) {
  const std::string value = Find(options, key).value_or("off");
  return value == "on" || value == "yes" || value == "true" || value == "y";
}

// Only a monitor that listens can be connected to, and only without a protocol around QMP.
bool Listens(const Options& options) {
  return IsOn(options, "server") && !IsOn(options, "telnet") && !IsOn(options, "websocket");
}

// The socket of "socket,path=...,server=on".
std::optional<QmpMonitor> SocketOf(const Options& options) {
  if (Find(options, "backend") != "socket") return std::nullopt;
  QmpMonitor monitor;
  if (const auto path = Find(options, "path"); path && Listens(options)) {
    monitor.path = *path;
    return monitor;
  }
  const auto descriptor = Find(options, "fd");
  if (descriptor && absl::SimpleAtoi(*descriptor, &monitor.descriptor)) return monitor;
  return std::nullopt;
}

// The VM's name in the value of -name; empty: it has none.
std::string NameOf(absl::string_view value) {
  return Find(ParseOptions(value, "guest"), "guest").value_or("");
}

// The monitor of "unix:PATH,server=on" in -qmp. Unset: it does not listen at a path; Kata passes a
// descriptor that listens.
std::optional<QmpMonitor> UnixMonitorOf(absl::string_view value) {
  if (!absl::ConsumePrefix(&value, "unix:")) return std::nullopt;
  const Options options = ParseOptions(value, "path");
  const auto path = Find(options, "path");
  if (!path.has_value() || path->empty() || !Listens(options)) return std::nullopt;
  return QmpMonitor{*path, -1};
}

// The option that an argument names; empty: none.
absl::string_view OptionOf(absl::string_view argument) {
  if (!absl::ConsumePrefix(&argument, "-")) return "";
  absl::ConsumePrefix(&argument, "-");
  return argument;
}

// The value of an option that the command line has once; empty: it does not have it. Unset: it has
// it more than once, or no value follows. An argument that only looks like the option (the value of
// another option may) counts too: it raises a doubt, but never decides anything.
std::optional<std::string> OnlyValue(const std::vector<std::string>& arguments,
                                     absl::string_view option) {
  std::string value;
  for (size_t i = 1; i < arguments.size(); ++i) {
    if (OptionOf(arguments[i]) != option) continue;
    const bool has_value = i + 1 < arguments.size() && !arguments[i + 1].empty() &&
                           !absl::StartsWith(arguments[i + 1], "-");
    if (!value.empty() || !has_value) return std::nullopt;
    value = arguments[i + 1];
  }
  return value;
}

// Unset also without a name: QEMU's configuration file may name a VM that its command line does not
// name.
std::optional<std::string> CertainName(const std::vector<std::string>& arguments) {
  const std::optional<std::string> value = OnlyValue(arguments, "name");
  if (!value.has_value()) return std::nullopt;
  const std::string name = NameOf(*value);
  return name.empty() || !IsValidUtf8(name) ? std::nullopt : std::optional(name);
}

std::optional<std::string> CertainUuid(const std::vector<std::string>& arguments) {
  // -smbios type=1,uuid= sets it too.
  for (size_t i = 2; i < arguments.size(); ++i) {
    if (OptionOf(arguments[i - 1]) == "smbios" && absl::StrContains(arguments[i], "uuid=")) {
      return std::nullopt;
    }
  }
  const std::optional<std::string> value = OnlyValue(arguments, "uuid");
  if (!value.has_value() || (!value->empty() && !ParseUuid(*value).has_value()))
    return std::nullopt;
  return WithoutNullUuid(absl::AsciiStrToLower(*value));
}

// Returns whether the program runs guests of x86, as far as its name shows.
bool IsX86(absl::string_view program) {
  return absl::StrContains(program, "qemu-system-x86_64") ||
         absl::StrContains(program, "qemu-system-i386");
}

// Returns whether an argument may give the guest a device that reports its panic.
bool MayReportPanic(absl::string_view argument) {
  static constexpr absl::string_view kTexts[] = {"pvpanic", "hv-crash", "hv_crash",
                                                 "hv-passthrough", "hv_passthrough"};
  return std::any_of(std::begin(kTexts), std::end(kTexts),
                     [&](absl::string_view text) { return absl::StrContains(argument, text); });
}

// The labels in "project=p,tier=db". If a key is there twice, the first one counts.
Labels LabelsIn(absl::string_view text) {
  std::map<std::string, std::string> labels;
  for (const absl::string_view one : absl::StrSplit(text, ',')) {
    const std::pair<absl::string_view, absl::string_view> label =
        absl::StrSplit(one, absl::MaxSplits('=', 1));
    if (!IsLabelKey(label.first) || labels.size() == kMaxLabels) continue;
    labels.emplace(label.first, Utf8Prefix(OneLine(label.second), kMaxLabelValueBytes));
  }
  return {labels.begin(), labels.end()};
}

}  // namespace

std::string WithoutNullUuid(std::string uuid) {
  if (uuid == "00000000-0000-0000-0000-000000000000") uuid.clear();
  return uuid;
}

std::string GivenUuid(const std::vector<std::string>& arguments) {
  return GivenValue(arguments, "-uuid");
}

QemuArguments ParseQemuArguments(const std::vector<std::string>& arguments) {
  QemuArguments result;
  struct Use {
    std::string chardev;                // the id of its -chardev
    std::optional<QmpMonitor> monitor;  // or the monitor itself
  };
  std::vector<Use> uses;                      // the QMP monitors
  std::map<std::string, QmpMonitor> sockets;  // by the id of their -chardev
  bool reads_more = false;
  for (size_t i = 1; i < arguments.size(); ++i) {
    const absl::string_view option = OptionOf(arguments[i]);
    reads_more |= option == "readconfig";
    result.incoming |= option == "incoming";
    result.traits.guest_can_exit |= absl::StartsWith(option, "semihosting");
    result.traits.stays_down |= option == "no-shutdown";
    if (option.empty() || i + 1 == arguments.size()) continue;
    absl::string_view value = arguments[i + 1];
    if (option == "device") {
      result.traits.guest_can_exit |= absl::StrContains(value, "isa-debug-exit");
    } else if (option == "action" || option == "watchdog-action") {
      result.traits.stays_down |=
          absl::EndsWith(value, "pause") || absl::StrContains(value, "=pause,");
    } else if (option == "name") {
      result.name = NameOf(value);
    } else if (option == "fw_cfg") {
      const Options options = ParseOptions(value, "name");
      if (Find(options, "name") == "opt/vmeventd/labels") {
        result.traits.labels = LabelsIn(Find(options, "string").value_or(""));
      }
    } else if (option == "id") {
      result.id = std::string(value);
    } else if (option == "chardev") {
      const Options options = ParseOptions(value, "backend");
      const auto id = Find(options, "id");
      if (const auto socket = SocketOf(options); id && socket) sockets[*id] = *socket;
    } else if (option == "mon") {
      const Options options = ParseOptions(value, "chardev");
      const auto id = Find(options, "chardev");
      if (id && Find(options, "mode") == "control") uses.push_back({*id, std::nullopt});
    } else if (option == "object") {
      const Options options = ParseOptions(value, "qom-type");
      const auto id = Find(options, "chardev");
      if (id && Find(options, "qom-type") == "monitor-qmp") uses.push_back({*id, std::nullopt});
    } else if (option == "qmp" || option == "qmp-pretty") {
      // "unix:PATH,server=on" or "chardev:ID".
      if (absl::ConsumePrefix(&value, "chardev:")) {
        uses.push_back({std::string(value), std::nullopt});
      } else if (auto monitor = UnixMonitorOf(value)) {
        uses.push_back({"", *std::move(monitor)});
      }
    }
  }
  for (Use& use : uses) {
    const auto found = sockets.find(use.chardev);
    if (!use.monitor.has_value() && found != sockets.end()) use.monitor = found->second;
    if (use.monitor.has_value()) result.monitors.push_back(*std::move(use.monitor));
  }
  if (IsQemu(arguments) && !result.monitors.empty() && !reads_more) {
    result.certain_name = CertainName(arguments);
    result.certain_uuid = CertainUuid(arguments);
    result.traits.no_panic_device =
        IsX86(arguments.front()) &&
        std::none_of(arguments.begin() + 1, arguments.end(), MayReportPanic);
  }
  return result;
}

}  // namespace vmeventd
