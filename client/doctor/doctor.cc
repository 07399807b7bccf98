#include "client/doctor/doctor.h"

#include <dirent.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <sstream>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/system.h"
#include "client/output/formatter.h"
#include "nlohmann/json.hpp"
#include "watcher/core/qemu_texts.h"

namespace vmeventd::client {
namespace {

constexpr size_t kMaxArgumentBytes = 1 << 20;

// The names in a directory; unset: it cannot be read.
std::optional<std::vector<std::string>> NamesIn(const std::string& directory) {
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir(directory.c_str()), closedir);
  if (entries == nullptr) return std::nullopt;
  std::vector<std::string> names;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this function's own.
  while (const dirent* entry = readdir(entries.get())) {
    names.emplace_back(static_cast<const char*>(entry->d_name));
  }
  return names;
}

std::string ReadLink(const std::string& path) {
  std::array<char, 256> target;
  const ssize_t size = readlink(path.c_str(), target.data(), target.size());
  return size < 0 ? "" : std::string(target.data(), static_cast<size_t>(size));
}

// The program and the state of "PID (PROGRAM) STATE ...": the program's name may have ") " in it.
bool ParseStat(absl::string_view stat, NodeProcess* process) {
  const size_t begin = stat.find('(');
  const size_t end = stat.rfind(')');
  if (begin == absl::string_view::npos || end == absl::string_view::npos ||
      end + 2 >= stat.size()) {
    return false;
  }
  process->program = std::string(stat.substr(begin + 1, end - begin - 1));
  process->state = stat[end + 2];
  return true;
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

bool IsDirectory(const std::string& path) {
  struct stat info = {};
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

// Reads the rights of a daemon, at `directory` of /proc.
void ReadRights(const std::string& directory, NodeProcess* daemon) {
  constexpr uint64_t kReadsAll = 1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH;
  const std::string status = absl::StrCat(directory, "/status");
  const auto limit = WordsOf(absl::StrCat(directory, "/limits"), "Max open files");
  if (!limit.empty() && !absl::SimpleAtoi(limit[0], &daemon->descriptor_limit)) {
    daemon->descriptor_limit = UINT64_MAX;  // "unlimited"
  }
  const auto capabilities = WordsOf(status, "CapEff:");
  uint64_t bits = 0;
  daemon->reads_all_files = capabilities.empty() || !absl::SimpleHexAtoi(capabilities[0], &bits) ||
                            (bits & kReadsAll) != 0;
  daemon->groups = WordsOf(status, "Groups:");
  const std::string inside = absl::StrCat(directory, "/root");
  daemon->misses_logs = IsDirectory(kLibvirtLogs) && IsDirectory(inside) &&
                        !IsDirectory(absl::StrCat(inside, kLibvirtLogs));
}

// False: it has ended, or is no process with a program.
bool ReadProcess(int64_t pid, NodeProcess* process) {
  const std::string directory = absl::StrCat("/proc/", pid);
  const auto stat = ReadSmallFile(absl::StrCat(directory, "/stat"));
  const auto arguments = ReadSmallFile(absl::StrCat(directory, "/cmdline"), kMaxArgumentBytes);
  if (!stat.ok() || !arguments.ok() || arguments->empty()) return false;
  process->pid = pid;
  if (!ParseStat(*stat, process)) return false;
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
  std::set<int64_t> pids;
  for (const std::string& name : NamesIn("/proc").value_or(std::vector<std::string>())) {
    int64_t pid = 0;
    if (absl::SimpleAtoi(name, &pid)) pids.insert(pid);
  }
  std::vector<NodeProcess> processes;
  for (const int64_t pid : pids) {
    NodeProcess process;
    if (ReadProcess(pid, &process)) processes.push_back(std::move(process));
  }
  return processes;
}

// The sockets that a --watch takes.
std::map<UnixSocketFile, std::string> SocketsOf(const WatchSpec& spec) {
  const std::vector<std::string> none;
  std::vector<std::string> directories;
  if (!spec.has_directories()) directories.push_back(spec.directory);
  for (const std::string& name :
       spec.has_directories() ? NamesIn(spec.root()).value_or(none) : none) {
    if (std::optional<std::string> found = spec.DirectoryOf(name)) {
      directories.push_back(*std::move(found));
    }
  }
  std::map<UnixSocketFile, std::string> sockets;
  for (const std::string& directory : directories) {
    for (const std::string& name : NamesIn(directory).value_or(none)) {
      std::string path = absl::StrCat(directory, "/", name);
      struct stat info = {};
      if (spec.VmName(path).has_value() && lstat(path.c_str(), &info) == 0 &&
          S_ISSOCK(info.st_mode)) {
        sockets[{info.st_dev, static_cast<uint32_t>(info.st_ino)}] = std::move(path);
      }
    }
  }
  return sockets;
}

// The listening sockets of QEMUs at which a client waits.
std::set<uint32_t> WaitedAt(const NodeFacts& facts) {
  std::set<uint32_t> inodes;
  for (const UnixSocket& socket : facts.sockets) {
    if (socket.listening && socket.pending > 0) inodes.insert(socket.inode);
  }
  return inodes;
}

// By Place: the text before its line, and its name for programs.
constexpr struct {
  const char* before;
  const char* name;
} kPlaces[] = {{"paste:", "shell"},
               {"in /etc/vmeventd/vmeventd.conf:", "vmeventd.conf"},
               {"arguments of QEMU:", "qemu"}};

// Subjects that people read; programs get all.
constexpr size_t kMaxNamed = 40;

// "39: web1 (pid 1), web2 (pid 2), ...".
std::string Subjects(const Finding& finding) {
  const size_t count = finding.subjects.size();
  const auto begin = finding.subjects.begin();
  const auto end = begin + static_cast<ptrdiff_t>(std::min(count, kMaxNamed));
  return absl::StrCat(count == 1 ? "" : absl::StrCat(count, ": "),
                      EscapeForTerminal(absl::StrJoin(begin, end, ", ")),
                      count > kMaxNamed
                          ? absl::StrCat(" and ", count - kMaxNamed, " more (-o name lists them)")
                          : "");
}

}  // namespace

absl::StatusOr<ConfiguredSources> SourcesOfConfiguration(const std::string& content) {
  std::vector<std::string> texts;
  ConfiguredSources sources;
  std::istringstream input(content);
  try {
    for (const CLI::ConfigItem& item : CLI::ConfigTOML().from_config(input)) {
      if (item.name == "watch") texts.insert(texts.end(), item.inputs.begin(), item.inputs.end());
      sources.libvirt = sources.libvirt || item.name == "libvirt";
    }
  } catch (const CLI::Error& error) {
    return absl::InvalidArgumentError(error.what());
  }
  if (texts.empty() && !sources.libvirt) return ConfiguredSources{{GanetiIfThere()}, true};
  for (const std::string& text : texts) {
    auto spec = ParseWatchSpec(text);
    if (!spec.ok()) return spec.status();
    sources.watches.push_back(*std::move(spec));
  }
  return sources;
}

absl::StatusOr<NodeFacts> ReadNode(DaemonAnswer daemon, const ConfiguredSources& configured,
                                   const std::function<void(absl::Duration)>& wait) {
  NodeFacts facts;
  facts.is_root = geteuid() == 0;
  facts.has_systemd = IsDirectory("/run/systemd/system");
  // NOLINTNEXTLINE(concurrency-mt-unsafe): this program reads no other group meanwhile.
  if (const group* const found = getgrnam("systemd-journal"); found != nullptr) {
    facts.journal_group = absl::StrCat(found->gr_gid);
  }
  std::vector<WatchSpec> watches = configured.watches;
  facts.follows_libvirt = configured.libvirt;
  if (daemon.reachable()) {
    watches.clear();
    facts.follows_libvirt = !daemon.info.libvirt_connections().empty();
    for (const v1::WatchedDirectory& directory : daemon.info.directories()) {
      auto spec = ParseWatchSpec(absl::StrCat(directory.path(), ":", directory.pattern()));
      if (spec.ok()) watches.push_back(*std::move(spec));
    }
  }
  facts.daemon = std::move(daemon);
  for (WatchSpec& spec : watches) {
    const bool exists = IsDirectory(spec.root());
    std::map<UnixSocketFile, std::string> sockets = SocketsOf(spec);
    facts.watches.push_back({std::move(spec), exists, std::move(sockets)});
  }
  auto sockets = ReadUnixSockets();
  if (!sockets.ok()) {
    facts.no_connections = std::string(sockets.status().message());
    sockets = ReadUnixSocketsOfProc();
    if (!sockets.ok()) return sockets.status();
  }
  facts.sockets = *std::move(sockets);
  facts.waited_at = WaitedAt(facts);
  if (!facts.waited_at.empty()) {
    wait(kSecondLook);
    sockets = ReadUnixSockets();
    if (!sockets.ok()) return sockets.status();
    facts.sockets = *std::move(sockets);
    const std::set<uint32_t> first = std::exchange(facts.waited_at, WaitedAt(facts));
    std::erase_if(facts.waited_at, [&first](uint32_t inode) { return !first.contains(inode); });
  }
  facts.processes = ReadProcesses();
  for (const NodeProcess& process : facts.processes) {
    if (process.pid == getpid()) facts.network_namespace = process.network_namespace;
  }
  return facts;
}

std::string DiagnosisText(const Diagnosis& diagnosis, size_t width, bool color) {
  const Painter painter(color);
  std::string text;
  for (const Finding& finding : diagnosis.findings) {
    for (const std::string& line : WrapText(Subjects(finding), width)) {
      absl::StrAppend(&text, painter.Paint(line, Color::kBold), "\n");
    }
    text.pop_back();
    absl::StrAppend(&text, "  ", painter.Paint(finding.kind, Color::kYellow), "\n");
    for (const std::string& line : WrapText(EscapeForTerminal(finding.what), width - 4)) {
      absl::StrAppend(&text, "    ", line, "\n");
    }
    absl::StrAppend(&text, "    ",
                    painter.Paint(kPlaces[static_cast<size_t>(finding.place)].before, Color::kDim),
                    " ", EscapeForTerminal(finding.line), "\n\n");
  }
  std::string summary = absl::StrCat(diagnosis.asked, ". ");
  const auto add = [&summary](size_t count, const char* what) {
    if (count > 0) absl::StrAppend(&summary, ", ", count, what);
  };
  if (!diagnosis.is_here) {
    summary += "Its QEMUs were not examined: run `vmevents doctor` there. ";
  } else if (diagnosis.qemus == 0) {
    summary += "No QEMU runs here. ";
  } else {
    absl::StrAppend(&summary, Count(diagnosis.qemus, "QEMU"), " here: ", diagnosis.followed,
                    " followed");
    size_t elsewhere = 0;
    for (const auto& [pid, count] : diagnosis.followed_by) {
      absl::StrAppend(&summary, ", ", count, " followed by vmeventd (pid ", pid, ")");
      elsewhere += count;
    }
    add(diagnosis.usable - diagnosis.followed, " that can be followed");
    add(diagnosis.qemus - diagnosis.usable - diagnosis.unseen - elsewhere, " not followed");
    add(diagnosis.unseen, " of which only root sees who holds the monitor");
    summary += ". ";
  }
  absl::StrAppend(&summary,
                  diagnosis.findings.empty() ? "No" : absl::StrCat(diagnosis.findings.size()),
                  diagnosis.findings.size() == 1 ? " finding." : " findings.");
  for (const std::string& line : WrapText(EscapeForTerminal(summary), width)) {
    absl::StrAppend(&text, line, "\n");
  }
  return text;
}

std::string DiagnosisJson(const Diagnosis& diagnosis) {
  std::string text;
  for (const Finding& finding : diagnosis.findings) {
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

std::string DiagnosisNames(const Diagnosis& diagnosis) {
  std::string text;
  for (const Finding& finding : diagnosis.findings) {
    for (const std::string& subject : finding.subjects) {
      absl::StrAppend(&text, EscapeForTerminal(subject), "\n");
    }
  }
  return text;
}

}  // namespace vmeventd::client
