#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "watcher/signals/signal_trace.h"

// The bytes in a ring of perf_event_open(2), as pure functions.

namespace vmeventd {

// Place of a whole number in a tracepoint's record.
struct TraceField {
  size_t offset = 0;
  size_t size = 0;
  bool is_signed = false;
};

// One tracepoint as its `format` file describes it.
struct TraceFormat {
  uint16_t id = 0;  // 0: this kernel does not have it
  // signal:signal_generate; signal:signal_deliver has the first alone
  TraceField signal;
  TraceField code;
  // Field of the first, and of oom:mark_victim, which has only this before Linux 6.10.
  TraceField pid;
  std::optional<TraceField> total_vm;
  std::optional<TraceField> anon_rss;
  std::optional<TraceField> oom_score_adj;
};

// INVALID_ARGUMENT: a field is missing, of which the message has the name.
absl::StatusOr<TraceFormat> ParseSignalFormat(absl::string_view format);
absl::StatusOr<TraceFormat> ParseVictimFormat(absl::string_view format);
absl::StatusOr<TraceFormat> ParseDeliveryFormat(absl::string_view format);

struct TraceFormats {
  TraceFormat signal;
  TraceFormat victim;
  TraceFormat delivery;
};

// A thread that SIGKILL ends, and its process.
struct KilledThread {
  int64_t thread = 0;
  int64_t process = 0;
};

// Appends what the records of `bytes` say, which were taken with PERF_SAMPLE_TID,
// PERF_SAMPLE_TIME and PERF_SAMPLE_RAW, and returns how many records were lost. What is no such
// record is left out; so is what follows a record that is cut. Times are as in the sample. `killed`
// gets the threads that SIGKILL was delivered to, but for those that have their process's number.
uint64_t DecodeRecords(absl::string_view bytes, const TraceFormats& formats,
                       std::vector<SignalRecord>* out, std::vector<KilledThread>* killed);

// Puts the processes of `killed` in the place of their threads: in `records`, of which the first
// `old` were handed out before, and in the kills of `waiting`, which are appended to `records` then
// and are no longer waiting. What of the new ones may still be to a thread waits afterwards, the
// newest kMaxWaitingKills.
inline constexpr size_t kMaxWaitingKills = 64;
void ResolveThreads(const std::vector<KilledThread>& killed, size_t old,
                    std::vector<SignalRecord>* records, std::vector<SignalRecord>* waiting);

}  // namespace vmeventd
