#include "watcher/runs/command_lines.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/small_file.h"
#include "base/thread_name.h"
#include "watcher/core/given_container.h"
#include "watcher/core/proc_texts.h"
#include "watcher/core/qemu_program.h"
#include "watcher/runs/command_line_read.h"
#include "watcher/runs/named_monitors.h"
#include "watcher/runs/process.h"
#include "watcher/signals/process_stat.h"

namespace vmeventd {
namespace {

// Maximum size of a command line, more than libvirt writes for a large VM. A longer one is ignored.
constexpr size_t kMaxCommandLine = 256 << 10;

// Reads a command line; empty: it cannot be read.
std::vector<std::string> ReadNow(int64_t pid) {
  const absl::StatusOr<std::string> text =
      ReadSmallFile(absl::StrCat("/proc/", pid, "/cmdline"), kMaxCommandLine);
  if (!text.ok() || text->size() == kMaxCommandLine) return std::vector<std::string>();
  std::vector<std::string> arguments = SplitCommandLine(*text);
  if (IsQemu(arguments)) return arguments;
  std::error_code error;
  const std::string file =
      std::filesystem::read_symlink(absl::StrCat("/proc/", pid, "/exe"), error).string();
  return WithProgram(std::move(arguments), file, ReadProcessStat(pid).value_or(ProcessStat()).name);
}

// Returns all processes, first those with a QEMU's name.
std::vector<int64_t> ListProcesses() {
  std::vector<int64_t> pids;
  DIR* const list = opendir("/proc");
  if (list == nullptr) return pids;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this function's own.
  while (const dirent* const entry = readdir(list)) {
    int64_t pid = 0;
    if (absl::SimpleAtoi(static_cast<const char*>(entry->d_name), &pid)) pids.push_back(pid);
  }
  closedir(list);
  std::stable_partition(pids.begin(), pids.end(), HasNameOfQemu);
  return pids;
}

std::optional<SocketInode> SocketAt(const std::string& path, int* error) {
  struct stat status {};
  *error = stat(path.c_str(), &status) == 0 ? 0 : errno;
  if (*error != 0 || !S_ISSOCK(status.st_mode)) return std::nullopt;
  return SocketInode{status.st_dev, status.st_ino};
}

// Returns whether `pid` is in this PID namespace, and not in one below it, such as a container's.
bool IsInThisPidNamespace(int64_t pid) {
  const std::string status = ReadSmallFile(absl::StrCat("/proc/", pid, "/status")).value_or("");
  return ValueInLine(status, "NSpid:") == absl::StrCat(pid);
}

// Adds the socket at a path in the command line of `pid`: both the file that vmeventd sees at the
// path, and the file that the process itself sees there.
void AddSocket(int64_t pid, const std::string& path, const Manager* owner,
               NamedMonitors::Qemu* qemu, NamedMonitors* monitors) {
  const bool absolute = absl::StartsWith(path, "/");
  int error = 0;
  const std::optional<SocketInode> own =
      SocketAt(absl::StrCat("/proc/", pid, absolute ? "/root" : "/cwd/", path), &error);
  int error_here = 0;
  const std::optional<SocketInode> here = absolute ? SocketAt(path, &error_here) : std::nullopt;
  for (const auto& socket : {own, here}) {
    if (socket.has_value()) monitors->Add(*socket, owner);
  }
  // If the root of a process may not be read, and it is outside of containers, it sees the files
  // that vmeventd sees.
  const bool sees_the_same = error == EACCES && here.has_value() && IsInThisPidNamespace(pid);
  if (own.has_value() || sees_the_same) qemu->sockets.push_back(own.has_value() ? *own : *here);
}

// The monitors of the QEMU `pid` that a manager needs, as their paths show.
MonitorOwners OwnersByPath(int64_t pid, const QemuArguments& qemu) {
  MonitorOwners owners;
  for (const QmpMonitor& monitor : qemu.monitors) {
    const Manager* const owner = OwnerOfPath(monitor.path);
    int error = 0;
    const auto socket = owner == nullptr
                            ? std::nullopt
                            : SocketAt(absl::StrCat("/proc/", pid, "/root", monitor.path), &error);
    if (socket.has_value()) owners.emplace_back(*socket, owner);
  }
  return owners;
}

// Adds the monitors of the QEMU `pid`.
void AddQemu(int64_t pid, const std::vector<std::string>& arguments, NamedMonitors* monitors) {
  const QemuArguments qemu = ParseQemuArguments(arguments);
  const std::string directory = absl::StrCat("/proc/", pid);
  struct stat owner {};
  if (stat(directory.c_str(), &owner) != 0) return;  // it has ended
  NamedMonitors::Qemu found{.pid = pid,
                            .parent = ReadProcessStat(pid).value_or(ProcessStat()).parent,
                            .user = owner.st_uid,
                            .name = qemu.name,
                            .id = qemu.id};
  const Manager* const manager =
      ManagerOf(arguments, ReadSmallFile(directory + "/cgroup").value_or(""));
  for (size_t i = 0; i < qemu.monitors.size(); ++i) {
    const std::string& path = qemu.monitors[i].path;
    if (path.empty()) continue;
    AddSocket(pid, path, OwnerOf(manager, qemu.monitors, i), &found, monitors);
  }
  monitors->Add(std::move(found));
}

}  // namespace

CommandLines::CommandLines() : threads_(kMaxThreads, [] { SetThreadName("command-lines"); }) {}

std::shared_ptr<const CommandLineRead> CommandLines::Begin(int64_t pid) {
  const MutexLock lock(&under_way_->mutex);
  std::shared_ptr<CommandLineRead>& read = under_way_->reads[pid];
  if (read != nullptr) return read;
  read = std::make_shared<CommandLineRead>();
  std::shared_ptr<CommandLineRead> begun = read;
  if (threads_.waiting() >= kMaxWaiting) {
    left_out_.Add();
    under_way_->reads.erase(pid);
    begun->Finish(nullptr);
    return begun;
  }
  threads_.Run([under_way = under_way_, begun, pid] {
    const std::vector<std::string> arguments = ReadNow(pid);
    {
      const MutexLock done(&under_way->mutex);
      under_way->reads.erase(pid);
    }
    std::unique_ptr<const QemuArguments> found;
    MonitorOwners owners;
    if (IsQemu(arguments)) {
      found = std::make_unique<QemuArguments>(ParseQemuArguments(arguments));
      owners = OwnersByPath(pid, *found);
    }
    begun->Finish(std::move(found), GivenUuid(arguments), GivenContainer(arguments),
                  std::move(owners));
  });
  return begun;
}

std::shared_ptr<const NamedMonitors> CommandLines::BeginMonitors() {
  const MutexLock lock(&under_way_->mutex);
  std::shared_ptr<NamedMonitors>& next = under_way_->next_monitors;
  if (next != nullptr) return next;
  next = std::make_shared<NamedMonitors>();
  threads_.Run([under_way = under_way_] {
    std::shared_ptr<NamedMonitors> monitors;
    {
      const MutexLock begun(&under_way->mutex);
      monitors = std::exchange(under_way->next_monitors, nullptr);
    }
    ReadMonitors(under_way.get(), monitors.get());
  });
  return next;
}

void CommandLines::ReadMonitors(UnderWay* under_way, NamedMonitors* monitors) {
  for (const int64_t pid : ListProcesses()) {
    {
      const MutexLock lock(&under_way->mutex);
      if (!under_way->read_for_monitors.insert(pid).second) continue;
    }
    const std::vector<std::string> arguments = ReadNow(pid);
    if (IsQemu(arguments)) AddQemu(pid, arguments, monitors);
    const MutexLock lock(&under_way->mutex);
    under_way->read_for_monitors.erase(pid);
  }
  monitors->Finish();
}

}  // namespace vmeventd
