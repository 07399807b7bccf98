#include "watcher/signals/process_reader.h"

#include <unistd.h>

#include <array>
#include <climits>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/small_file.h"
#include "watcher/core/foreign_text.h"
#include "watcher/core/proc_texts.h"
#include "watcher/signals/boot_clock.h"
#include "watcher/signals/process_stat.h"

namespace vmeventd {
namespace {

constexpr size_t kMaxCgroupBytes = 512;
constexpr size_t kMaxLoginBytes = 256;
constexpr int kMaxAncestors = 64;
constexpr int64_t kInit = 1;
constexpr int64_t kKernelThreads = 2;  // kthreadd: the parent of all others
// A pid is reused only after more than this time, unless somebody chooses the pid.
constexpr absl::Duration kNumberReturns = absl::Milliseconds(50);

// Returns whether `uid` is the user of `target`, or may be because that is not known. False for
// root.
bool MayBeUserOf(const ProcessOrigin& target, uint32_t uid) {
  constexpr uint32_t kRoot = 0;
  return uid != kRoot && target.uid.value_or(uid) == uid;
}

}  // namespace

bool IsOfAnother(const SignalRecord& record) {
  if (!record.sender_mark.has_value() || !record.target_mark.has_value()) return false;
  const ProcessMark& sender = *record.sender_mark;
  const ProcessMark& qemu = *record.target_mark;
  constexpr uint32_t kRoot = 0;
  if (qemu.uid != kRoot && sender.uid != qemu.uid) return true;
  return sender.uid == kRoot && sender.cgroup != qemu.cgroup;
}

std::string ProcessReader::Read(int64_t pid, absl::string_view file) const {
  return ReadSmallFile(absl::StrCat(root_, "/proc/", pid, "/", file)).value_or("");
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
  // The process's number in each namespace, this one's first.
  return absl::EndsWith(ValueInLine(status, "NSpid:"), "\t1");
}

ProcessOrigin ProcessReader::OriginOf(int64_t pid, uint64_t start_ticks) const {
  const std::optional<ProcessStat> stat = ReadStat(pid);
  const bool in_first_session = stat.has_value() && !stat->leads_session();
  return {.pid = pid,
          .start_ticks = start_ticks,
          .uid = ReadUid(pid),
          .cgroup = ReadCgroup(pid),
          .session = in_first_session ? stat->session : 0,
          .first_process = stat.has_value() ? FirstProcessAbove(*stat) : 0};
}

// Returns the first process of the PID namespace below this one that the process is in; 0: none, or
// not found. All other processes of a namespace descend from its first one.
int64_t ProcessReader::FirstProcessAbove(const ProcessStat& stat) const {
  if (!absl::StrContains(ValueInLine(Read(stat.pid, "status"), "NSpid:"), '\t')) return 0;
  std::optional<ProcessStat> at = stat;
  for (int step = 0; step < kMaxAncestors && at.has_value() && at->parent > kInit; ++step) {
    if (LeadsNamespace(at->parent) == true) return at->parent;
    at = ReadStat(at->parent);
  }
  return 0;
}

// Returns whether the process is in another session than `target`, one that is older than `target`.
// That is true of no descendant: each is in the session of `target`, or in one that a descendant
// began.
bool ProcessReader::IsOfOlderSession(const ProcessOrigin& target, const ProcessStat& stat) const {
  if (target.session == 0 || stat.session == target.session) return false;
  const std::optional<ProcessStat> leader = ReadStat(stat.session);
  return leader.has_value() && leader->leads_session() && leader->start_ticks < target.start_ticks;
}

// Returns whether the process is Ganeti's node daemon, by its pid file. No QEMU starts that. It
// detaches itself from what started it, and after its restart it is younger than the QEMUs in its
// cgroup.
bool ProcessReader::IsGanetiNoded(const ProcessStat& stat) const {
  constexpr absl::string_view kNoded = "ganeti-noded";
  int64_t pid = 0;
  return stat.name == kNoded &&
         absl::SimpleAtoi(
             ReadSmallFile(absl::StrCat(root_, "/run/ganeti/", kNoded, ".pid")).value_or(""),
             &pid) &&
         pid == stat.pid;
}

ProcessReader::Descent ProcessReader::DescentFrom(const ProcessOrigin& target,
                                                  const ProcessStat& stat, uint32_t uid,
                                                  absl::string_view cgroup) const {
  // An orphan's parent is init or another subreaper: the orphan is in another session than that,
  // and does not lead its session. If it is in QEMU's cgroup and has its user, it may descend from
  // QEMU; but not if something on the way up is older than QEMU, or is the process that systemd
  // began a service with, such as a manager that was restarted while its QEMUs lived on in its
  // service.
  const bool in_service = absl::StrContains(absl::StrCat(cgroup, "/"), ".service/");
  const auto is_others = [&](const ProcessStat& each) {
    return each.start_ticks < target.start_ticks || (in_service && each.leads_session()) ||
           IsOfOlderSession(target, each) || IsGanetiNoded(each);
  };
  bool of_others = is_others(stat);
  ProcessStat at = stat;
  for (int step = 0; step < kMaxAncestors && at.parent > kInit; ++step) {
    if (at.parent == target.pid) return Descent::kShown;
    const std::optional<ProcessStat> parent = ReadStat(at.parent);
    const bool left = !at.leads_session() && parent.has_value() && parent->session != at.session;
    if (!parent.has_value() || left) break;
    at = *parent;
    of_others = of_others || is_others(at);
  }
  const bool excluded = of_others || target.uid != uid || target.cgroup != cgroup;
  return excluded ? Descent::kNone : Descent::kNotExcluded;
}

SignalSender ProcessReader::RecordedSenderOf(const SignalRecord& record,
                                             const ProcessOrigin& target) {
  SignalSender sender{
      .signal = record.signal, .by_kernel = record.by_kernel, .ended_with = record.ended_with};
  if (record.by_kernel) return sender;
  sender.pid = record.sender;
  sender.of_qemu = record.sender == target.pid || record.sender_parent == target.pid;
  if (record.sender_mark.has_value()) {
    sender.uid = record.sender_mark->uid;
    sender.command = OneLine(record.sender_comm);
    sender.of_qemus_user = MayBeUserOf(target, *sender.uid);
  }
  sender.login_uid = record.login_uid;
  sender.login_session = record.login_session;
  return sender;
}

// Adds the login of the sender, from the files of logind. Does not use a name service, which may be
// slow, because the loop waits for this.
void ProcessReader::AddLogin(SignalSender* sender) const {
  if (!sender->login_uid.has_value() || !sender->login_session.has_value()) return;
  // logind takes the kernel's number, but in containers of its own, whose files have no AUDIT=.
  const std::string number = absl::StrCat(*sender->login_session);
  const std::string session =
      ReadSmallFile(absl::StrCat(root_, "/run/systemd/sessions/", number)).value_or("");
  if (ValueInLine(session, "AUDIT=") != number ||
      ValueInLine(session, "UID=") != absl::StrCat(*sender->login_uid)) {
    return;
  }
  const auto text = [&session](absl::string_view name) {
    return std::string(Utf8Prefix(OneLine(ValueInLine(session, name)), kMaxLoginBytes));
  };
  sender->login_user = text("USER=");
  sender->remote_host = text("REMOTE_HOST=");
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
  const std::optional<ProcessStat> stat = ReadStat(sender.pid);
  if (!stat.has_value() || StartOf(stat->start_ticks) > record.time) return sender;
  if (sender.pid == kKernelThreads || stat->parent == kKernelThreads) {
    return {.signal = record.signal, .by_kernel = true};
  }
  const std::string executable = ReadExecutable(sender.pid);
  std::string cgroup = ReadCgroup(sender.pid);
  const std::optional<uint32_t> uid = ReadUid(sender.pid);
  const std::string command(absl::StripSuffix(Read(sender.pid, "comm"), "\n"));
  // The sender may have ended meanwhile, and another process may have its number.
  const std::optional<ProcessStat> after = ReadStat(sender.pid);
  if (!uid.has_value() || !after.has_value() || after->start_ticks != stat->start_ticks) {
    return sender;
  }
  // In v1 a process that has ended is shown in the root of the hierarchy.
  if (after->ended() && cgroup == "/") cgroup.clear();
  if (!sender.of_qemu) {
    const Descent descent = DescentFrom(target, *stat, *uid, cgroup);
    sender.of_qemu = descent != Descent::kNone;
    sender.descent_unproven = descent == Descent::kNotExcluded;
  }
  sender.of_qemus_user = MayBeUserOf(target, *uid);
  // A process that began in the tick of the signal may have begun after it.
  const bool is_it =
      StartOf(stat->start_ticks + 1) <= record.time || now - record.time < kNumberReturns;
  // The sender may run another program since: its name was read last.
  const bool as_it_was = !record.sender_mark.has_value() || command == record.sender_comm;
  if (!is_it || !as_it_was) return sender;
  sender.uid = uid;
  sender.command = OneLine(command);
  sender.executable = OneLine(executable);
  sender.cgroup = std::string(Utf8Prefix(OneLine(cgroup), kMaxCgroupBytes));
  return sender;
}

}  // namespace vmeventd
