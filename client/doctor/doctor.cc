#include "client/doctor/doctor.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "base/system.h"
#include "nlohmann/json.hpp"
#include "watcher/core/qemu_texts.h"

namespace vmeventd::client {
namespace {

constexpr size_t kMaxArgumentBytes = 1 << 20;

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

// The words behind `name` in its line of a file in /proc; empty: there is no such line.
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

// Reads the rights of a daemon, at `directory` of /proc.
void ReadRights(const std::string& directory, NodeProcess* daemon) {
  constexpr uint64_t kReadsAll = 1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH;
  const std::string status = absl::StrCat(directory, "/status");
  const auto capabilities = WordsOf(status, "CapEff:");
  uint64_t bits = 0;
  const bool reads_all = capabilities.empty() || !absl::SimpleHexAtoi(capabilities[0], &bits) ||
                         (bits & kReadsAll) != 0;
  const std::string inside = absl::StrCat(directory, "/root");  // of its container
  daemon->reads_logs = reads_all && (!IsDirectory(kLibvirtLogs) || !IsDirectory(inside) ||
                                     IsDirectory(absl::StrCat(inside, kLibvirtLogs)));
  // NOLINTNEXTLINE(concurrency-mt-unsafe): this program reads no other group meanwhile.
  const group* const journal = getgrnam("systemd-journal");
  daemon->reads_journal =
      reads_all || journal == nullptr ||
      absl::c_linear_search(WordsOf(status, "Groups:"), absl::StrCat(journal->gr_gid));
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
  process->arguments = SplitCommandLine(*arguments);
  struct stat owner = {};
  if (::stat(directory.c_str(), &owner) == 0) process->user = UserName(owner.st_uid);
  process->network_namespace = ReadLink(absl::StrCat(directory, "/ns/net"));
  if (process->program == kDaemonProgram) ReadRights(directory, process);
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
      // An abstract name begins with a zero byte.
      socket.path = std::string(name.substr(0, name.find('\0')));
    } else if (attribute->rta_type == UNIX_DIAG_PEER) {
      socket.peer = *static_cast<const uint32_t*>(data);
    } else if (attribute->rta_type == UNIX_DIAG_RQLEN && socket.listening) {
      socket.waited_at = static_cast<const unix_diag_rqlen*>(data)->udiag_rqueue > 0;
    }
  }
  return socket;
}

// Reads all of them by the kernel's sock_diag, connecting to none.
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
  request.body.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN;
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

// By Place: the text before its line, and its name for programs.
constexpr struct {
  const char* before;
  const char* name;
} kPlaces[] = {{"paste:", "shell"},
               {"in vmeventd's configuration:", "vmeventd.conf"},
               {"arguments of QEMU:", "qemu"}};

// Subjects that people read; programs get all.
constexpr size_t kMaxNamed = 40;

// "39: web1 (pid 1), web2 (pid 2), ...".
std::string Subjects(const Finding& finding) {
  const size_t count = finding.subjects.size();
  const auto named = absl::MakeSpan(finding.subjects).subspan(0, kMaxNamed);
  return absl::StrCat(
      count == 1 ? "" : absl::StrCat(count, ": "), EscapeForTerminal(absl::StrJoin(named, ", ")),
      count > kMaxNamed ? absl::StrCat(" and ", count - kMaxNamed, " more (-o name lists them)")
                        : "");
}

}  // namespace

absl::Status ReadNode(NodeFacts* facts) {
  facts->examined = true;
  facts->is_root = geteuid() == 0;
  facts->has_systemd = IsDirectory("/run/systemd/system");
  for (const v1::WatchedDirectory& directory : facts->info.directories()) {
    auto spec = ParseWatchSpec(absl::StrCat(directory.path(), ":", directory.pattern()));
    if (!spec.ok()) continue;
    const bool exists = IsDirectory(spec->root());
    facts->watches.push_back({*std::move(spec), exists});
  }
  auto sockets = ReadUnixSockets();
  if (!sockets.ok()) return sockets.status();
  facts->sockets = *std::move(sockets);
  facts->processes = ReadProcesses();
  facts->network_namespace = ReadLink("/proc/self/ns/net");
  return absl::OkStatus();
}

std::string DiagnosisText(const Diagnosis& diagnosis, size_t width, bool color) {
  const Painter painter(color);
  std::string text;
  const auto add_lines = [&](size_t indent, absl::string_view words, Color color_of_lines) {
    for (const std::string& line : WrapText(words, width - indent)) {
      absl::StrAppend(&text, std::string(indent, ' '), painter.Paint(line, color_of_lines), "\n");
    }
  };
  for (const Finding& finding : diagnosis.findings) {
    add_lines(0, Subjects(finding), Color::kBold);
    text.pop_back();
    absl::StrAppend(&text, "  ", painter.Paint(finding.kind, Color::kYellow), "\n");
    add_lines(4, EscapeForTerminal(finding.what), Color::kNone);
    for (const absl::string_view line : absl::StrSplit(finding.line, '\n')) {
      absl::StrAppend(
          &text, "    ",
          painter.Paint(kPlaces[static_cast<size_t>(finding.place)].before, Color::kDim), " ",
          EscapeForTerminal(line), "\n");
    }
    text += '\n';
  }
  std::string summary = absl::StrCat(diagnosis.asked, ". ");
  const auto add = [&summary](size_t count, const char* what) {
    if (count > 0) absl::StrAppend(&summary, ", ", count, what);
  };
  if (diagnosis.qemus > 0) {
    absl::StrAppend(&summary, Count(diagnosis.qemus, "QEMU"), " here: ", diagnosis.followed,
                    " followed");
    add(diagnosis.followed_elsewhere, " followed by another vmeventd");
    add(diagnosis.usable, " that can be followed");
    add(diagnosis.qemus - diagnosis.followed - diagnosis.followed_elsewhere - diagnosis.usable,
        " not followed");
    summary += ". ";
  } else if (diagnosis.examined) {
    summary += "No QEMU runs here. ";
  }
  absl::StrAppend(&summary,
                  diagnosis.findings.empty() ? "No" : absl::StrCat(diagnosis.findings.size()),
                  diagnosis.findings.size() == 1 ? " finding." : " findings.");
  add_lines(0, EscapeForTerminal(summary), Color::kNone);
  return text;
}

std::string DiagnosisLines(const Diagnosis& diagnosis, Form form) {
  std::string text;
  for (const Finding& finding : diagnosis.findings) {
    if (form == Form::kName) {
      for (const std::string& subject : finding.subjects) {
        absl::StrAppend(&text, EscapeForTerminal(subject), "\n");
      }
      continue;
    }
    nlohmann::ordered_json object;
    object["finding"] = finding.kind;
    object["subjects"] = finding.subjects;
    object["what"] = finding.what;
    object["place"] = kPlaces[static_cast<size_t>(finding.place)].name;
    object["line"] = finding.line;
    absl::StrAppend(&text, JsonText(object), "\n");
  }
  return text;
}

}  // namespace vmeventd::client
