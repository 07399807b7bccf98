// Parsing any line results in a message or an error; the event's data is bounded and can be parsed
// again.

#include <cstdlib>
#include <string>
#include <variant>

#include "watcher/core/foreign_text.h"
#include "watcher/core/qmp_message.h"

void Fuzz_qmp_message(absl::string_view input) {
  const auto message = vmeventd::ParseQmpMessage(input);
  if (!message.ok()) return;
  if (const auto* event = std::get_if<vmeventd::QmpEvent>(&*message)) {
    constexpr size_t kMaxBytes = 256;
    const std::string& whole = event->detail_json;
    if (whole.empty() != event->data.is_null()) std::abort();
    if (whole.empty()) return;
    for (const std::string& detail : {whole, vmeventd::DetailJson(event->data, kMaxBytes)}) {
      if (vmeventd::EscapeNonUtf8(detail) != detail) std::abort();
      if (!nlohmann::json::accept(detail)) std::abort();
    }
    if (whole.size() > vmeventd::kMaxDetailBytes) std::abort();
    if (vmeventd::DetailJson(event->data, kMaxBytes).size() > kMaxBytes) std::abort();
  }
}
