#include "watcher/signals/perf_trace.h"

#include <linux/perf_event.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <ctime>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/errno_status.h"
#include "base/small_file.h"
#include "base/unique_fd.h"
#include "watcher/signals/perf_records.h"

namespace vmeventd {
namespace {

// Room for some 600 signals of one processor between two turns of the loop.
constexpr size_t kRingBytes = size_t{64} << 10;
constexpr size_t kMaxFormatBytes = size_t{64} << 10;
// The PID namespace that the kernel begins with (PROC_PID_INIT_INO).
constexpr absl::string_view kHostPidNamespace = "pid:[4026531836]";
// Of those that end a process, what was not ignored nor waits already: TRACE_SIGNAL_DELIVERED.
constexpr char kFilter[] =
    "result==0 && (sig==1 || sig==2 || sig==3 || sig==6 || sig==9 || sig==15)";
// As a kill reaches its threads: each record has a thread and its process.
constexpr char kDeliveryFilter[] = "sig==9";
static_assert(SIGHUP == 1 && SIGINT == 2 && SIGQUIT == 3 && SIGABRT == 6 && SIGKILL == 9 &&
              SIGTERM == 15);

absl::Duration TimeOf(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return absl::DurationFromTimespec(now);
}

// How long the host has slept since its boot; less by what passes between the two clocks.
absl::Duration Slept() {
  const absl::Duration with_sleep = TimeOf(CLOCK_BOOTTIME);
  return with_sleep - TimeOf(CLOCK_MONOTONIC);
}

// The processors of a list of the kernel's, as "0-3,8".
std::vector<int> ParseProcessors(absl::string_view text) {
  constexpr int kMaxProcessors = 1 << 16;
  std::vector<int> out;
  for (const absl::string_view range : absl::StrSplit(absl::StripAsciiWhitespace(text), ',')) {
    const std::pair<absl::string_view, absl::string_view> ends =
        absl::StrSplit(range, absl::MaxSplits('-', 1));
    int first = 0;
    int last = 0;
    if (!absl::SimpleAtoi(ends.first, &first)) continue;
    if (ends.second.empty() || !absl::SimpleAtoi(ends.second, &last)) last = first;
    for (int processor = first; processor <= std::min(last, kMaxProcessors); ++processor) {
      out.push_back(processor);
    }
  }
  return out;
}

// A mapped ring, and the events that are written into it.
class Ring {
 public:
  Ring(UniqueFd event, void* memory, size_t page) : event_(std::move(event)), page_(page) {
    memory_ = static_cast<char*>(memory);
  }
  Ring(Ring&& other) noexcept
      : event_(std::move(other.event_)),
        others_(std::move(other.others_)),
        page_(other.page_),
        memory_(std::exchange(other.memory_, nullptr)) {}
  Ring& operator=(Ring&&) = delete;
  Ring(const Ring&) = delete;
  ~Ring() {
    if (memory_ != nullptr) munmap(memory_, page_ + kRingBytes);
  }

  int fd() const { return event_.get(); }
  // An event that is written into it as well.
  void Add(UniqueFd event) { others_.push_back(std::move(event)); }

  // How many records of its events were lost; 0 where the kernel does not count them.
  uint64_t CountLost() const {
    uint64_t lost = CountsOf(event_).lost;
    for (const UniqueFd& other : others_) lost += CountsOf(other).lost;
    return lost;
  }

  // Whether it is written: events end with their processor, also where that comes back.
  bool IsLive() const {
    const uint64_t before = CountsOf(event_).ns_enabled;
    return CountsOf(event_).ns_enabled > before;
  }

  // Takes the bytes that were written since.
  void Take(std::string* out) {
    auto* const control = reinterpret_cast<perf_event_mmap_page*>(memory_);
    const uint64_t head = std::atomic_ref(control->data_head).load(std::memory_order_acquire);
    const uint64_t tail = control->data_tail;
    out->clear();
    const size_t size = std::min<uint64_t>(head - tail, kRingBytes);
    const size_t begin = tail % kRingBytes;
    const size_t first = std::min(size, kRingBytes - begin);
    out->append(memory_ + page_ + begin, first);
    out->append(memory_ + page_, size - first);
    std::atomic_ref(control->data_tail).store(head, std::memory_order_release);
  }

 private:
  // What read_format asks for.
  struct Counts {
    uint64_t value = 0;
    uint64_t ns_enabled = 0;
    uint64_t lost = 0;  // not there before Linux 6.0
  };
  static Counts CountsOf(const UniqueFd& event) {
    Counts counts;
    if (read(event.get(), &counts, sizeof(counts)) < 0) return {};
    return counts;
  }

