// A format of a tracepoint of any kind, before the first NUL, has fields where a program may read
// them, or is refused. A ring of any bytes makes no more records than there is room for, each
// within it, and has none left afterwards unless one is not complete.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "absl/strings/string_view.h"
#include "watcher/signals/trace_records.h"

namespace {

void Check(bool condition) {
  if (!condition) std::abort();
}

void CheckFormat(const absl::StatusOr<vmeventd::TraceFormat>& format) {
  if (!format.ok()) return;
  Check(format->id != 0);
  for (const auto& field : format->values) {
    if (!field.has_value()) continue;
    Check(field->size == 2 || field->size == 4 || field->size == 8);
    Check(field->offset >= 8 && field->offset % field->size == 0);
  }
}

}  // namespace

void Fuzz_trace_records(absl::string_view input) {
  const size_t end = std::min(input.find('\0'), input.size());
  const absl::string_view text = input.substr(0, end);
  CheckFormat(vmeventd::ParseSignalFormat(text));
  CheckFormat(vmeventd::ParseVictimFormat(text));
  CheckFormat(vmeventd::ParseDeliveryFormat(text));
  constexpr size_t kWord = 8;
  const absl::string_view bytes = input.substr(std::min(end + 1, input.size()));
  // The ring, twice in a row.
  std::vector<uint64_t> words(bytes.size() / kWord * 2);
  if (words.empty()) return;
  const size_t ring = words.size() / 2 * kWord;
  char* const memory = reinterpret_cast<char*>(words.data());
  std::copy_n(bytes.data(), ring, memory);
  std::copy_n(bytes.data(), ring, memory + ring);
  vmeventd::RingReader reader({memory, 2 * ring}, 0);
  std::vector<vmeventd::SignalRecord> records;
  vmeventd::SignalledThreads reached;
  size_t read = 0;
  const uint64_t consumed = reader.Read(ring, [&](absl::string_view record) {
    Check(record.data() >= memory && record.data() + record.size() <= memory + 2 * ring);
    ++read;
    vmeventd::DecodeRecord(record, &records, &reached);
  });
  Check(consumed <= ring && read <= ring / kWord && records.size() <= read);
  size_t again = 0;
  Check(reader.Read(ring, [&](absl::string_view) { ++again; }) >= consumed);
  Check(again == 0);
}
