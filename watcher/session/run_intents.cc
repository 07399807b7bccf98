#include "watcher/session/run_intents.h"

#include <utility>

#include "watcher/core/proto_time.h"
#include "watcher/session/classification.h"

namespace vmeventd {

const v1::Intent* RunIntents::OfRequest(absl::string_view request_id) const {
  for (const auto* intent : {&open, &counted}) {
    if (intent->has_value() && !request_id.empty() &&
        (*intent)->intent.request_id() == request_id) {
      return &(*intent)->intent;
    }
  }
  return nullptr;
}

void RunIntents::Open(const v1::Intent& intent, Instant now) {
  open = DeclaredIntent{intent, now.wall,
                        now.monotonic + (FromTimestamp(intent.expire_time()) - now.wall)};
}

v1::Intent RunIntents::Close(const Evidence& facts) {
  v1::Intent closed = open->intent;
  if (facts.intended && !counted.has_value()) counted = std::move(open);
  open.reset();
  return closed;
}

void RunIntents::Reconsider(Evidence* facts) {
  if (IsDecided(*facts)) return;  // the first decision counts
  facts->intended = open.has_value();
  counted.reset();
}

}  // namespace vmeventd
