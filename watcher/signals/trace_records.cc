#include "watcher/signals/trace_records.h"

#include <linux/bpf.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace vmeventd {
namespace {

// The number of "NAME:NUMBER" among the parts of a line of a format file.
std::optional<size_t> Attribute(absl::string_view line, absl::string_view name) {
  for (absl::string_view part : absl::StrSplit(line, ';')) {
    part = absl::StripAsciiWhitespace(part);
    size_t number = 0;
    if (absl::ConsumePrefix(&part, name) && absl::SimpleAtoi(part, &number)) return number;
  }
  return std::nullopt;
}

// "	field:int sig;	offset:8;	size:4;	signed:1;"
std::optional<TraceField> FindField(absl::string_view format, absl::string_view name) {
  // The kernel gives a program what is behind its own first word, each number in one piece.
  constexpr size_t kFirst = sizeof(uint64_t);
  constexpr size_t kLargestRecord = 2048;
  for (absl::string_view line : absl::StrSplit(format, '\n')) {
    line = absl::StripAsciiWhitespace(line);
    const absl::string_view declaration = line.substr(0, line.find(';'));
    if (!absl::StartsWith(line, "field:")) continue;
    if (declaration.substr(declaration.find_last_of(' ') + 1) != name) continue;
    const std::optional<size_t> offset = Attribute(line, "offset:");
    const std::optional<size_t> size = Attribute(line, "size:");
    if (!offset.has_value() || *offset < kFirst || *offset >= kLargestRecord ||
        (size != 4 && size != 8 && size != 2) || *offset % *size != 0) {
      return std::nullopt;
    }
    return TraceField{static_cast<int16_t>(*offset), static_cast<uint8_t>(*size),
                      Attribute(line, "signed:") == 1};
  }
  return std::nullopt;
}

// The first `required` of `names` have to be there.
absl::StatusOr<TraceFormat> ParseFormat(absl::string_view format,
                                        const std::vector<absl::string_view>& names,
                                        size_t required) {
  TraceFormat out;
  for (absl::string_view line : absl::StrSplit(format, '\n')) {
    uint32_t id = 0;
    if (absl::ConsumePrefix(&line, "ID: ") && absl::SimpleAtoi(line, &id)) out.id = id;
  }
  if (out.id == 0) return absl::InvalidArgumentError("the tracepoint's format has no ID");
  for (size_t i = 0; i < names.size(); ++i) {
    out.values[i] = FindField(format, names[i]);
    if (i < required && !out.values[i].has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the tracepoint's format has no usable field ", names[i]));
    }
  }
  return out;
}

std::optional<int64_t> ValueOf(const TraceRecord& record, size_t i) {
  const int64_t value = record.values[i];
  return value == TraceRecord::kNoValue ? std::nullopt : std::optional(value);
}

// Sets whether `out`, a signal of si_code `code`, is the kernel's or unclear. The kernel's own
// codes are above 0, and process 0 is none. What kill(2), tgkill(2) and sigqueue(3) send has these
// three, in the context of the sender. The others are of timers and of other things that a process
// has asked the kernel for, in an interrupt of whatever runs; but rt_sigqueueinfo(2) lets every
// process claim them.
void DecodeCode(int64_t code, SignalRecord* out) {
  out->by_kernel = code > 0 || out->sender == 0;
  out->unclear = !out->by_kernel && code != SI_USER && code != SI_QUEUE && code != SI_TKILL;
  if (out->by_kernel) out->context = std::exchange(out->sender, 0);
}

}  // namespace

absl::StatusOr<TraceFormat> ParseSignalFormat(absl::string_view format) {
  return ParseFormat(format, {"sig", "code", "pid", "result"}, 4);
}

absl::StatusOr<TraceFormat> ParseVictimFormat(absl::string_view format) {
  // Only the first before Linux 6.10.
  return ParseFormat(format, {"pid", "total_vm", "anon_rss", "oom_score_adj"}, 1);
}

absl::StatusOr<TraceFormat> ParseDeliveryFormat(absl::string_view format) {
  return ParseFormat(format, {"sig"}, 1);
}

