#include "watcher/signals/perf_trace.h"

#include <linux/perf_event.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <ctime>
#include <map>
#include <memory>
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
#include "watcher/signals/processor_news.h"
#include "watcher/signals/trace_events.h"

namespace vmeventd {
namespace {

// Room for some 600 signals of one processor between two turns of the loop.
constexpr size_t kRingBytes = size_t{64} << 10;
constexpr size_t kMaxFormatBytes = size_t{64} << 10;
// The PID namespace that the kernel begins with (PROC_PID_INIT_INO).
constexpr absl::string_view kHostPidNamespace = "pid:[4026531836]";
// Longest time that the first events may take to open.
constexpr absl::Duration kStartPatience = absl::Seconds(30);

absl::Duration TimeOf(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return absl::DurationFromTimespec(now);
}

// Time that the host has slept since its boot; less by what passes between the two clocks.
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

  // Returns how many records of its events were lost; 0 where the kernel does not count them.
  uint64_t CountLost() const {
    uint64_t lost = CountsOf(event_).lost;
    for (const UniqueFd& other : others_) lost += CountsOf(other).lost;
    return lost;
  }

  // Returns whether it is written: events end with their processor, also where that comes back.
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
  // Counts that read_format asks for.
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
  PerfTrace(std::string root, TraceFormats formats, std::unique_ptr<TraceEvents> events,
            UniqueFd epoll)
      : root_(std::move(root)),
        formats_(std::move(formats)),
        events_(std::move(events)),
        epoll_(std::move(epoll)) {}

  int fd() const override { return epoll_.get(); }
  uint64_t lost() const override { return lost_; }

  uint64_t CountLost() override {
    uint64_t counted = lost_with_rings_;
    for (const auto& [processor, ring] : rings_) counted += ring.CountLost();
    // A kernel before Linux 6.0 says no more than its rings do.
    return lost_ = std::max(lost_, counted);
  }

  void Read(std::vector<SignalRecord>* out) override {
    if (TakeProcessorNews(news_.get())) FollowProcessors();
    TakeAnswers();
    for (auto& [processor, ring] : rings_) Collect(&ring);
    lost_ = std::max(lost_, lost_said_);
    const size_t before = out->size();
    out->insert(out->end(), collected_.begin(), collected_.end());
    collected_.clear();
    ResolveThreads(killed_, before, out, &waiting_);
    killed_.clear();
    if (out->size() == before) return;
    const absl::Duration slept = std::max(Slept(), Slept());
    for (size_t i = before; i < out->size(); ++i) (*out)[i].time += slept;
  }

  void FollowProcessors() override {
    absl::StatusOr<std::string> online =
        ReadSmallFile(absl::StrCat(root_, "/sys/devices/system/cpu/online"));
    unlisted_ = online.ok() ? "" : std::string(online.status().message());
    if (!online.ok()) return;
    const std::vector<int> processors = ParseProcessors(*online);
    if (processors.empty()) unlisted_ = "the kernel lists no processor";
    const auto is_online = [&processors](int processor) {
      return std::binary_search(processors.begin(), processors.end(), processor);
    };
    // One that went away took its events along, whether or not it came back.
    for (auto it = rings_.begin(); it != rings_.end();) {
      if (is_online(it->first) && it->second.IsLive()) {
        ++it;
        continue;
      }
      Collect(&it->second);
      lost_with_rings_ += it->second.CountLost();
      it = rings_.erase(it);
    }
    std::erase_if(missing_, [&](const auto& each) { return !is_online(each.first); });
    for (const int processor : processors) {
      if (!rings_.contains(processor)) missing_.try_emplace(processor);
    }
    AskForMissing();
  }

  std::string problem() const override {
    if (!unlisted_.empty()) return unlisted_;
    if (!events_->ended().empty()) {
      return absl::StrCat(events_->ended(),
                          ": until vmeventd is restarted, signals that are sent on processors that "
                          "come later, or come back, are not seen");
    }
    for (const auto& [processor, missing] : missing_) {
      if (!missing.problem.empty()) return missing.problem;
    }
    if (missing_.empty()) return "";
    return absl::StrCat("processor ", missing_.begin()->first,
                        " has come just now, and its signals are seen from now on");
  }

