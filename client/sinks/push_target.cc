#include "client/sinks/push_target.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "client/sinks/signature.h"

namespace vmeventd::client {

std::string TargetKey(const std::string& host, absl::string_view url) {
  constexpr size_t kMaxOfName = 100;
  constexpr size_t kDigits = 16;
  return absl::StrCat(host.substr(0, kMaxOfName), "-", HmacOf("", url).substr(0, kDigits));
}

absl::Status PlainTextError(absl::string_view target, absl::string_view scheme) {
  return absl::InvalidArgumentError(absl::StrCat("URL: ", target,
                                                 " would get the events as plain text; write ",
                                                 scheme, ", or allow it with --insecure-http"));
}

}  // namespace vmeventd::client
