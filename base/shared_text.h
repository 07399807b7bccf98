#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace vmeventd {

// A text that is the same in many objects: copies share the memory. Any thread.
class SharedText {
 public:
  SharedText() = default;
  explicit SharedText(std::string text) { *this = std::move(text); }
  SharedText& operator=(std::string text) {
    text_ = text.empty() ? nullptr : std::make_shared<const std::string>(std::move(text));
    return *this;
  }

  bool empty() const { return text_ == nullptr; }
  // Lives until the next change.
  const std::string& str() const {
    static const std::string kEmpty;
    return text_ == nullptr ? kEmpty : *text_;
  }

  bool operator==(absl::string_view text) const { return str() == text; }

 private:
  std::shared_ptr<const std::string> text_;
};

// Finds texts that are alike among the last kTexts different ones. One thread.
class SharedTexts {
 public:
  // Makes `text` one of those that it was given before, if there is an equal one.
  void Share(SharedText* text) {
    if (text->empty()) return;
    for (const SharedText& known : texts_) {
      if (known.str() == text->str()) {
        *text = known;
        return;
      }
    }
    texts_[next_++ % kTexts] = *text;
  }

 private:
  static constexpr size_t kTexts = 32;

  std::array<SharedText, kTexts> texts_;
  size_t next_ = 0;
};

}  // namespace vmeventd
