#include "watcher/session/save_schedule.h"

#include <algorithm>
#include <utility>

#include "absl/hash/hash.h"

namespace vmeventd {

bool SaveSchedule::Admit(absl::Duration now) {
  if (limit_.Take(now)) return true;
  due_at_ = std::min(due_at_, now + kDelay);
  return false;
}

bool SaveSchedule::Record(absl::string_view text) {
  Cancel();
  const size_t hash = absl::HashOf(text);
  return std::exchange(hash_, hash) != hash;
}

}  // namespace vmeventd
