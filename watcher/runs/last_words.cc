#include "watcher/runs/last_words.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/small_file.h"
#include "base/thread_name.h"
#include "base/unique_fd.h"
#include "watcher/core/libvirt_log.h"
#include "watcher/core/proc_texts.h"
#include "watcher/core/process_end.h"
#include "watcher/core/qemu_words.h"
#include "watcher/runs/oom_counters.h"
#include "watcher/runs/process.h"
#include "watcher/signals/process_stat.h"

namespace vmeventd {
namespace {

// Maximum number of bytes that are read at the end of a file.
constexpr off_t kMaxRead = 1 << 20;
// Maximum number of processes that wait to be examined: at the start there is one for each VM.
constexpr size_t kMaxLooks = 20'000;
// Time after which text that is written through another process has arrived.
constexpr absl::Duration kSettled = absl::Milliseconds(50);
constexpr absl::Duration kRetry = absl::Milliseconds(10);
// Maximum error of a process's start time, which the kernel counts in ticks.
constexpr absl::Duration kStartError = absl::Seconds(1);

// Opens the regular file behind `there`, a descriptor opened with O_PATH. Does not open other
// files: open() has effects on devices.
UniqueFd OpenRegular(const UniqueFd& there) {
  struct stat status {};
  if (!there.valid() || fstat(there.get(), &status) != 0 || !S_ISREG(status.st_mode))
    return UniqueFd();
  return UniqueFd(open(absl::StrCat("/proc/self/fd/", there.get()).c_str(), O_RDONLY | O_CLOEXEC));
}

// Returns the end of the file, from `begin` on. Sets `*cut` if text between `begin` and the
// returned end is omitted.
std::string ReadEnd(int file, off_t begin, bool* cut) {
  struct stat status {};
  if (fstat(file, &status) != 0) return "";
  if (status.st_size < begin) begin = 0;  // it was rotated by a copy
  const off_t from = std::max(begin, status.st_size - kMaxRead);
  *cut = from > begin;
  std::string text(static_cast<size_t>(status.st_size - from), '\0');
  const ssize_t size = pread(file, text.data(), text.size(), from);
  text.resize(static_cast<size_t>(std::max<ssize_t>(size, 0)));
  if (*cut) text.erase(0, text.find('\n') + 1);  // npos + 1 is 0
  return text;
}

// The cgroup that counts the run's memory and OOM kills; "": it is not the cgroup of the run's
// unit, so other processes are counted too.
std::string MemoryCgroupOf(const RunInfo& run) {
  const std::optional<OomCounters::Count> count = OomCounters().Find(run.pid);
  if (run.unit.empty() || !count.has_value() || !absl::StrContains(count->file, run.unit))
    return "";
  return count->file.substr(0, count->file.rfind('/'));
}

// Reads the number of bytes in the cgroup's file `v2` or `v1`. Unset: no number, or no limit.
std::optional<uint64_t> ReadBytes(const std::string& cgroup, const char* v2, const char* v1) {
  uint64_t bytes = 0;
  for (const char* name : {v2, v1}) {
    const std::string text = ReadSmallFile(absl::StrCat(cgroup, "/", name)).value_or("");
    if (absl::SimpleAtoi(text, &bytes) && bytes < uint64_t{1} << 62) return bytes;
  }
  return std::nullopt;
}

bool HasLog(const RunInfo& run) {
  return !run.log.directory.empty() && !absl::StrContains(run.raw_name, '/');
}
std::string LogPath(const RunInfo& run) {
  return absl::StrCat(run.log.directory, "/", run.raw_name, ".log");
}

struct CloseJournal {
  void operator()(sd_journal* journal) const { sd_journal_close(journal); }
};
using Journal = std::unique_ptr<sd_journal, CloseJournal>;

// Opens systemd's journal for the lines that process `pid` wrote to its standard error; null: there
// is no journal, or it cannot be opened.
Journal OpenJournal(int64_t pid) {
  sd_journal* opened = nullptr;
  if (sd_journal_open(&opened, SD_JOURNAL_LOCAL_ONLY) < 0) return nullptr;
  Journal journal(opened);
  if (sd_journal_has_runtime_files(opened) <= 0 && sd_journal_has_persistent_files(opened) <= 0) {
    return nullptr;
  }
  sd_journal_add_match(opened, absl::StrCat("_PID=", pid).c_str(), 0);
  sd_journal_add_match(opened, "_TRANSPORT=stdout", 0);
  return journal;
}

// Reads the newest lines since `start`: one more than the maximum of last words, to see whether
// there are more.
std::string ReadJournal(sd_journal* journal, absl::Time start) {
  std::string text;
  if (sd_journal_seek_tail(journal) < 0) return text;
  for (int n = 0; n <= kMaxWordLines && sd_journal_previous(journal) > 0; ++n) {
    uint64_t time = 0;
    const void* data = nullptr;
    size_t size = 0;
    if (sd_journal_get_realtime_usec(journal, &time) < 0 ||
        absl::FromUnixMicros(static_cast<int64_t>(time)) < start - kStartError) {
      break;
    }
    if (sd_journal_get_data(journal, "MESSAGE", &data, &size) < 0) continue;
    const absl::string_view field(static_cast<const char*>(data), size);
    text = absl::StrCat(absl::StripPrefix(field, "MESSAGE="), "\n", text);
  }
  return text;
}

}  // namespace

struct LastWordsReader::Trail {
  ~Trail() {
    if (error.valid()) ++*files_left;
  }
  std::shared_ptr<std::atomic<int>> files_left;
  UniqueFd error;               // its standard error, if that is a regular file
  bool is_libvirt_log = false;  // whether `error` is one, of several lives
  off_t begin = 0;              // where this process's part may begin
  bool maybe_journal = true;    // its standard error is a socket, or not visible
  std::string memory_cgroup;
  std::atomic<bool> ready = false;  // set last: then the others do not change

