#include "watcher/signals/perf_records.h"

#include <linux/perf_event.h>

#include <csignal>
#include <cstring>
#include <initializer_list>
#include <string>

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
  constexpr size_t kLargestRecord = 1 << 16;
  for (absl::string_view line : absl::StrSplit(format, '\n')) {
    line = absl::StripAsciiWhitespace(line);
    const absl::string_view declaration = line.substr(0, line.find(';'));
    if (!absl::StartsWith(line, "field:")) continue;
    if (declaration.substr(declaration.find_last_of(' ') + 1) != name) continue;
    const std::optional<size_t> offset = Attribute(line, "offset:");
    const std::optional<size_t> size = Attribute(line, "size:");
    if (!offset.has_value() || *offset >= kLargestRecord || (size != 4 && size != 8 && size != 2)) {
      return std::nullopt;
    }
    return TraceField{*offset, *size, Attribute(line, "signed:") == 1};
  }
  return std::nullopt;
}

absl::StatusOr<TraceFormat> ParseFormat(
    absl::string_view format,
    std::initializer_list<std::pair<absl::string_view, TraceField TraceFormat::*>> fields) {
  TraceFormat out;
  for (absl::string_view line : absl::StrSplit(format, '\n')) {
    uint32_t id = 0;
    if (absl::ConsumePrefix(&line, "ID: ") && absl::SimpleAtoi(line, &id) && id <= UINT16_MAX) {
      out.id = static_cast<uint16_t>(id);
    }
  }
  if (out.id == 0) return absl::InvalidArgumentError("the tracepoint's format has no ID");
  for (const auto& [name, member] : fields) {
    const std::optional<TraceField> field = FindField(format, name);
    if (!field.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the tracepoint's format has no usable field ", name));
    }
    out.*member = *field;
  }
  return out;
}

