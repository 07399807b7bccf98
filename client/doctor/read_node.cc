#include "client/doctor/read_node.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <pwd.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/account_names.h"
#include "base/small_file.h"
#include "base/standstill.h"
#include "base/unique_fd.h"
#include "watcher/core/manager_logs.h"
#include "watcher/core/proc_texts.h"
#include "watcher/core/qemu_program.h"

namespace vmeventd::client {
namespace {

constexpr size_t kMaxArgumentBytes = 1 << 20;
constexpr size_t kMaxMountBytes = 16 << 20;

// The names in a directory; unset: it cannot be read.
std::optional<std::vector<std::string>> NamesIn(const std::string& directory) {
  std::error_code error;
  std::filesystem::directory_iterator entries(directory, error);
  if (error) return std::nullopt;
  std::vector<std::string> names;
  for (; !error && entries != end(entries); entries.increment(error)) {
    names.push_back(entries->path().filename());
  }
  return names;
}

std::string ReadLink(const std::string& path) {
  std::error_code error;
  return std::filesystem::read_symlink(path, error);
}

bool IsDirectory(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_directory(path, error);
}

// Also true if one of them cannot be seen.
bool IsSameFile(const std::string& a, const std::string& b) {
  struct stat of_a {};
  struct stat of_b {};
  if (::stat(a.c_str(), &of_a) != 0 || ::stat(b.c_str(), &of_b) != 0) return true;
  return of_a.st_dev == of_b.st_dev && of_a.st_ino == of_b.st_ino;
}

// The home directory of a user; empty: it is not known.
std::string HomeOf(uid_t uid) {
  std::vector<char> buffer(1 << 14);
  passwd entry{};
  passwd* found = nullptr;
  getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found);
  return found == nullptr ? "" : found->pw_dir;
}

bool IsThere(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0;
}

// The words after `name` in its line of a file in /proc; empty: there is no such line.
std::vector<std::string> WordsOf(const std::string& file, absl::string_view name) {
  const std::string text = ReadSmallFile(file).value_or("");
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::ConsumePrefix(&line, name)) {
      return absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipWhitespace());
    }
  }
  return {};
}

void ReadSockets(const std::string& directory, NodeProcess* process) {
  const auto names = NamesIn(directory);
  process->sees_descriptors = names.has_value();
  for (const std::string& name : names.value_or(std::vector<std::string>())) {
    const std::string target = ReadLink(absl::StrCat(directory, "/", name));
    absl::string_view inode = target;
    uint32_t value = 0;
    int descriptor = 0;
    if (absl::ConsumePrefix(&inode, "socket:[") && absl::ConsumeSuffix(&inode, "]") &&
        absl::SimpleAtoi(inode, &value) && absl::SimpleAtoi(name, &descriptor)) {
      process->sockets[descriptor] = value;
    }
  }
}

// The rights of a daemon, at `directory` of /proc.
DaemonFacts ReadRights(const std::string& directory) {
  constexpr uint64_t kReadsAll = 1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH;
  const std::string status = absl::StrCat(directory, "/status");
  const auto capabilities = WordsOf(status, "CapEff:");
  uint64_t bits = 0;
  const bool reads_all = capabilities.empty() || !absl::SimpleHexAtoi(capabilities[0], &bits) ||
                         (bits & kReadsAll) != 0;
  DaemonFacts daemon;
  // Another profile, such as docker-default, permits all paths.
  daemon.is_confined = absl::StripAsciiWhitespace(
                           ReadSmallFile(absl::StrCat(directory, "/attr/current")).value_or("")) ==
                       "vmeventd (enforce)";
  const std::string inside = absl::StrCat(directory, "/root");  // of its container
  daemon.reads_logs = reads_all && (!IsDirectory(kLibvirtLogs) || !IsDirectory(inside) ||
                                    IsDirectory(absl::StrCat(inside, kLibvirtLogs)));
  // NOLINTNEXTLINE(concurrency-mt-unsafe): this program reads no other group meanwhile.
  const group* const journal = getgrnam("systemd-journal");
  daemon.reads_journal =
      reads_all || journal == nullptr ||
      absl::c_linear_search(WordsOf(status, "Groups:"), absl::StrCat(journal->gr_gid));
  return daemon;
}

