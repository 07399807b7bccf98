#include "server/host/pulse.h"

#include <algorithm>

namespace vmeventd {

bool Pulse::Ask() {
  unanswered_ = answered_ == asked_ ? 0 : std::min(unanswered_ + 1, kQuestions);
  if (unanswered_ == 0) ++asked_;
  return unanswered_ == kQuestions;
}

}  // namespace vmeventd
