#include "client/doctor/doctor.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <sstream>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/output/terminal_text.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {
namespace {

bool IsDirectory(const std::string& path) {
  struct stat info = {};
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

// The listening sockets of QEMUs at which somebody waits.
std::set<uint32_t> WaitedAt(const NodeFacts& facts) {
  std::set<uint32_t> inodes;
  for (const UnixSocket& socket : facts.sockets) {
    if (socket.listening && socket.pending > 0) inodes.insert(socket.inode);
  }
  return inodes;
}

const char* PlaceText(Place place) {
  switch (place) {
    case Place::kConfiguration:
      return "in /etc/vmeventd/vmeventd.conf:";
    case Place::kQemu:
      return "arguments of QEMU:";
    case Place::kShell:
      break;
  }
  return "paste:";
}

const char* PlaceName(Place place) {
  switch (place) {
    case Place::kConfiguration:
      return "vmeventd.conf";
    case Place::kQemu:
      return "qemu";
    case Place::kShell:
      break;
  }
  return "shell";
}

// Subjects that people read; programs get all.
constexpr size_t kMostNamed = 40;

// "39: web1 (pid 1), web2 (pid 2), ...".
std::string Subjects(const Finding& finding) {
  const size_t count = finding.subjects.size();
  const auto begin = finding.subjects.begin();
  const auto end = begin + static_cast<ptrdiff_t>(std::min(count, kMostNamed));
  return absl::StrCat(count == 1 ? "" : absl::StrCat(count, ": "),
                      EscapeForTerminal(absl::StrJoin(begin, end, ", ")),
                      count > kMostNamed
                          ? absl::StrCat(" and ", count - kMostNamed, " more (-o name lists them)")
                          : "");
}

const char* Plural(size_t count) { return count == 1 ? "" : "s"; }

}  // namespace

absl::StatusOr<std::vector<WatchSpec>> WatchesOfConfiguration(const std::string& content) {
  std::vector<std::string> texts;
  bool has_libvirt = false;
  std::istringstream input(content);
  try {
    for (const CLI::ConfigItem& item : CLI::ConfigTOML().from_config(input)) {
      if (item.name == "watch") texts.insert(texts.end(), item.inputs.begin(), item.inputs.end());
      has_libvirt = has_libvirt || item.name == "libvirt";
    }
  } catch (const CLI::Error& error) {
    return absl::InvalidArgumentError(error.what());
  }
  if (texts.empty() && !has_libvirt) texts.emplace_back(kGanetiControlDirectory);
  std::vector<WatchSpec> specs;
  for (const std::string& text : texts) {
    auto spec = ParseWatchSpec(text);
    if (!spec.ok()) return spec.status();
    specs.push_back(*std::move(spec));
  }
  return specs;
}

absl::StatusOr<NodeFacts> ReadNode(DaemonAnswer daemon, const std::vector<WatchSpec>& configured,
                                   const std::function<void(absl::Duration)>& wait) {
  NodeFacts facts;
  facts.is_root = geteuid() == 0;
  facts.has_ganeti = IsDirectory("/var/lib/ganeti");
  facts.has_systemd = IsDirectory("/run/systemd/system");
  std::vector<WatchSpec> watches = configured;
  if (daemon.reachable()) {
    watches.clear();
    for (const v1::WatchedDirectory& directory : daemon.info.directories()) {
      auto spec = ParseWatchSpec(absl::StrCat(directory.path(), ":", directory.pattern()));
      if (spec.ok()) watches.push_back(*std::move(spec));
    }
  }
  facts.daemon = std::move(daemon);
  for (WatchSpec& spec : watches) {
    const bool exists = IsDirectory(spec.directory);
    facts.watches.push_back({std::move(spec), exists});
  }
  auto sockets = ReadUnixSockets();
  if (!sockets.ok()) return sockets.status();
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
    absl::StrAppend(&text, "    ", painter.Paint(PlaceText(finding.place), Color::kDim), " ",
                    EscapeForTerminal(finding.line), "\n\n");
  }
  const size_t found = diagnosis.findings.size();
  absl::StrAppend(&text, diagnosis.qemus, " QEMU process", diagnosis.qemus == 1 ? "" : "es", ", ",
                  diagnosis.usable, " with a usable monitor; ", found, " finding", Plural(found),
                  "\n");
  return text;
}

std::vector<std::string> DiagnosisJson(const Diagnosis& diagnosis) {
  std::vector<std::string> objects;
  for (const Finding& finding : diagnosis.findings) {
    nlohmann::ordered_json object;
    object["finding"] = finding.kind;
    object["subjects"] = finding.subjects;
    object["what"] = finding.what;
    object["place"] = PlaceName(finding.place);
    object["line"] = finding.line;
    // Names and paths may hold any bytes.
    objects.push_back(
        object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
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
