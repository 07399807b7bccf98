#pragma once

#include <memory>
#include <string>

#include "absl/strings/string_view.h"

namespace vmeventd {

// A text that is empty in nearly all of many objects: it takes 8 bytes there, where a std::string
// takes 32.
class RareText {
 public:
  RareText() = default;
  explicit RareText(absl::string_view text) { *this = text; }
  RareText(const RareText& other) { *this = other.str(); }
  RareText(RareText&&) = default;
  RareText& operator=(const RareText& other) { return *this = other.str(); }
  RareText& operator=(RareText&&) = default;
  RareText& operator=(absl::string_view text) {
    // `text` may be a view of the text that is replaced.
    text_ = text.empty() ? nullptr : std::make_unique<const std::string>(text);
    return *this;
  }
  void clear() { text_ = nullptr; }

  bool empty() const { return text_ == nullptr; }
  // Lives until the next change.
  const std::string& str() const {
    static const std::string kEmpty;
    return text_ == nullptr ? kEmpty : *text_;
  }

 private:
  std::unique_ptr<const std::string> text_;
};

}  // namespace vmeventd
