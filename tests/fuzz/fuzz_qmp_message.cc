// Parsing any line results in a message or an error; the event's data is bounded and can be parsed
// again.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <variant>

#include "watcher/core/names.h"
#include "watcher/core/qmp_message.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto message =
      vmeventd::ParseQmpMessage(absl::string_view(reinterpret_cast<const char*>(data), size));
  if (!message.ok()) return 0;
  if (const auto* event = std::get_if<vmeventd::QmpEvent>(&*message)) {
    constexpr size_t kMaxBytes = 256;
    const std::string& whole = event->detail_json;
    if (whole.empty() != event->data.is_null()) std::abort();
    if (whole.empty()) return 0;
    for (const std::string& detail : {whole, vmeventd::DetailJson(whole, kMaxBytes)}) {
      if (vmeventd::EscapeNonUtf8(detail) != detail) std::abort();
      if (!nlohmann::json::accept(detail)) std::abort();
    }
    if (whole.size() > vmeventd::kMaxDetailBytes) std::abort();
    if (vmeventd::DetailJson(whole, kMaxBytes).size() > kMaxBytes) std::abort();
  }
  return 0;
}