size_t RingReader::ReadAt(uint64_t position, uint64_t produced,
                          const std::function<void(absl::string_view)>& use, bool* complete) const {
  constexpr uint64_t kAlignment = 8;
  const uint64_t written = produced - position;
  if (position % kAlignment != 0 || written < BPF_RINGBUF_HDR_SZ || written > size_) return 0;
  const char* const at = data_.data() + position % size_;
  // The writer clears the bit once the record is complete.
  auto* const header = reinterpret_cast<uint32_t*>(const_cast<char*>(at));
  const uint32_t word = std::atomic_ref(*header).load(std::memory_order_acquire);
  const uint64_t length = word & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
  const uint64_t whole = (BPF_RINGBUF_HDR_SZ + length + kAlignment - 1) / kAlignment * kAlignment;
  if (whole > written) return 0;
  *complete = (word & BPF_RINGBUF_BUSY_BIT) == 0;
  if (*complete && (word & BPF_RINGBUF_DISCARD_BIT) == 0) use({at + BPF_RINGBUF_HDR_SZ, length});
  return whole;
}

uint64_t RingReader::Read(uint64_t produced, const std::function<void(absl::string_view)>& use) {
  std::erase_if(passed_over_, [&](uint64_t position) {
    bool complete = false;
    ReadAt(position, produced, use, &complete);
    return complete;
  });
  while (position_ != produced) {
    bool complete = false;
    const size_t length = ReadAt(position_, produced, use, &complete);
    if (length == 0) break;
    if (!complete) passed_over_.push_back(position_);
    position_ += length;
  }
  return passed_over_.empty() ? position_ : passed_over_.front();
}

void DecodeRecord(absl::string_view bytes, std::vector<SignalRecord>* out,
                  SignalledThreads* reached) {
  TraceRecord record;
  if (bytes.size() != sizeof(record)) return;
  std::memcpy(&record, bytes.data(), sizeof(record));
  const auto process = static_cast<int64_t>(record.process_and_thread >> 32);
  const ProcessMark mark{static_cast<uint32_t>(record.gid_and_uid), record.cgroup};
  if (record.kind == TraceRecord::kDelivery) {
    // The first record of a number counts: a later thread or process with it is another one.
    const auto thread = static_cast<uint32_t>(record.process_and_thread);
    for (const int64_t number : {int64_t{thread}, process}) {
      reached->try_emplace(number, SignalledThread{process, mark});
    }
    return;
  }
  SignalRecord made;
  made.time = absl::Nanoseconds(static_cast<int64_t>(record.time_ns));
  if (record.kind == TraceRecord::kSignal) {
    made.signal = static_cast<int>(record.values[0]);
    made.target = record.values[2];
    made.sender = process;
    DecodeCode(record.values[1], &made);
    if (!made.by_kernel) {
      made.sender_mark = mark;
      made.sender_comm.assign(record.comm.data(), strnlen(record.comm.data(), record.comm.size()));
    }
  } else if (record.kind == TraceRecord::kVictim) {
    made.kind = SignalRecord::Kind::kOomVictim;
    made.target = record.values[0];
    made.victim = {.total_vm = ValueOf(record, 1),
                   .anon_rss = ValueOf(record, 2),
                   .oom_score_adj = ValueOf(record, 3)};
  } else {
    return;
  }
  out->push_back(std::move(made));
}

void ResolveThreads(const SignalledThreads& reached, size_t old, std::vector<SignalRecord>* records,
                    std::vector<SignalRecord>* waiting) {
  const auto resolve = [&](SignalRecord* record) {
    const auto it = reached.find(record->target);
    if (it == reached.end()) return false;
    record->target = it->second.process;
    record->target_mark = it->second.mark;
    return true;
  };
  std::vector<SignalRecord> late;
  std::erase_if(*waiting, [&](SignalRecord& record) {
    const int64_t thread = record.target;
    if (!resolve(&record)) return false;
    // As a kill of the process it was handed out already.
    if (record.target != thread) late.push_back(std::move(record));
    return true;
  });
  for (size_t i = old; i < records->size(); ++i) {
    SignalRecord& record = (*records)[i];
    if (record.kind != SignalRecord::Kind::kSignal || resolve(&record)) continue;
    if (record.signal == SIGKILL) waiting->push_back(record);
  }
  if (waiting->size() > kMaxWaitingKills) {
    waiting->erase(waiting->begin(), waiting->end() - kMaxWaitingKills);
  }
  records->insert(records->end(), late.begin(), late.end());
}

}  // namespace vmeventd
