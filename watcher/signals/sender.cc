#include "watcher/signals/sender.h"

#include <unistd.h>

#include <array>
#include <climits>
#include <ctime>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/system.h"
#include "watcher/core/names.h"

namespace vmeventd {
namespace {

constexpr size_t kMaxCgroupBytes = 512;
constexpr int kMaxAncestors = 64;
constexpr int64_t kInit = 1;
constexpr int64_t kKernelThreads = 2;  // kthreadd: the parent of all others
// A number comes round to another process later than that, unless somebody chooses it.
constexpr absl::Duration kNumberReturns = absl::Milliseconds(50);

// Returns whether `uid` is that of the user that `target` runs as, who is not root, or may be.
bool MayBeUserOf(const ProcessOrigin& target, uint32_t uid) {
  constexpr uint32_t kRoot = 0;
  return uid != kRoot && target.uid.value_or(uid) == uid;
}

}  // namespace

absl::string_view ValueInLine(absl::string_view text, absl::string_view name) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::ConsumePrefix(&line, name)) return absl::StripAsciiWhitespace(line);
  }
  return "";
}

bool IsOfAnother(const SignalRecord& record) {
  if (!record.sender_mark.has_value() || !record.target_mark.has_value()) return false;
  const ProcessMark& sender = *record.sender_mark;
  const ProcessMark& qemu = *record.target_mark;
  constexpr uint32_t kRoot = 0;
  if (qemu.uid != kRoot && sender.uid != qemu.uid) return true;
  return sender.uid == kRoot && sender.cgroup != qemu.cgroup;
}

absl::Duration StartOf(uint64_t start_ticks) {
  static const auto kTicksPerSecond = static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
  return absl::Seconds(static_cast<int64_t>(start_ticks / kTicksPerSecond)) +
         absl::Seconds(1) * static_cast<int64_t>(start_ticks % kTicksPerSecond) /
             static_cast<int64_t>(kTicksPerSecond);
}

absl::Duration SinceBoot() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return absl::DurationFromTimespec(now);
}

absl::Time WallTimeOf(absl::Duration since_boot) {
  // This thread may be held up between two readings: the shortest span has the least error.
  absl::Duration shortest = absl::InfiniteDuration();
  absl::Duration offset;
  for (int i = 0; i < 3; ++i) {
    const absl::Duration before = SinceBoot();
    const absl::Time wall = absl::Now();
    const absl::Duration span = SinceBoot() - before;
    if (span >= shortest) continue;
    shortest = span;
    offset = wall - absl::UnixEpoch() - before - span / 2;
  }
  return absl::UnixEpoch() + offset + since_boot;
}

std::string ProcessReader::Read(int64_t pid, absl::string_view file) const {
  return ReadSmallFile(absl::StrCat(root_, "/proc/", pid, "/", file)).value_or("");
}

std::optional<ProcessReader::Stat> ProcessReader::ReadStat(int64_t pid) const {
  const std::string text = Read(pid, "stat");
  // The command name in parentheses may hold anything.
  const size_t end = text.rfind(") ");
  if (end == std::string::npos) return std::nullopt;
  const std::vector<absl::string_view> fields =
      absl::StrSplit(absl::string_view(text).substr(end + 2), ' ');
  // Fields 3, 4, 6 and 22; the first one here is field 3.
  constexpr size_t kState = 0;
  constexpr size_t kParent = 1;
  constexpr size_t kSession = 3;
  constexpr size_t kStart = 19;
  Stat stat;
  if (fields.size() <= kStart || !absl::SimpleAtoi(fields[kParent], &stat.parent) ||
      !absl::SimpleAtoi(fields[kSession], &stat.session) ||
      !absl::SimpleAtoi(fields[kStart], &stat.start_ticks)) {
    return std::nullopt;
  }
  stat.ended = fields[kState] == "Z" || fields[kState] == "X";
  stat.leads_session = stat.session == pid;
  return stat;
}

std::optional<uint32_t> ProcessReader::ReadUid(int64_t pid) const {
  const std::string status = Read(pid, "status");
  const absl::string_view real =
      *absl::StrSplit(ValueInLine(status, "Uid:"), absl::ByAnyChar("\t ")).begin();
  uint32_t uid = 0;
  return absl::SimpleAtoi(real, &uid) ? std::optional(uid) : std::nullopt;
}

std::string ProcessReader::ReadCgroup(int64_t pid) const {
  const std::string text = Read(pid, "cgroup");
  // Path in v2, or in systemd's own hierarchy where v2 has no part in it.
  std::string unified(ValueInLine(text, "0::"));
  if (unified.size() > 1) return unified;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() == 3 && parts[1] == "name=systemd" && parts[2].size() > 1) {
      return std::string(parts[2]);
    }
  }
  return unified;
}

