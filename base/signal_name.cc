#include "base/signal_name.h"

#include <cstring>

#include "absl/strings/str_cat.h"

namespace vmeventd {

std::string SignalName(int signal) {
  const char* const name = sigabbrev_np(signal);
  return name == nullptr ? absl::StrCat("signal ", signal) : absl::StrCat("SIG", name);
}

}  // namespace vmeventd
