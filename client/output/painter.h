#pragma once

#include <string>

#include "absl/strings/string_view.h"

// Colours of a terminal. Pure.

namespace vmeventd::client {

enum class Color { kNone, kBold, kDim, kRed, kGreen, kYellow, kBlue, kCyan };

// Wraps text in colour, or returns it unchanged if colour is off.
class Painter {
 public:
  explicit Painter(bool enabled) : enabled_(enabled) {}
  std::string Paint(absl::string_view text, Color color) const;

 private:
  bool enabled_;
};

}  // namespace vmeventd::client
