#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "watcher/signals/signal_trace.h"

// Reads tracefs's texts about the kernel's tracepoints, and the records that the programs of
// bpf_trace.cc write of them into their ring. Pure functions.

namespace vmeventd {

// Place of a whole number in a tracepoint's record.
struct TraceField {
  int16_t offset = 0;
  uint8_t size = 0;
  bool is_signed = false;
};

inline constexpr size_t kTraceValues = 4;

// One tracepoint as its `format` file describes it. `values` has the fields of which a TraceRecord
// has the values; unset: this kernel does not have it.
struct TraceFormat {
  uint64_t id = 0;
  std::array<std::optional<TraceField>, kTraceValues> values;
};

// INVALID_ARGUMENT: a field is missing, or is not where a program may read it: the message has its
// name.
absl::StatusOr<TraceFormat> ParseSignalFormat(absl::string_view format);
absl::StatusOr<TraceFormat> ParseVictimFormat(absl::string_view format);
absl::StatusOr<TraceFormat> ParseDeliveryFormat(absl::string_view format);

// A record in the ring.
struct TraceRecord {
  // Tracepoint, with what `values` has.
  enum Kind : uint64_t {
    kSignal = 1,    // signal:signal_generate: signal, code, target, result
    kVictim = 2,    // oom:mark_victim: target, total_vm, anon_rss, oom_score_adj
    kDelivery = 3,  // signal:signal_deliver: signal
  };
  static constexpr int32_t kNoValue = INT32_MIN;

  uint64_t kind = 0;
  uint64_t time_ns = 0;  // CLOCK_BOOTTIME
  // Ids of the thread that ran.
  uint64_t process_and_thread = 0;
  uint64_t gid_and_uid = 0;  // the real ones
  uint64_t cgroup = 0;
  std::array<char, 16> comm{};
  std::array<int64_t, kTraceValues> values{};
};
static_assert(sizeof(TraceRecord) == 88);

// A ring of BPF_MAP_TYPE_RINGBUF as its reader maps it. One thread.
//
// A record whose writer is not done with it is passed over, and read by a later call: it must not
// keep what is behind it from a reader that has to know whether that is there.
class RingReader {
 public:
  // `data` is the ring's memory twice in a row, so that no record is cut. `position` is the end of
  // what was read before.
  RingReader(absl::string_view data, uint64_t position)
      : data_(data), size_(data.size() / 2), position_(position) {}

  // Hands out what is complete of the records up to `produced`. Returns the position up to which
  // the kernel may write again. A ring that no kernel has written ends at what is wrong with it.
  uint64_t Read(uint64_t produced, const std::function<void(absl::string_view)>& use);

 private:
  // Hands out the record there, unless it is not complete. Returns its length; 0: it is none.
  size_t ReadAt(uint64_t position, uint64_t produced,
                const std::function<void(absl::string_view)>& use, bool* complete) const;

  const absl::string_view data_;
  const uint64_t size_;
  uint64_t position_;
  std::vector<uint64_t> passed_over_;
};

// The process of a thread that a signal reached.
struct SignalledThread {
  int64_t process = 0;
  ProcessMark mark;
};
using SignalledThreads = absl::flat_hash_map<int64_t, SignalledThread>;  // keyed by thread

// Appends what a record says to `out`, or to `reached`, which gets the threads that signals were
// delivered to. What is no record is left out.
void DecodeRecord(absl::string_view bytes, std::vector<SignalRecord>* out,
                  SignalledThreads* reached);

// Puts the processes of `reached` in the place of their threads: in `records`, of which the first
// `old` were handed out before, and in the kills of `waiting`, which are appended to `records` then
// and are no longer waiting. New ones that may still be to a thread wait afterwards, the newest
// kMaxWaitingKills of them.
inline constexpr size_t kMaxWaitingKills = 64;
void ResolveThreads(const SignalledThreads& reached, size_t old, std::vector<SignalRecord>* records,
                    std::vector<SignalRecord>* waiting);

}  // namespace vmeventd
