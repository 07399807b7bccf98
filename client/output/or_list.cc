#include "client/output/or_list.h"

#include <cstddef>

#include "absl/strings/str_cat.h"

namespace vmeventd::client {

std::string OrList(const std::vector<std::string>& words) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) {
    const bool is_last = i + 1 == words.size();
    absl::StrAppend(&text, i == 0 ? "" : is_last ? " or " : ", ", words[i]);
  }
  return text;
}

}  // namespace vmeventd::client