// Returns whether a QEMU with these arguments changes its root directory (-chroot, -run-with
// chroot=DIR), after it has made its sockets.
bool ChangesRoot(const std::vector<std::string>& arguments) {
  for (size_t at = 1; at < arguments.size(); ++at) {
    const absl::string_view option = absl::StripPrefix(arguments[at - 1], "-");
    if (option == "-chroot" || option == "chroot" ||
        (absl::EndsWith(option, "run-with") && absl::StrContains(arguments[at], "chroot="))) {
      return true;
    }
  }
  return false;
}

// The facts of a QEMU, at `directory` of /proc, without those about its sockets.
QemuFacts ReadQemu(const NodeProcess& process, const std::string& directory) {
  const std::string root = absl::StrCat(directory, "/root/");
  const bool changes_root = ChangesRoot(process.arguments);
  QemuFacts qemu;
  qemu.home = HomeOf(process.uid);
  qemu.own_root = !changes_root && !IsSameFile("/", root);
  qemu.own_tmp = !changes_root && !qemu.own_root && !IsSameFile("/tmp", root + "tmp");
  qemu.frozen_by = FrozenCgroup(process.pid);
  qemu.dumps_core = DumpsCore(process.pid);
  return qemu;
}

// False: it has ended, or is no process with a program.
bool ReadProcess(int64_t pid, NodeProcess* process) {
  const std::string directory = absl::StrCat("/proc/", pid);
  const auto program = ReadSmallFile(absl::StrCat(directory, "/comm"));
  const auto state = WordsOf(absl::StrCat(directory, "/status"), "State:");
  const auto arguments = ReadSmallFile(absl::StrCat(directory, "/cmdline"), kMaxArgumentBytes);
  if (!program.ok() || state.empty() || !arguments.ok() || arguments->empty()) return false;
  process->pid = pid;
  process->program = std::string(absl::StripSuffix(*program, "\n"));
  process->state = state[0][0];
  process->arguments = WithProgram(SplitCommandLine(*arguments),
                                   ReadLink(absl::StrCat(directory, "/exe")), process->program);
  struct stat owner = {};
  if (::stat(directory.c_str(), &owner) == 0) {
    process->user = UserName(owner.st_uid);
    process->uid = owner.st_uid;
  }
  process->cgroups = ReadSmallFile(absl::StrCat(directory, "/cgroup"), 64 << 10).value_or("");
  if (IsQemu(process->arguments)) process->qemu = ReadQemu(*process, directory);
  if (process->program == kDaemonProgram) process->daemon = ReadRights(directory);
  ReadSockets(absl::StrCat(directory, "/fd"), process);
  return true;
}

// All visible processes, by pid, except kernel threads, zombies, and those that end meanwhile.
std::vector<NodeProcess> ReadProcesses() {
  std::vector<NodeProcess> processes;
  for (const std::string& name : NamesIn("/proc").value_or(std::vector<std::string>())) {
    int64_t pid = 0;
    NodeProcess process;
    if (absl::SimpleAtoi(name, &pid) && ReadProcess(pid, &process)) {
      processes.push_back(std::move(process));
    }
  }
  absl::c_sort(processes, [](const NodeProcess& a, const NodeProcess& b) { return a.pid < b.pid; });
  return processes;
}

absl::Status KernelError(const char* call, int error) {
  return absl::UnavailableError(absl::StrCat("cannot list Unix sockets: ", call, ": ",
                                             std::generic_category().message(error),
                                             "; load the kernel's module unix_diag"));
}

UnixSocket SocketOf(const nlmsghdr* message) {
  const auto* const head = static_cast<const unix_diag_msg*>(NLMSG_DATA(message));
  UnixSocket socket;
  socket.inode = head->udiag_ino;
  socket.listening = head->udiag_state == TCP_LISTEN;
  int rest = static_cast<int>(NLMSG_PAYLOAD(message, sizeof(*head)));
  for (const auto* attribute = reinterpret_cast<const rtattr*>(head + 1); RTA_OK(attribute, rest);
       attribute = RTA_NEXT(attribute, rest)) {
    const void* const data = RTA_DATA(attribute);
    if (attribute->rta_type == UNIX_DIAG_NAME) {
      const absl::string_view name(static_cast<const char*>(data), RTA_PAYLOAD(attribute));
      if (absl::StartsWith(name, absl::string_view("\0", 1))) {
        const absl::string_view abstract_name = name.substr(1);
        socket.abstract_name = std::string(abstract_name.substr(0, abstract_name.find('\0')));
      } else {
        socket.path = std::string(name.substr(0, name.find('\0')));
      }
    } else if (attribute->rta_type == UNIX_DIAG_VFS) {
      socket.file = static_cast<const unix_diag_vfs*>(data)->udiag_vfs_ino;
      socket.device = static_cast<const unix_diag_vfs*>(data)->udiag_vfs_dev;
    } else if (attribute->rta_type == UNIX_DIAG_PEER) {
      socket.peer = *static_cast<const uint32_t*>(data);
    } else if (attribute->rta_type == UNIX_DIAG_RQLEN && socket.listening) {
      socket.waited_at = static_cast<const unix_diag_rqlen*>(data)->udiag_rqueue > 0;
    }
  }
  return socket;
}

