// A ring's bytes of any kind, by any format that a kernel may show before the first NUL, make no
// more records than there is room for, and the same ones each time; a ring that ends earlier makes
// the first of them.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "absl/strings/string_view.h"
#include "watcher/signals/perf_records.h"

constexpr char kFormat[] =
    "ID: 261\n"
    "field:int sig; offset:8; size:4; signed:1;\n"
    "field:int code; offset:16; size:4; signed:1;\n"
    "field:pid_t pid; offset:36; size:4; signed:1;\n";

extern "C" int Fuzz_perf_records(const uint8_t* data, size_t size) {
  using vmeventd::SignalRecord;
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(input.find('\0'), input.size());
  const absl::string_view text = input.substr(0, end);
  const absl::string_view bytes = input.substr(std::min(end + 1, input.size()));
  vmeventd::TraceFormats formats;
  formats.signal = vmeventd::ParseSignalFormat(kFormat).value();
  if (auto format = vmeventd::ParseSignalFormat(text); format.ok()) formats.signal = *format;
  if (auto format = vmeventd::ParseVictimFormat(text); format.ok()) formats.victim = *format;
  if (auto format = vmeventd::ParseDeliveryFormat(text); format.ok()) formats.delivery = *format;
  formats.delivery.id = static_cast<uint16_t>(formats.delivery.id + 1);
  // Two tracepoints have not the same id; 0 is none.
  if (formats.victim.id == formats.signal.id) formats.victim.id = 0;
  std::vector<SignalRecord> records;
  std::vector<vmeventd::KilledThread> killed;
  vmeventd::DecodeRecords(bytes, formats, &records, &killed);
  constexpr size_t kHeader = 8;
  if (records.size() + killed.size() > bytes.size() / kHeader) std::abort();
  std::vector<SignalRecord> first;
  vmeventd::DecodeRecords(bytes.substr(0, bytes.size() / 2), formats, &first, &killed);
  if (first.size() > records.size()) std::abort();
  for (size_t i = 0; i < first.size(); ++i) {
    if (first[i].target != records[i].target || first[i].sender != records[i].sender) std::abort();
  }
  return 0;
}