  // Waits until all processors that are there now are recorded.
  absl::Status AwaitProcessors() {
    FollowProcessors();
    while (!missing_.empty() && unlisted_.empty()) {
      pollfd readable{events_->fd(), POLLIN, 0};
      if (poll(&readable, 1, static_cast<int>(absl::ToInt64Milliseconds(kStartPatience))) <= 0) {
        return absl::UnavailableError("vmeventd-perf does not answer");
      }
      TakeAnswers();
      if (!events_->ended().empty()) return absl::UnavailableError(events_->ended());
      for (const auto& [processor, missing] : missing_) {
        if (!missing.problem.empty()) return absl::UnavailableError(missing.problem);
      }
      AskForMissing();
    }
    return unlisted_.empty() ? absl::OkStatus() : absl::UnavailableError(unlisted_);
  }

  // Has its descriptor become readable after a processor came, or an answer.
  absl::Status Listen() {
    for (const int fd : {events_->fd(), news_.get()}) {
      if (fd < 0) continue;
      if (absl::Status status = Wake(fd); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

 private:
  // A processor that is there and has no ring.
  struct Missing {
    bool asked = false;   // and not answered yet
    std::string problem;  // of the last answer
  };

  absl::Status Wake(int fd) const {
    epoll_event input{};
    input.events = EPOLLIN;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &input) == 0) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat("epoll_ctl: ", ErrnoText(errno)));
  }

  // More than may wait for an answer are asked for later.
  void AskForMissing() {
    for (auto& [processor, missing] : missing_) {
      missing.asked = missing.asked || events_->Ask(processor);
    }
  }

  void Collect(Ring* ring) {
    ring->Take(&bytes_);
    lost_said_ += DecodeRecords(bytes_, formats_, &collected_, &killed_);
  }

  void TakeAnswers() {
    while (std::optional<ProcessorEvents> answer = events_->Receive()) {
      const int processor = answer->processor;
      const auto missing = missing_.find(processor);
      if (missing == missing_.end()) continue;  // it has gone again
      const absl::Status status = answer->events.ok()
                                      ? OpenRing(processor, *std::move(answer->events))
                                      : answer->events.status();
      missing->second = {false, std::string(status.message())};
      if (status.ok()) missing_.erase(missing);
    }
  }

  absl::Status OpenRing(int processor, std::vector<UniqueFd> events) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    void* const memory =
        mmap(nullptr, page + kRingBytes, PROT_READ | PROT_WRITE, MAP_SHARED, events[0].get(), 0);
    if (memory == MAP_FAILED) {
      return absl::UnavailableError(
          absl::StrCat("mmap of a ring of processor ", processor, ": ", ErrnoText(errno)));
    }
    Ring ring(std::move(events[0]), memory, page);
    if (absl::Status status = Wake(ring.fd()); !status.ok()) return status;
    bool on = ioctl(ring.fd(), PERF_EVENT_IOC_ENABLE, 0) == 0;
    for (size_t i = 1; i < events.size() && on; ++i) {
      on = ioctl(events[i].get(), PERF_EVENT_IOC_SET_OUTPUT, ring.fd()) == 0 &&
           ioctl(events[i].get(), PERF_EVENT_IOC_ENABLE, 0) == 0;
      ring.Add(std::move(events[i]));
    }
    if (!on) {
      return absl::UnavailableError(absl::StrCat("cannot set up the events of processor ",
                                                 processor, ": ", ErrnoText(errno)));
    }
    rings_.emplace(processor, std::move(ring));
    return absl::OkStatus();
  }

  const std::string root_;
  const TraceFormats formats_;
  const std::unique_ptr<TraceEvents> events_;
  const UniqueFd epoll_;
  // Without it, processors that come are found by the next look.
  const UniqueFd news_ = ListenForProcessors();
  std::map<int, Ring> rings_;       // by processor
  std::map<int, Missing> missing_;  // likewise
  std::string unlisted_;            // why the processors are not known; empty: they are
  std::string bytes_;
  std::vector<SignalRecord> collected_;  // since the last Read()
  std::vector<KilledThread> killed_;
  std::vector<SignalRecord> waiting_;  // kills of what may be a thread, whose process is not known
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
  absl::StatusOr<std::unique_ptr<TraceEvents>> events = TraceEvents::Start(*formats, root);
  if (!events.ok()) return events.status();
  auto trace =
      std::make_unique<PerfTrace>(root, *std::move(formats), *std::move(events), std::move(epoll));
  if (absl::Status status = trace->AwaitProcessors(); !status.ok()) return status;
  if (absl::Status status = trace->Listen(); !status.ok()) return status;
  return trace;
}

}  // namespace vmeventd