// Reads all of this network namespace by the kernel's sock_diag, connecting to none.
absl::StatusOr<std::vector<UnixSocket>> ReadUnixSockets() {
  const UniqueFd diag(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!diag.valid()) return KernelError("socket", errno);
  struct {
    nlmsghdr head;
    unix_diag_req body;
  } request = {};
  request.head.nlmsg_len = sizeof(request);
  request.head.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  request.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.body.sdiag_family = AF_UNIX;
  request.body.udiag_states = UINT32_MAX;
  request.body.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN;
  if (send(diag.get(), &request, sizeof(request), 0) < 0) return KernelError("send", errno);
  std::vector<UnixSocket> sockets;
  std::vector<char> buffer(1 << 18);
  while (true) {
    const ssize_t size = recv(diag.get(), buffer.data(), buffer.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return KernelError("recv", size < 0 ? errno : ECONNRESET);
    auto rest = static_cast<uint32_t>(size);  // the kernel aligns each message
    for (const auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data());
         NLMSG_OK(message, rest); message = NLMSG_NEXT(message, rest)) {
      if (message->nlmsg_type == NLMSG_DONE) return sockets;
      if (message->nlmsg_type == NLMSG_ERROR) {
        return KernelError("sock_diag", -static_cast<const nlmsgerr*>(NLMSG_DATA(message))->error);
      }
      sockets.push_back(SocketOf(message));
    }
  }
}

// Adds the sockets of the network namespaces in which other QEMUs and daemons are. A thread enters
// them, so that this one stays.
void ReadOtherNamespaces(NodeFacts* facts) {
  const std::string own = ReadLink("/proc/self/ns/net");
  std::map<std::string, bool> seen = {{own, true}};
  for (NodeProcess& process : facts->processes) {
    if (!process.qemu && !process.daemon) continue;
    const std::string file = absl::StrCat("/proc/", process.pid, "/ns/net");
    const std::string name = ReadLink(file);
    // Without a capability, a user cannot see the namespaces of other users, and a container's root
    // sees none at all.
    if (name.empty()) {
      if (process.qemu) process.qemu->sees_network = !facts->is_root;
      continue;
    }
    const auto [known, is_new] = seen.emplace(name, false);
    if (is_new) {
      std::thread([&facts, &file, sees = &known->second] {
        const UniqueFd other(open(file.c_str(), O_RDONLY | O_CLOEXEC));
        if (!other.valid() || setns(other.get(), CLONE_NEWNET) != 0) return;
        const auto sockets = ReadUnixSockets();
        if (!sockets.ok()) return;
        facts->sockets.insert(facts->sockets.end(), sockets->begin(), sockets->end());
        *sees = true;
      }).join();
    }
    if (process.qemu) process.qemu->sees_network = known->second;
  }
}

// A mount in the namespace of a process.
struct Mount {
  std::string device;  // "0:25"
  std::string root;    // the directory of the file system
  std::string point;
};