std::string ProcessReader::ReadExecutable(int64_t pid) const {
  std::array<char, PATH_MAX> target;
  const ssize_t size =
      readlink(absl::StrCat(root_, "/proc/", pid, "/exe").c_str(), target.data(), target.size());
  return size > 0 ? std::string(target.data(), static_cast<size_t>(size)) : "";
}

std::optional<bool> ProcessReader::LeadsNamespace(int64_t pid) const {
  const std::string status = Read(pid, "status");
  if (status.empty()) return std::nullopt;
  // Its number in each namespace, this one's first.
  return absl::EndsWith(ValueInLine(status, "NSpid:"), "\t1");
}

ProcessOrigin ProcessReader::OriginOf(int64_t pid, uint64_t start_ticks) const {
  return {.pid = pid, .start_ticks = start_ticks, .uid = ReadUid(pid), .cgroup = ReadCgroup(pid)};
}

bool ProcessReader::MayDescendFrom(const ProcessOrigin& target, const Stat& stat, uint32_t uid,
                                   absl::string_view cgroup) const {
  // A process that was left by its parent has init as its parent, or another process that takes
  // such on: it is in another session than that, which it does not lead. In QEMU's cgroup and of
  // its user it may be QEMU's then, unless something on the way up is older than QEMU, or is what
  // systemd began a service with, as of a manager that was restarted while its QEMUs lived on in
  // its service.
  const bool in_service = absl::StrContains(absl::StrCat(cgroup, "/"), ".service/");
  const auto is_others = [&](const Stat& each) {
    return each.start_ticks < target.start_ticks || (in_service && each.leads_session);
  };
  bool of_others = is_others(stat);
  Stat at = stat;
  for (int step = 0; step < kMaxAncestors && at.parent > kInit; ++step) {
    if (at.parent == target.pid) return true;
    const std::optional<Stat> parent = ReadStat(at.parent);
    const bool left = !at.leads_session && parent.has_value() && parent->session != at.session;
    if (!parent.has_value() || left) break;
    at = *parent;
    of_others = of_others || is_others(at);
  }
  return !of_others && target.uid == uid && target.cgroup == cgroup;
}

SignalSender ProcessReader::RecordedSenderOf(const SignalRecord& record,
                                             const ProcessOrigin& target) {
  SignalSender sender{.signal = record.signal, .by_kernel = record.by_kernel};
  if (record.by_kernel) return sender;
  sender.pid = record.sender;
  sender.of_qemu = record.sender == target.pid;
  if (record.sender_mark.has_value()) {
    sender.uid = record.sender_mark->uid;
    sender.command = OneLine(record.sender_comm);
    sender.of_qemus_user = MayBeUserOf(target, *sender.uid);
  }
  return sender;
}

ProcessOrigin ProcessReader::RecordedOrigin(const SignalRecord& record,
                                            ProcessOrigin target) const {
  if (!record.sender_mark.has_value() || !record.target_mark.has_value()) return target;
  target.uid = record.target_mark->uid;
  const bool together = record.sender_mark->cgroup == record.target_mark->cgroup;
  target.cgroup = together ? ReadCgroup(record.sender) : "";
  return target;
}

SignalSender ProcessReader::SenderOf(const SignalRecord& record, const ProcessOrigin& target,
                                     absl::Duration now) const {
  SignalSender sender = RecordedSenderOf(record, target);
  if (record.by_kernel) return sender;
  const std::optional<Stat> stat = ReadStat(sender.pid);
  if (!stat.has_value() || StartOf(stat->start_ticks) > record.time) return sender;
  if (sender.pid == kKernelThreads || stat->parent == kKernelThreads) {
    return {.signal = record.signal, .by_kernel = true};
  }
  const std::string command(absl::StripSuffix(Read(sender.pid, "comm"), "\n"));
  const std::string executable = ReadExecutable(sender.pid);
  std::string cgroup = ReadCgroup(sender.pid);
  const std::optional<uint32_t> uid = ReadUid(sender.pid);
  // It may have gone meanwhile, and its number to another one.
  const std::optional<Stat> after = ReadStat(sender.pid);
  if (!uid.has_value() || !after.has_value() || after->start_ticks != stat->start_ticks) {
    return sender;
  }
  // A hierarchy of v1 shows one that has ended in its root.
  if (after->ended && cgroup == "/") cgroup.clear();
  sender.of_qemu = sender.of_qemu || MayDescendFrom(target, *stat, *uid, cgroup);
  sender.of_qemus_user = MayBeUserOf(target, *uid);
  // A process that began in the tick of the signal may have begun after it.
  const bool is_it =
      StartOf(stat->start_ticks + 1) <= record.time || now - record.time < kNumberReturns;
  if (!is_it) return sender;
  sender.uid = uid;
  sender.command = OneLine(command);
  sender.executable = OneLine(executable);
  sender.cgroup = std::string(Utf8Prefix(OneLine(cgroup), kMaxCgroupBytes));
  return sender;
}

}  // namespace vmeventd
