#include "client/output/json_with_texts.h"

#include "client/output/detail_text.h"
#include "client/output/json.h"
#include "client/output/vm_text.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {

absl::StatusOr<std::string> ToJsonWithTexts(const NodeEvent& one, absl::TimeZone zone) {
  const std::string pause = PauseWords(one.event.pause_reason());
  return ObjectOf({{"", ToJson(one.event, one.node)},
                   {"detail", JsonText(DetailText(one.event, zone, /*wide=*/false))},
                   {"pause_text", pause.empty() ? "" : JsonText(pause)}});
}

}  // namespace vmeventd::client