std::vector<Mount> MountsOf(const std::string& process) {
  const std::string text =
      ReadSmallFile(absl::StrCat(process, "/mountinfo"), kMaxMountBytes).value_or("");
  std::vector<Mount> mounts;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    Mount mount;
    // The kernel writes a blank, a tab, a newline and a backslash as three octal digits.
    if (words.size() < 5 || !absl::CUnescape(words[3], &mount.root) ||
        !absl::CUnescape(words[4], &mount.point)) {
      continue;
    }
    mount.device = std::string(words[2]);
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

// Returns the part of `path` after `directory` and its slash; unset: the path is not below it.
std::optional<std::string> Below(absl::string_view directory, absl::string_view path) {
  absl::ConsumeSuffix(&directory, "/");
  if (!absl::ConsumePrefix(&path, directory)) return std::nullopt;
  if (!path.empty() && path[0] != '/') return std::nullopt;
  return std::string(path);
}

// The path at which the process of `viewer` finds the file that the process of `owner` finds at
// `path`, both directories of /proc. Unset: nowhere.
std::optional<std::string> PathSeenBy(const std::string& viewer, const std::string& owner,
                                      const std::string& path) {
  const std::string file = absl::StrCat(owner, "/root", path);
  const auto is_it = [&](const std::string& candidate) {
    const std::string there = absl::StrCat(viewer, "/root", candidate);
    return IsThere(there) && IsSameFile(there, file);
  };
  if (is_it(path)) return path;
  const Mount* mount = nullptr;
  const std::vector<Mount> mounts = MountsOf(owner);
  for (const Mount& one : mounts) {
    if (!Below(one.point, path).has_value()) continue;
    if (mount == nullptr || one.point.size() >= mount->point.size()) mount = &one;
  }
  if (mount == nullptr) return std::nullopt;
  const std::string inside =
      absl::StrCat(absl::StripSuffix(mount->root, "/"), Below(mount->point, path).value_or(""));
  for (const Mount& one : MountsOf(viewer)) {
    const auto below = Below(one.root, inside);
    if (one.device != mount->device || !below.has_value()) continue;
    const std::string candidate = absl::StrCat(absl::StripSuffix(one.point, "/"), *below);
    if (is_it(candidate)) return candidate;
  }
  return std::nullopt;
}

bool Hangs(const NodeFacts& facts, const std::string& path) {
  return absl::c_any_of(facts.watches, [&path](const WatchedPlace& place) {
    return place.hangs && absl::StartsWith(path, place.spec.root() + "/");
  });
}

// Returns whether the file at `path` is the one to which the socket was bound.
bool IsFileOf(const UnixSocket& socket, const std::string& path) {
  struct stat file {};
  if (socket.file == 0 || ::stat(path.c_str(), &file) != 0) return false;
  // The kernel's number of the device: 20 bits for the minor number.
  const uint32_t device = major(file.st_dev) << 20 | minor(file.st_dev);
  return socket.file == static_cast<uint32_t>(file.st_ino) && socket.device == device;
}

// The path at which the viewer, a directory of /proc, finds the file of a socket that is not where
// its QEMU would find it: after -chroot the path is the host's, after -daemonize a relative path
// begins in a directory that nobody knows. Unset: it is not found.
std::optional<std::string> FindFile(const NodeFacts& facts, const std::string& viewer,
                                    const std::string& path, const UnixSocket& socket) {
  const auto is_it = [&](const std::string& candidate) {
    return IsFileOf(socket, absl::StrCat(viewer, "/root", candidate));
  };
  if (is_it(path)) return path;
  const std::string name = path.substr(path.rfind('/') + 1);
  for (const WatchedPlace& place : facts.watches) {
    // vmeventd connects to other sockets only if it finds a command line that names them.
    if (place.hangs || !place.spec.names_monitors()) continue;
    std::vector<std::string> directories;
    if (!place.spec.has_directories()) {
      directories.push_back(place.spec.directory);
    } else {
      for (const std::string& entry :
           NamesIn(place.spec.root()).value_or(std::vector<std::string>())) {
        if (auto one = place.spec.DirectoryOf(entry)) directories.push_back(*std::move(one));
      }
    }
    for (const std::string& directory : directories) {
      const std::string candidate = absl::StrCat(absl::StripSuffix(directory, "/"), "/", name);
      if (is_it(candidate)) return candidate;
    }
  }
  return std::nullopt;
}

// The path without "." and "..", as a --watch has to be. `owner`: the QEMU's directory of /proc.
std::string WithoutDots(const std::string& owner, const std::string& path, bool own_root) {
  const std::filesystem::path given(path);
  std::string plain = given.lexically_normal();
  const auto is_it = [&](const std::string& candidate) {
    const std::string there = absl::StrCat(owner, "/root", candidate);
    return IsThere(there) && IsSameFile(there, absl::StrCat(owner, "/root", path));
  };
  if (is_it(plain)) return plain;
  // A ".." follows a symbolic link.
  std::error_code error;
  plain = std::filesystem::canonical(given.parent_path(), error) / given.filename();
  return !error && !own_root && is_it(plain) ? plain : path;
}

// Reads the files of the directories in which a monitor may be proposed.
void ReadFiles(NodeFacts* facts) {
  std::set<std::string> directories = {"/run/qemu"};
  for (const WatchedPlace& place : facts->watches) {
    if (!place.hangs && !place.spec.has_directories()) directories.insert(place.spec.directory);
  }
  for (const NodeProcess& process : facts->processes) {
    if (!process.qemu) continue;
    directories.insert(absl::StrCat("/run/qemu-", process.user));
    directories.insert(absl::StrCat("/run/user/", process.uid, "/qemu"));
  }
  for (const std::string& directory : directories) {
    for (const std::string& name : NamesIn(directory).value_or(std::vector<std::string>())) {
      facts->files.insert(absl::StrCat(absl::StripSuffix(directory, "/"), "/", name));
    }
  }
}

// Reads where vmeventd finds the sockets of the QEMU `process`.
void ReadPaths(const NodeFacts& facts, const NodeProcess& process, QemuFacts* qemu) {
  const std::string owner = absl::StrCat("/proc/", process.pid);
  std::string viewer = absl::StrCat("/proc/", facts.daemon_pid);
  if (facts.daemon_pid == 0 || !IsThere(viewer + "/root/")) viewer = "/proc/self";
  if (!IsThere(owner + "/root/")) return;  // not permitted: paths count as they are written
  const std::string directory = ReadLink(owner + "/cwd");
  for (const UnixSocket& socket : facts.sockets) {
    const bool is_own = absl::c_any_of(
        process.sockets, [&socket](const auto& one) { return one.second == socket.inode; });
    if (!socket.listening || !is_own || socket.path.empty()) continue;
    std::string path = socket.path;
    if (path[0] != '/') path = absl::StrCat(directory, "/", path);
    if (Hangs(facts, path)) continue;
    struct stat file {};
    if (::stat(absl::StrCat(owner, "/root", path).c_str(), &file) != 0 ||
        (socket.file != 0 && socket.file != static_cast<uint32_t>(file.st_ino))) {
      const bool is_known = file.st_ino != 0 || errno == ENOENT;
      if (const auto found = FindFile(facts, viewer, path, socket)) {
        if (found != socket.path) qemu->paths[socket.path] = found;
      } else if (is_known) {
        qemu->lost_paths.insert(socket.path);
      }
      continue;
    }
    path = WithoutDots(owner, path, qemu->own_root);
    const std::optional<std::string> seen = PathSeenBy(viewer, owner, path);
    if (seen != socket.path) qemu->paths[socket.path] = seen;
  }
}

// The vmeventd that listens at the address; 0: none is seen.
int64_t FindDaemon(const NodeFacts& facts) {
  std::vector<int64_t> all;
  for (const NodeProcess& process : facts.processes) {
    if (!process.daemon) continue;
    all.push_back(process.pid);
    for (const auto& [descriptor, inode] : process.sockets) {
      const bool listens = absl::c_any_of(facts.sockets, [&, number = inode](const auto& socket) {
        return socket.inode == number && socket.listening &&
               absl::StrCat("unix:", socket.path) == facts.address;
      });
      if (listens) return process.pid;
    }
  }
  return all.size() == 1 ? all[0] : 0;
}

}  // namespace