template <typename T>
T Take(absl::string_view bytes, size_t offset) {
  T value{};
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

std::optional<int64_t> ValueOf(const TraceField& field, absl::string_view raw) {
  if (field.offset + field.size > raw.size()) return std::nullopt;
  switch (field.size) {
    case sizeof(int16_t):
      return field.is_signed ? Take<int16_t>(raw, field.offset) : Take<uint16_t>(raw, field.offset);
    case sizeof(int32_t):
      if (field.is_signed) return Take<int32_t>(raw, field.offset);
      return Take<uint32_t>(raw, field.offset);
    default:
      return Take<int64_t>(raw, field.offset);
  }
}

std::optional<int64_t> ValueOf(const std::optional<TraceField>& field, absl::string_view raw) {
  return field.has_value() ? ValueOf(*field, raw) : std::nullopt;
}

// Head of a sample, before its raw bytes, in the kernel's order.
struct SampleHead {
  uint32_t pid;
  uint32_t tid;
  uint64_t time_ns;
};
constexpr size_t kRawSizeAt = sizeof(SampleHead);
constexpr size_t kRawAt = kRawSizeAt + sizeof(uint32_t);

// Place at which every tracepoint's record has the context that it was made in, and the bits of an
// interrupt (TRACE_FLAG_HARDIRQ, TRACE_FLAG_SOFTIRQ).
constexpr size_t kContextAt = 2;
constexpr uint8_t kInInterrupt = 0x08 | 0x10;

// Returns whether a signal of si_code `code` is the kernel's. Its own codes are above 0. Those of
// timers and of other things that a process has asked the kernel for are below, where sigqueue(2)
// lets every process claim them: what is sent in an interrupt is the kernel's, and otherwise the
// process that ran is the sender.
bool IsByKernel(const SampleHead& head, int64_t code, absl::string_view raw) {
  return code > 0 || head.pid == 0 || (Take<uint8_t>(raw, kContextAt) & kInInterrupt) != 0;
}

std::optional<SignalRecord> DecodeSample(absl::string_view sample, const TraceFormats& formats,
                                         std::vector<KilledThread>* killed) {
  if (sample.size() < kRawAt) return std::nullopt;
  const auto head = Take<SampleHead>(sample, 0);
  const auto raw_size = Take<uint32_t>(sample, kRawSizeAt);
  if (raw_size <= kContextAt || raw_size > sample.size() - kRawAt) return std::nullopt;
  const absl::string_view raw = sample.substr(kRawAt, raw_size);
  const auto id = Take<uint16_t>(raw, 0);
  SignalRecord record;
  record.time = absl::Nanoseconds(static_cast<int64_t>(head.time_ns));
  if (id == formats.signal.id) {
    const std::optional<int64_t> signal = ValueOf(formats.signal.signal, raw);
    const std::optional<int64_t> code = ValueOf(formats.signal.code, raw);
    const std::optional<int64_t> target = ValueOf(formats.signal.pid, raw);
    if (!signal.has_value() || !code.has_value() || !target.has_value()) return std::nullopt;
    record.signal = static_cast<int>(*signal);
    record.by_kernel = IsByKernel(head, *code, raw);
    record.sender = record.by_kernel ? 0 : static_cast<int32_t>(head.pid);
    record.target = *target;
    return record;
  }
  if (formats.delivery.id != 0 && id == formats.delivery.id) {
    if (ValueOf(formats.delivery.signal, raw) == SIGKILL && head.tid != head.pid) {
      killed->push_back({static_cast<int32_t>(head.tid), static_cast<int32_t>(head.pid)});
    }
    return std::nullopt;
  }
  if (formats.victim.id != 0 && id == formats.victim.id) {
    const std::optional<int64_t> target = ValueOf(formats.victim.pid, raw);
    if (!target.has_value()) return std::nullopt;
    record.kind = SignalRecord::Kind::kOomVictim;
    record.target = *target;
    record.victim = {.total_vm = ValueOf(formats.victim.total_vm, raw),
                     .anon_rss = ValueOf(formats.victim.anon_rss, raw),
                     .oom_score_adj = ValueOf(formats.victim.oom_score_adj, raw)};
    return record;
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<TraceFormat> ParseSignalFormat(absl::string_view format) {
  return ParseFormat(
      format,
      {{"sig", &TraceFormat::signal}, {"code", &TraceFormat::code}, {"pid", &TraceFormat::pid}});
}

absl::StatusOr<TraceFormat> ParseVictimFormat(absl::string_view format) {
  absl::StatusOr<TraceFormat> out = ParseFormat(format, {{"pid", &TraceFormat::pid}});
  if (!out.ok()) return out;
  out->total_vm = FindField(format, "total_vm");
  out->anon_rss = FindField(format, "anon_rss");
  out->oom_score_adj = FindField(format, "oom_score_adj");
  return out;
}

absl::StatusOr<TraceFormat> ParseDeliveryFormat(absl::string_view format) {
  return ParseFormat(format, {{"sig", &TraceFormat::signal}});
}

uint64_t DecodeRecords(absl::string_view bytes, const TraceFormats& formats,
                       std::vector<SignalRecord>* out, std::vector<KilledThread>* killed) {
  uint64_t lost = 0;
  while (bytes.size() >= sizeof(perf_event_header)) {
    const auto header = Take<perf_event_header>(bytes, 0);
    if (header.size < sizeof(header) || header.size > bytes.size()) break;
    const absl::string_view body = bytes.substr(sizeof(header), header.size - sizeof(header));
    if (header.type == PERF_RECORD_SAMPLE) {
      if (std::optional<SignalRecord> record = DecodeSample(body, formats, killed);
          record.has_value()) {
        out->push_back(*std::move(record));
      }
    } else if (header.type == PERF_RECORD_LOST && body.size() >= 2 * sizeof(uint64_t)) {
      lost += Take<uint64_t>(body, sizeof(uint64_t));  // after the event's id
    }
    bytes.remove_prefix(header.size);
  }
  return lost;
}

void ResolveThreads(const std::vector<KilledThread>& killed, size_t old,
                    std::vector<SignalRecord>* records, std::vector<SignalRecord>* waiting) {
  const auto process_of = [&](const SignalRecord& record) -> std::optional<int64_t> {
    for (const KilledThread& each : killed) {
      if (each.thread == record.target) return each.process;
    }
    return std::nullopt;
  };
  std::vector<SignalRecord> late;
  std::erase_if(*waiting, [&](SignalRecord& record) {
    const std::optional<int64_t> process = process_of(record);
    if (!process.has_value()) return false;
    record.target = *process;
    late.push_back(std::move(record));
    return true;
  });
  for (size_t i = old; i < records->size(); ++i) {
    SignalRecord& record = (*records)[i];
    if (record.kind != SignalRecord::Kind::kSignal || record.signal != SIGKILL) continue;
    if (const std::optional<int64_t> process = process_of(record); process.has_value()) {
      record.target = *process;
    } else {
      waiting->push_back(record);
    }
  }
  if (waiting->size() > kMaxWaitingKills) {
    waiting->erase(waiting->begin(), waiting->end() - kMaxWaitingKills);
  }
  records->insert(records->end(), late.begin(), late.end());
}

}  // namespace vmeventd