  UniqueFd event_;
  std::vector<UniqueFd> others_;
  size_t page_;
  char* memory_;
};

class PerfTrace : public SignalTrace {
 public:
  PerfTrace(std::string root, TraceFormats formats, UniqueFd epoll)
      : root_(std::move(root)), formats_(std::move(formats)), epoll_(std::move(epoll)) {}

  int fd() const override { return epoll_.get(); }
  uint64_t lost() const override { return lost_; }

  uint64_t CountLost() override {
    uint64_t counted = lost_with_rings_;
    for (const auto& [processor, ring] : rings_) counted += ring.CountLost();
    // What a kernel before Linux 6.0 says in its rings is all that is known.
    return lost_ = std::max(lost_, counted);
  }

  void Read(std::vector<SignalRecord>* out) override {
    const size_t before = out->size();
    for (auto& [processor, ring] : rings_) {
      ring.Take(&bytes_);
      lost_said_ += DecodeRecords(bytes_, formats_, out, &killed_);
    }
    lost_ = std::max(lost_, lost_said_);
    ResolveThreads(killed_, before, out, &waiting_);
    killed_.clear();
    if (out->size() == before) return;
    const absl::Duration slept = std::max(Slept(), Slept());
    for (size_t i = before; i < out->size(); ++i) (*out)[i].time += slept;
  }

  std::string FollowProcessors() override {
    const absl::Status status = OpenRings();
    if (status.ok()) return "";
    return absl::StrCat(status.message(), "; vmeventd gave the right up when it began, restart it");
  }

  // Opens what is missing on the processors that are there now.
  absl::Status OpenRings() {
    absl::StatusOr<std::string> online =
        ReadSmallFile(absl::StrCat(root_, "/sys/devices/system/cpu/online"));
    if (!online.ok()) return online.status();
    const std::vector<int> processors = ParseProcessors(*online);
    // One that went away took its events along, whether or not it came back.
    std::erase_if(rings_, [&](const auto& ring) {
      const auto found = std::find(processors.begin(), processors.end(), ring.first);
      if (found != processors.end() && ring.second.IsLive()) return false;
      lost_with_rings_ += ring.second.CountLost();
      return true;
    });
    for (const int processor : processors) {
      if (rings_.contains(processor)) continue;
      if (absl::Status status = OpenRing(processor); !status.ok()) return status;
    }
    if (rings_.empty()) return absl::UnavailableError("the kernel lists no processor");
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<UniqueFd> OpenEvent(uint16_t id, int processor) {
    perf_event_attr attributes{};
    attributes.size = sizeof(attributes);
    attributes.type = PERF_TYPE_TRACEPOINT;
    attributes.config = id;
    attributes.sample_period = 1;
    attributes.sample_type = PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_RAW;
    attributes.wakeup_events = 1;
    attributes.disabled = 1;
    attributes.use_clockid = 1;
    attributes.clockid = CLOCK_MONOTONIC;  // CLOCK_BOOTTIME is refused for tracepoints
    attributes.read_format = read_format_;
    constexpr int kEveryProcess = -1;
    constexpr int kNoGroup = -1;
    UniqueFd event(static_cast<int>(syscall(SYS_perf_event_open, &attributes, kEveryProcess,
                                            processor, kNoGroup, PERF_FLAG_FD_CLOEXEC)));
    if (event.valid()) return event;
    if (errno == EINVAL && (read_format_ & PERF_FORMAT_LOST) != 0) {
      read_format_ = PERF_FORMAT_TOTAL_TIME_ENABLED;
      return OpenEvent(id, processor);
    }
    const int error = errno;
    std::string hint;
    if (error == EACCES || error == EPERM) {
      const absl::StatusOr<std::string> level =
          ReadSmallFile(absl::StrCat(root_, "/proc/sys/kernel/perf_event_paranoid"));
      hint = absl::StrCat(" (with kernel.perf_event_paranoid ",
                          level.ok() ? absl::StripAsciiWhitespace(*level) : "not known",
                          " it needs CAP_PERFMON, and a seccomp filter that permits it)");
    }
    return absl::UnavailableError(
        absl::StrCat("perf_event_open on processor ", processor, ": ", ErrnoText(error), hint));
  }

  absl::Status OpenRing(int processor) {
    absl::StatusOr<UniqueFd> event = OpenEvent(formats_.signal.id, processor);
    if (!event.ok()) return event.status();
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    void* const memory =
        mmap(nullptr, page + kRingBytes, PROT_READ | PROT_WRITE, MAP_SHARED, event->get(), 0);
    if (memory == MAP_FAILED) {
      return absl::UnavailableError(
          absl::StrCat("mmap of a ring of processor ", processor, ": ", ErrnoText(errno)));
    }
    Ring ring(*std::move(event), memory, page);
    epoll_event input{};
    input.events = EPOLLIN;
    if (ioctl(ring.fd(), PERF_EVENT_IOC_SET_FILTER, kFilter) != 0 ||
        epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, ring.fd(), &input) != 0 ||
        ioctl(ring.fd(), PERF_EVENT_IOC_ENABLE, 0) != 0) {
      return absl::UnavailableError(
          absl::StrCat("cannot set up the event of processor ", processor, ": ", ErrnoText(errno)));
    }
    for (const auto& [id, filter] :
         {std::pair(formats_.victim.id, absl::string_view()),
          std::pair(formats_.delivery.id, absl::string_view(kDeliveryFilter))}) {
      if (id == 0) continue;
      absl::StatusOr<UniqueFd> other = OpenEvent(id, processor);
      if (!other.ok()) return other.status();
      if ((!filter.empty() && ioctl(other->get(), PERF_EVENT_IOC_SET_FILTER, filter.data()) != 0) ||
          ioctl(other->get(), PERF_EVENT_IOC_SET_OUTPUT, ring.fd()) != 0 ||
          ioctl(other->get(), PERF_EVENT_IOC_ENABLE, 0) != 0) {
        return absl::UnavailableError(absl::StrCat("cannot set up a further event of processor ",
                                                   processor, ": ", ErrnoText(errno)));
      }
      ring.Add(*std::move(other));
    }
    rings_.emplace(processor, std::move(ring));
    return absl::OkStatus();
  }

