#include "watcher/runs/last_words.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/system.h"
#include "watcher/core/qemu_words.h"
#include "watcher/runs/process.h"
#include "watcher/runs/process_watch.h"

namespace vmeventd {
namespace {

// Limit of what is read of a file, from its end.
constexpr off_t kMaxRead = 128 << 10;
// Time in which what is written through another process has come.
constexpr absl::Duration kSettled = absl::Milliseconds(50);
constexpr absl::Duration kRetry = absl::Milliseconds(10);
// Error of a process's start time, which the kernel counts in ticks.
constexpr absl::Duration kStartError = absl::Seconds(1);

// Opens the regular file behind `there`, which is opened with O_PATH: open() acts on devices.
UniqueFd OpenRegular(const UniqueFd& there) {
  struct stat status {};
  if (!there.valid() || fstat(there.get(), &status) != 0 || !S_ISREG(status.st_mode))
    return UniqueFd();
  return UniqueFd(open(absl::StrCat("/proc/self/fd/", there.get()).c_str(), O_RDONLY | O_CLOEXEC));
}

// The end of the file behind `begin`. Sets `cut` if there is more between the two.
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

// Where libvirt logs what a domain's QEMU writes; "": not known.
std::string LibvirtLog(const RunInfo& run) {
  if (run.reported_by != ReportedBy::kLibvirt || absl::StrContains(run.raw_name(), '/')) return "";
  std::string directory = "/var/log/libvirt/qemu/";
  if (absl::StrContains(run.source, ":///session")) {
    const char* const cache = std::getenv("XDG_CACHE_HOME");
    const char* const home = std::getenv("HOME");
    if (cache == nullptr && home == nullptr) return "";
    directory = absl::StrCat(cache != nullptr ? cache : absl::StrCat(home, "/.cache"),
                             "/libvirt/qemu/log/");
  }
  return absl::StrCat(directory, run.raw_name(), ".log");
}

// The cgroup that its memory is counted in, which has the file that counts its OOM kills; "": that
// is not its unit's, and so not of it alone.
std::string MemoryCgroupOf(const RunInfo& run) {
  const std::optional<OomCounters::Count> count = OomCounters().Find(run.pid);
  if (run.unit.empty() || !count.has_value() || !absl::StrContains(count->file, run.unit))
    return "";
  return count->file.substr(0, count->file.rfind('/'));
}

std::optional<uint64_t> ReadBytes(const std::string& directory, const char* v2, const char* v1) {
  // Without a limit v1 gives the largest number of pages.
  constexpr uint64_t kNoLimit = uint64_t{1} << 62;
  if (directory.empty()) return std::nullopt;
  uint64_t bytes = 0;
  for (const char* name : {v2, v1}) {
    const std::string text = ReadSmallFile(absl::StrCat(directory, "/", name)).value_or("");
    if (absl::SimpleAtoi(text, &bytes) && bytes < kNoLimit) return bytes;
  }
  return std::nullopt;
}

// The entries of one process's standard error in systemd's journal.
class JournalOfProcess {
 public:
  JournalOfProcess(int64_t pid, absl::Time start) : start_(start) {
    if (sd_journal_open(&journal_, SD_JOURNAL_LOCAL_ONLY) < 0) {
      journal_ = nullptr;
      return;
    }
    sd_journal_add_match(journal_, absl::StrCat("_PID=", pid).c_str(), 0);
    sd_journal_add_match(journal_, "_TRANSPORT=stdout", 0);
  }
  ~JournalOfProcess() { sd_journal_close(journal_); }
  JournalOfProcess(const JournalOfProcess&) = delete;
  JournalOfProcess& operator=(const JournalOfProcess&) = delete;

  bool open() const { return journal_ != nullptr; }
  // The newest of its lines, more than count as last words.
  std::string Text() const {
    std::string text;
    if (!open() || sd_journal_seek_tail(journal_) < 0) return text;
    for (size_t n = 0; n <= kMaxWordLines && sd_journal_previous(journal_) > 0; ++n) {
      uint64_t time = 0;
      const void* data = nullptr;
      size_t size = 0;
      if (sd_journal_get_realtime_usec(journal_, &time) < 0 ||
          absl::FromUnixMicros(static_cast<int64_t>(time)) < start_ - kStartError) {
        break;
      }
      if (sd_journal_get_data(journal_, "MESSAGE", &data, &size) < 0) continue;
      absl::string_view message(static_cast<const char*>(data), size);
      absl::ConsumePrefix(&message, "MESSAGE=");
      text = absl::StrCat(message, "\n", text);
    }
    return text;
  }
  void WaitForMore(absl::Duration time) const {
    sd_journal_wait(journal_, static_cast<uint64_t>(absl::ToInt64Microseconds(time)));
  }

 private:
  const absl::Time start_;
  sd_journal* journal_ = nullptr;
};

}  // namespace

struct LastWordsReader::Trail {
  ~Trail() {
    if (error.valid()) ++*files_left;
  }
  std::shared_ptr<std::atomic<int>> files_left;
  UniqueFd error;             // its standard error, if that is a regular file
  off_t begin = 0;            // its size when the process was found
  bool libvirts = false;      // that is a log of libvirt's
  bool maybe_journal = true;  // its standard error is a socket, or not visible
  std::string memory_cgroup;
  std::atomic<bool> ready = false;  // set last: then the others do not change

