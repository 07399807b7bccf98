#include "client/doctor/qemu_arguments.h"

#include <cstddef>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace vmeventd::client {
namespace {

// QEMU's "first,key=value,flag": what has no "=" has the value "on". A doubled comma is a comma.
using Options = std::vector<std::pair<std::string, std::string>>;

Options ParseOptions(absl::string_view text) {
  Options options;
  std::string item;
  const auto finish = [&] {
    const size_t equals = item.find('=');
    if (equals == std::string::npos) {
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

std::optional<std::string> Find(const Options& options, absl::string_view key) {
  for (const auto& [name, value] : options) {
    if (name == key) return value;
  }
  return std::nullopt;
}

// Only a monitor that listens can be connected to.
bool Listens(const Options& options) {
  const std::string server = Find(options, "server").value_or("off");
  return server == "on" || server == "yes" || server == "true";
}

// Where the socket of "socket,path=...,server=on" listens.
std::optional<QmpMonitor> SocketOf(const Options& options) {
  if (options.front().first != "socket") return std::nullopt;
  QmpMonitor monitor;
  if (const auto path = Find(options, "path"); path && Listens(options)) {
    monitor.path = *path;
    return monitor;
  }
  const auto descriptor = Find(options, "fd");
  if (descriptor && absl::SimpleAtoi(*descriptor, &monitor.descriptor)) return monitor;
  return std::nullopt;
}

// The id in "chardev=ID,mode=control" or "ID,mode=control".
std::string CharDeviceOf(const Options& options) {
  const auto named = Find(options, "chardev");
  return named ? *named : options.front().first;
}

class Reader {
 public:
  void Take(absl::string_view option, const std::string& value) {
    const Options options = ParseOptions(value);
    if (option == "name") {
      name_ = Find(options, "guest").value_or(options.front().first);
    } else if (option == "chardev") {
      const auto id = Find(options, "id");
      if (const auto socket = SocketOf(options); id && socket) sockets_[*id] = *socket;
    } else if ((option == "mon" && Find(options, "mode") == "control") ||
               (option == "object" && options.front().first == "monitor-qmp")) {
      used_.push_back(CharDeviceOf(options));
    } else if (option == "qmp" || option == "qmp-pretty") {
      TakeQmp(value, options);
    }
  }

  QemuArguments Finish() && {
    QemuArguments result{std::move(name_), std::move(direct_)};
    for (const std::string& id : used_) {
      if (const auto found = sockets_.find(id); found != sockets_.end()) {
        result.monitors.push_back(found->second);
      }
    }
    return result;
  }

 private:
  // "unix:PATH,server=on" or "chardev:ID".
  void TakeQmp(absl::string_view value, const Options& options) {
    if (absl::ConsumePrefix(&value, "chardev:")) return used_.emplace_back(value), void();
    absl::string_view path = options.front().first;
    if (absl::ConsumePrefix(&path, "unix:") && Listens(options)) {
      direct_.push_back({std::string(path), -1});
    }
  }

  std::string name_;
  std::map<std::string, QmpMonitor> sockets_;  // by the id of their -chardev
  std::vector<std::string> used_;              // ids of those that are QMP monitors
  std::vector<QmpMonitor> direct_;
};

}  // namespace

bool IsQemu(const std::vector<std::string>& arguments) {
  if (arguments.empty()) return false;
  const std::string& program = arguments.front();
  const std::string name = program.substr(program.rfind('/') + 1);
  return absl::StartsWith(name, "qemu-system-") || name == "qemu-kvm" || name == "kvm";
}

QemuArguments ParseQemuArguments(const std::vector<std::string>& arguments) {
  Reader reader;
  for (size_t i = 1; i + 1 < arguments.size(); ++i) {
    absl::string_view option = arguments[i];
    if (!absl::ConsumePrefix(&option, "-")) continue;
    absl::ConsumePrefix(&option, "-");
    reader.Take(option, arguments[i + 1]);
  }
  return std::move(reader).Finish();
}

}  // namespace vmeventd::client
