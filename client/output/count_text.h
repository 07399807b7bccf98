#pragma once

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace vmeventd::client {

// "1 QEMU", "2 QEMUs".
template <typename Number>
std::string CountText(Number count, absl::string_view noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

}  // namespace vmeventd::client