  void Look(const RunInfo& run);
};

void LastWordsReader::Trail::Look(const RunInfo& run) {
  memory_cgroup = MemoryCgroupOf(run);
  const std::string link = absl::StrCat("/proc/", run.pid, "/fd/2");
  const UniqueFd there(open(link.c_str(), O_PATH | O_CLOEXEC));
  // Another process may have had its number since.
  const std::string stat = ReadSmallFile(absl::StrCat("/proc/", run.pid, "/stat")).value_or("");
  struct statx status {};
  if (!there.valid() || ParseStatStartTicks(stat) != run.start_ticks ||
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
  libvirts = absl::EndsWith({path, static_cast<size_t>(std::max<ssize_t>(size, 0))},
                            absl::StrCat("/libvirt/qemu/", run.raw_name(), ".log"));
  const bool has_birth = (status.stx_mask & STATX_BTIME) != 0;
  const absl::Time birth =
      absl::FromUnixSeconds(status.stx_btime.tv_sec) + absl::Nanoseconds(status.stx_btime.tv_nsec);
  const bool own = has_birth && birth >= run.process_start - kStartError;
  begin = own ? 0 : static_cast<off_t>(status.stx_size);
}

bool LastWordsReader::IsReady(const Trail& trail) { return trail.ready; }

// One look for words, wherever they may be.
struct LastWordsReader::Source {
  int64_t pid;
  absl::Time start;
  std::string libvirt_log;
  bool in_unit;
  bool core_dumped;
  std::shared_ptr<const Trail> trail;

  // Returns whether they are complete.
  bool ReadLibvirt(int file, bool of_process, LastWords* words) const {
    bool cut = false;
    const std::string log = ReadEnd(file, 0, &cut);
    LibvirtLife life = FindLibvirtLife(log, start);
    // A life that wrote more than is read has its beginning before that.
    if (!life.found && of_process && cut) life = {.text = log, .found = true, .complete = true};
    *words = WordsIn(life.text, WordsSource::kLibvirtLog);
    words->truncated |= cut && life.text.size() == log.size();
    return life.complete;
  }

  LastWords Find() const {
    const absl::Time begun = absl::Now();
    const bool has_trail = trail != nullptr && trail->ready;
    const int error = has_trail ? trail->error.get() : -1;
    LastWords words;
    if (error >= 0 && !trail->libvirts) {
      bool cut = false;
      words = WordsIn(ReadEnd(error, trail->begin, &cut), WordsSource::kStandardError);
      words.truncated |= cut;
      return words;
    }
    UniqueFd log;
    if (error < 0 && !libvirt_log.empty()) {
      log = OpenRegular(UniqueFd(open(libvirt_log.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)));
    }
    const int libvirt = error >= 0 ? error : log.get();
    std::optional<JournalOfProcess> journal;
    if (libvirt < 0 && in_unit && (!has_trail || trail->maybe_journal)) journal.emplace(pid, start);
    if (libvirt < 0 && !(journal.has_value() && journal->open())) return words;
    while (true) {
      bool complete = false;
      if (libvirt >= 0) {
        complete = ReadLibvirt(libvirt, error >= 0, &words);
      } else {
        words = WordsIn(journal->Text(), WordsSource::kJournal);
      }
      const absl::Duration age = absl::Now() - begun;
      if (complete || age >= kPatience || (!words.lines.empty() && age >= kSettled)) return words;
      if (libvirt < 0) {
        journal->WaitForMore(kRetry);
      } else {
        absl::SleepFor(kRetry);
      }
    }
  }
};

LastWordsReader::LastWordsReader(int max_files)
    : files_left_(std::make_shared<std::atomic<int>>(max_files)),
      threads_(kMaxThreads, [] { SetThreadName("last-words"); }) {}

std::shared_ptr<const LastWordsReader::Trail> LastWordsReader::Begin(const RunInfo& run) {
  auto trail = std::make_shared<Trail>();
  trail->files_left = files_left_;
  if (run.pid == 0 || threads_.waiting() >= kMaxWaiting) return trail;
  threads_.Run([trail, run = run] {
    trail->Look(run);
    trail->ready = true;
  });
  return trail;
}

std::shared_ptr<const LastWordsReader::Read> LastWordsReader::BeginRead(
    const RunInfo& run, bool core_dumped, std::shared_ptr<const Trail> trail) {
  auto read = std::make_shared<Read>();
  if (threads_.waiting() >= kMaxWaiting) {
    read->done_ = true;
    return read;
  }
  threads_.Run([read,
                source = Source{run.pid, run.process_start, LibvirtLog(run),
                                run.pid != 0 && !run.unit.empty(), core_dumped, std::move(trail)}] {
    EndFacts& facts = read->facts_;
    // Its manager may remove the cgroup at any time.
    if (source.trail != nullptr && source.trail->ready) {
      const std::string& cgroup = source.trail->memory_cgroup;
      facts.peak_memory = ReadBytes(cgroup, "memory.peak", "memory.max_usage_in_bytes");
      facts.memory_limit = ReadBytes(cgroup, "memory.max", "memory.limit_in_bytes");
    }
    if (source.core_dumped) {
      facts.core = CoreOf(ReadSmallFile("/proc/sys/kernel/core_pattern").value_or(""), source.pid);
    }
    facts.words = source.Find();
    read->done_ = true;
  });
  return read;
}

}  // namespace vmeventd