  void Look(const RunInfo& run);
};

void LastWordsReader::Trail::Look(const RunInfo& run) {
  memory_cgroup = MemoryCgroupOf(run);
  const std::string link = absl::StrCat("/proc/", run.pid, "/fd/2");
  const UniqueFd there(open(link.c_str(), O_PATH | O_CLOEXEC));
  // Another process may have had its number since.
  const std::optional<ProcessStat> stat = ReadProcessStat(run.pid);
  struct statx status {};
  if (!there.valid() || !stat.has_value() || stat->start_ticks != run.start_ticks ||
      statx(there.get(), "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &status) != 0) {
    return;
  }
  maybe_journal = S_ISSOCK(status.stx_mode);
  if (!S_ISREG(status.stx_mode)) return;
  if (--*files_left < 0 || !(error = OpenRegular(there)).valid()) {
    ++*files_left;
    return;
  }
  char path[512];
  const ssize_t size = readlink(link.c_str(), path, sizeof(path));
  is_libvirt_log =
      IsLibvirtLog({path, static_cast<size_t>(std::max<ssize_t>(size, 0))}, run.raw_name);
  const bool has_birth = (status.stx_mask & STATX_BTIME) != 0;
  const absl::Time birth =
      absl::FromUnixSeconds(status.stx_btime.tv_sec) + absl::Nanoseconds(status.stx_btime.tv_nsec);
  const bool own = has_birth && birth >= run.process_start - kStartError;
  begin = own || is_libvirt_log ? 0 : static_cast<off_t>(status.stx_size);
}

namespace {

// Opens the manager's log of the run; invalid: none, or it may not be read.
UniqueFd OpenManagersLog(const RunInfo& run) {
  if (!HasLog(run)) return UniqueFd();
  return OpenRegular(UniqueFd(open(LogPath(run).c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)));
}

// Finds last words, wherever they may be.
v1::LastWords Find(const RunInfo& run, const LastWordsReader::Trail* trail,
                   absl::Duration patience) {
  const absl::Time begun = absl::Now();
  bool cut = false;
  v1::LastWords words;
  // QEMU wrote to the file itself, so all of it is there.
  if (trail != nullptr && trail->error.valid()) {
    const std::string text = ReadEnd(trail->error.get(), trail->begin, &cut);
    if (trail->is_libvirt_log) {
      return WordsIn(LibvirtLife(text, run.process_start), LastWordsSource::kLibvirtLog);
    }
    words = WordsIn(text, LastWordsSource::kStandardError);
    words.set_truncated(words.truncated() || cut);
    return words;
  }
  const UniqueFd log = OpenManagersLog(run);
  if (log.valid() && run.log.format == LastWordsSource::kStandardError) {
    // QEMU begins it as it starts. Another user sees no descriptors of a process.
    words = WordsIn(ReadEnd(log.get(), 0, &cut), LastWordsSource::kStandardError);
    words.set_truncated(words.truncated() || cut);
    return words;
  }
  Journal journal;
  if (!log.valid() && !run.unit.empty() && (trail == nullptr || trail->maybe_journal)) {
    journal = OpenJournal(run.pid);
  }
  while (log.valid() || journal != nullptr) {
    words = log.valid()
                ? WordsIn(LibvirtLife(ReadEnd(log.get(), 0, &cut), run.process_start),
                          LastWordsSource::kLibvirtLog)
                : WordsIn(ReadJournal(journal.get(), run.process_start), LastWordsSource::kJournal);
    const absl::Duration wait = words.lines().empty() ? patience : std::min(patience, kSettled);
    if (absl::Now() - begun >= wait) break;
    absl::SleepFor(kRetry);
  }
  return words;
}

}  // namespace

LastWordsReader::LastWordsReader(int max_files, absl::Duration patience)
    : patience_(patience),
      files_left_(std::make_shared<std::atomic<int>>(max_files)),
      threads_(kMaxThreads, [] { SetThreadName("last-words"); }) {}

std::shared_ptr<const LastWordsReader::Trail> LastWordsReader::Begin(const RunInfo& run) {
  auto trail = std::make_shared<Trail>();
  trail->files_left = files_left_;
  if (run.pid == 0) return trail;
  if (threads_.waiting() >= kMaxLooks) {
    left_out_.Add();
    return trail;
  }
  threads_.Run([trail, run] {
    trail->Look(run);
    trail->ready = true;
  });
  return trail;
}

std::shared_ptr<const LastWordsReader::Read> LastWordsReader::BeginRead(
    const RunInfo& run, const std::optional<ExitStatus>& status,
    std::shared_ptr<const Trail> trail) {
  auto read = std::make_shared<Read>();
  if (status.has_value() && status->core_dumped) {
    read->core = CoreOf(ReadSmallFile("/proc/sys/kernel/core_pattern").value_or(""), run.pid);
  }
  if (trail != nullptr && !trail->ready) trail = nullptr;
  if (threads_.waiting() >= kMaxWaiting) {
    left_out_.Add();
    read->done = true;
    return read;
  }
  // A process that is killed writes nothing at its end.
  const bool killed = status.has_value() && status->signal == SIGKILL;
  threads_.Run(
      [read, run, trail = std::move(trail), patience = killed ? absl::ZeroDuration() : patience_] {
        v1::ShutdownDetail& facts = read->facts;
        // The manager may remove the cgroup at any time.
        if (trail != nullptr && !trail->memory_cgroup.empty()) {
          const std::string& cgroup = trail->memory_cgroup;
          const auto peak = ReadBytes(cgroup, "memory.peak", "memory.max_usage_in_bytes");
          if (peak.has_value()) facts.mutable_numbers()->set_peak_memory_bytes(*peak);
          const auto limit = ReadBytes(cgroup, "memory.max", "memory.limit_in_bytes");
          if (limit.has_value()) facts.mutable_numbers()->set_memory_limit_bytes(*limit);
        }
        v1::LastWords words = Find(run, trail.get(), patience);
        if (!words.lines().empty()) *facts.mutable_last_words() = std::move(words);
        read->done = true;
      });
  return read;
}

bool LastWordsReader::IsReady(const Trail& trail) { return trail.ready; }

}  // namespace vmeventd
