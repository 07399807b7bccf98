// Parsing any line results in a message or an error; the event's data is bounded and can be parsed
// again. A space before the line, which leads round the short way of usual events, changes nothing.

#include <cstdlib>
#include <string>
#include <variant>

#include "watcher/core/names.h"
#include "watcher/core/qmp_message.h"

namespace {

void CheckShortWay(const std::string& line, const absl::StatusOr<vmeventd::QmpMessage>& message) {
  const auto other = vmeventd::ParseQmpMessage(" " + line);
  if (message.ok() != other.ok() || (other.ok() && message->index() != other->index())) {
    std::abort();
  }
  if (!other.ok() || !std::holds_alternative<vmeventd::QmpEvent>(*other)) return;
  const auto& a = std::get<vmeventd::QmpEvent>(*message);
  const auto& b = std::get<vmeventd::QmpEvent>(*other);
  if (a.name != b.name || a.time != b.time || a.data != b.data || a.detail_json != b.detail_json) {
    std::abort();
  }
}

}  // namespace

void Fuzz_qmp_message(absl::string_view input) {
  const std::string line(input);
  const auto message = vmeventd::ParseQmpMessage(line);
  // The other way a long line may be cut elsewhere, and a byte order mark is none.
  if (line.size() < (64 << 10) && line[0] == '{') CheckShortWay(line, message);
  if (!message.ok()) return;
  if (const auto* event = std::get_if<vmeventd::QmpEvent>(&*message)) {
    constexpr size_t kMaxBytes = 256;
    const std::string& whole = event->detail_json;
    if (whole.empty() != event->data.is_null()) std::abort();
    if (whole.empty()) return;
    for (const std::string& detail : {whole, vmeventd::DetailJson(whole, kMaxBytes)}) {
      if (vmeventd::EscapeNonUtf8(detail) != detail) std::abort();
      if (!nlohmann::json::accept(detail)) std::abort();
    }
    if (whole.size() > vmeventd::kMaxDetailBytes) std::abort();
    if (vmeventd::DetailJson(whole, kMaxBytes).size() > kMaxBytes) std::abort();
  }
}