absl::Status ReadNode(NodeFacts* facts) {
  facts->examined = true;
  facts->is_root = geteuid() == 0;
  facts->has_systemd = IsDirectory("/run/systemd/system");
  for (const v1::WatchedDirectory& directory : facts->info.directories()) {
    auto spec = ParseWatchSpec(absl::StrCat(directory.path(), ":", directory.pattern()));
    if (!spec.ok()) continue;
    WatchedPlace place = {*std::move(spec)};
    if (directory.problem().code() == v1::PROBLEM_CODE_DIRECTORY_HANGS) {
      place.exists = place.hangs = true;
      facts->watches.push_back(std::move(place));
      continue;
    }
    place.exists = IsDirectory(place.spec.root());
    if (const std::string link = ReadLink(place.spec.root()); !place.exists && !link.empty()) {
      const std::filesystem::path root(place.spec.root());
      place.target = (root.parent_path() / link).lexically_normal();
    }
    struct stat status {};
    if (::stat(place.spec.root().c_str(), &status) == 0) {
      place.owner = status.st_uid;
      place.open_to_all = (status.st_mode & S_IWOTH) != 0;
    }
    facts->watches.push_back(std::move(place));
  }
  auto sockets = ReadUnixSockets();
  if (!sockets.ok()) return sockets.status();
  facts->sockets = *std::move(sockets);
  facts->processes = ReadProcesses();
  ReadOtherNamespaces(facts);
  facts->daemon_pid = FindDaemon(*facts);
  for (NodeProcess& process : facts->processes) {
    if (process.qemu) ReadPaths(*facts, process, &*process.qemu);
  }
  ReadFiles(facts);
  return absl::OkStatus();
}

}  // namespace vmeventd::client