  const std::string root_;
  const TraceFormats formats_;
  const UniqueFd epoll_;
  std::map<int, Ring> rings_;  // by processor
  std::string bytes_;
  std::vector<KilledThread> killed_;
  std::vector<SignalRecord> waiting_;  // kills of what may be a thread, whose process is not known
  // Without the second before Linux 6.0.
  uint64_t read_format_ = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_LOST;
  uint64_t lost_ = 0;
  uint64_t lost_said_ = 0;        // by records in the rings
  uint64_t lost_with_rings_ = 0;  // of processors that went away
};

// The formats, from where the kernel's tracefs is mounted.
absl::StatusOr<TraceFormats> ReadFormats(const std::string& root) {
  absl::Status status;
  for (const char* mount : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}) {
    const std::string events = absl::StrCat(root, mount, "/events");
    const absl::StatusOr<std::string> signal =
        ReadSmallFile(events + "/signal/signal_generate/format", kMaxFormatBytes);
    if (!signal.ok()) {
      if (status.ok()) status = signal.status();
      continue;
    }
    absl::StatusOr<TraceFormat> parsed = ParseSignalFormat(*signal);
    if (!parsed.ok()) return parsed.status();
    TraceFormats formats;
    formats.signal = *std::move(parsed);
    const auto read_further = [&](absl::string_view event, const auto& parse, TraceFormat* out) {
      const absl::StatusOr<std::string> text =
          ReadSmallFile(absl::StrCat(events, event, "/format"), kMaxFormatBytes);
      if (!text.ok()) return;
      absl::StatusOr<TraceFormat> format = parse(*text);
      if (format.ok()) *out = *std::move(format);
    };
    // Without it the kernel's OOM kills are known by their cgroup's count.
    read_further("/oom/mark_victim", ParseVictimFormat, &formats.victim);
    // Without it /proc says whose thread it is that a signal was sent to.
    read_further("/signal/signal_deliver", ParseDeliveryFormat, &formats.delivery);
    return formats;
  }
  return absl::UnavailableError(
      absl::StrCat("no tracefs: ", status.message(),
                   " (mount -t tracefs tracefs /sys/kernel/tracing, and the right to read it)"));
}

// In another PID namespace the kernel says other pids than the ones that are followed.
absl::Status CheckPidNamespace(const std::string& root) {
  char target[64];
  const ssize_t size = readlink((root + "/proc/self/ns/pid").c_str(), target, sizeof(target));
  if (size > 0 && absl::string_view(target, static_cast<size_t>(size)) == kHostPidNamespace) {
    return absl::OkStatus();
  }
  return absl::UnavailableError("vmeventd does not run in the host's PID namespace");
}

}  // namespace

absl::StatusOr<std::unique_ptr<SignalTrace>> OpenPerfTrace(const std::string& root) {
  if (absl::Status status = CheckPidNamespace(root); !status.ok()) return status;
  absl::StatusOr<TraceFormats> formats = ReadFormats(root);
  if (!formats.ok()) return formats.status();
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) {
    return absl::UnavailableError(absl::StrCat("epoll_create1: ", ErrnoText(errno)));
  }
  auto trace = std::make_unique<PerfTrace>(root, *std::move(formats), std::move(epoll));
  if (absl::Status status = trace->OpenRings(); !status.ok()) return status;
  return trace;
}

}  // namespace vmeventd
