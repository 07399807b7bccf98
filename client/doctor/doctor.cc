#include "client/doctor/doctor.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <limits>
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
#include "watcher/core/qemu_arguments.h"

namespace vmeventd::client {
namespace {

constexpr size_t kMaxArgumentBytes = 1 << 20;

// Calls `take` with each entry whose name is a number. False: the directory cannot be read.
bool ForEachNumber(const std::string& directory, const std::function<void(int64_t)>& take) {
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir(directory.c_str()), closedir);
  if (entries == nullptr) return false;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this function's own.
  while (const dirent* entry = readdir(entries.get())) {
    int64_t number = 0;
    if (absl::SimpleAtoi(static_cast<const char*>(entry->d_name), &number)) take(number);
  }
  return true;
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

uint64_t DescriptorLimit(absl::string_view limits) {
  for (absl::string_view line : absl::StrSplit(limits, '\n')) {
    if (!absl::ConsumePrefix(&line, "Max open files")) continue;
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipWhitespace());
    uint64_t limit = 0;
    if (!words.empty() && absl::SimpleAtoi(words[0], &limit)) return limit;
    return std::numeric_limits<uint64_t>::max();  // "unlimited"
  }
  return 0;
}

void ReadSockets(const std::string& directory, NodeProcess* process) {
  process->sees_descriptors = ForEachNumber(directory, [&](int64_t number) {
    const std::string target = ReadLink(absl::StrCat(directory, "/", number));
    absl::string_view inode = target;
    uint32_t value = 0;
    if (absl::ConsumePrefix(&inode, "socket:[") && absl::ConsumeSuffix(&inode, "]") &&
        absl::SimpleAtoi(inode, &value)) {
      process->sockets[static_cast<int>(number)] = value;
    }
  });
}

// False: it has ended, or is no process with a program.
bool ReadProcess(const std::string& proc, int64_t pid, NodeProcess* process) {
  const std::string directory = absl::StrCat(proc, "/", pid);
  const auto stat = ReadSmallFile(absl::StrCat(directory, "/stat"));
  const auto arguments = ReadSmallFile(absl::StrCat(directory, "/cmdline"), kMaxArgumentBytes);
  if (!stat.ok() || !arguments.ok() || arguments->empty()) return false;
  process->pid = pid;
  if (!ParseStat(*stat, process)) return false;
  process->arguments = SplitCommandLine(*arguments);
  struct stat owner = {};
  if (::stat(directory.c_str(), &owner) == 0) process->user = UserName(owner.st_uid);
  process->network_namespace = ReadLink(absl::StrCat(directory, "/ns/net"));
  const auto limits = ReadSmallFile(absl::StrCat(directory, "/limits"));
  if (limits.ok()) process->descriptor_limit = DescriptorLimit(*limits);
  ReadSockets(absl::StrCat(directory, "/fd"), process);
  return true;
}

// All visible processes, by pid, except kernel threads and zombies. A process that ends meanwhile
// is left out.
std::vector<NodeProcess> ReadProcesses() {
  const std::string proc = "/proc";
  std::vector<int64_t> pids;
  ForEachNumber(proc, [&pids](int64_t pid) { pids.push_back(pid); });
  std::sort(pids.begin(), pids.end());
  std::vector<NodeProcess> processes;
  for (const int64_t pid : pids) {
    NodeProcess process;
    if (ReadProcess(proc, pid, &process)) processes.push_back(std::move(process));
  }
  return processes;
}

bool IsDirectory(const std::string& path) {
  struct stat info = {};
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

// The names in a directory; none of one that cannot be read.
std::vector<std::string> NamesIn(const std::string& directory) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir(directory.c_str()), closedir);
  if (entries == nullptr) return names;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this function's own.
  while (const dirent* entry = readdir(entries.get())) {
    names.emplace_back(static_cast<const char*>(entry->d_name));
  }
  return names;
}

// The sockets that a --watch takes.
std::map<UnixSocketFile, std::string> SocketsOf(const WatchSpec& spec) {
  std::vector<std::string> directories;
  if (spec.has_directories()) {
    for (const std::string& name : NamesIn(spec.root())) {
      if (std::optional<std::string> found = spec.DirectoryOf(name)) {
        directories.push_back(*std::move(found));
      }
    }
  } else {
    directories.push_back(spec.directory);
  }
  std::map<UnixSocketFile, std::string> sockets;
  for (const std::string& directory : directories) {
    for (const std::string& name : NamesIn(directory)) {
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

// Texts of a Place: what stands before its line, and its name for programs.
struct PlaceTexts {
  const char* before;
  const char* name;
};
const PlaceTexts& TextsOf(Place place) {
  static constexpr PlaceTexts kTexts[] = {{"paste:", "shell"},
                                          {"in /etc/vmeventd/vmeventd.conf:", "vmeventd.conf"},
                                          {"arguments of QEMU:", "qemu"}};
  return kTexts[static_cast<size_t>(place)];
}

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
    absl::StrAppend(&text, "    ", painter.Paint(TextsOf(finding.place).before, Color::kDim), " ",
                    EscapeForTerminal(finding.line), "\n\n");
  }
  const size_t found = diagnosis.findings.size();
  std::string summary = absl::StrCat(diagnosis.asked, ". ");
  if (diagnosis.is_here) {
    absl::StrAppend(&summary, diagnosis.qemus, diagnosis.qemus == 1 ? " QEMU" : " QEMUs",
                    " here: vmeventd follows ", diagnosis.followed, ", may follow ",
                    diagnosis.usable - diagnosis.followed, " more, cannot follow ",
                    diagnosis.qemus - diagnosis.usable, ". ");
  } else {
    absl::StrAppend(&summary, "Its QEMUs were not looked at: run `vmevents doctor` there. ");
  }
  absl::StrAppend(&summary, found, found == 1 ? " finding." : " findings.");
  for (const std::string& line : WrapText(EscapeForTerminal(summary), width)) {
    absl::StrAppend(&text, line, "\n");
  }
  return text;
}

std::vector<std::string> DiagnosisJson(const Diagnosis& diagnosis) {
  std::vector<std::string> objects;
  for (const Finding& finding : diagnosis.findings) {
    nlohmann::ordered_json object;
    object["finding"] = finding.kind;
    object["subjects"] = finding.subjects;
    object["what"] = finding.what;
    object["place"] = TextsOf(finding.place).name;
    object["line"] = finding.line;
    objects.push_back(JsonText(object));
  }
  return objects;
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
