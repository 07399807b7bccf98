#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace vmeventd {

// A compact text for many objects: 8 bytes in each, and nothing more while it is empty. Set only as
// a whole; copies share the memory of the text. Any thread.
class SharedText {
 public:
  SharedText() = default;
  explicit SharedText(absl::string_view text) {
    if (text.empty()) return;
    text_ = new (operator new(sizeof(Text) + text.size()))
        Text{{1}, static_cast<uint32_t>(text.size())};
    std::copy(text.begin(), text.end(), reinterpret_cast<char*>(text_ + 1));
  }
  SharedText(const SharedText& other) noexcept : text_(other.text_) {
    if (text_ != nullptr) text_->users.fetch_add(1, std::memory_order_relaxed);
  }
  SharedText(SharedText&& other) noexcept : text_(std::exchange(other.text_, nullptr)) {}
  SharedText& operator=(SharedText other) noexcept {
    std::swap(text_, other.text_);
    return *this;
  }
  // `text` may be a view of the text that is replaced.
  SharedText& operator=(absl::string_view text) { return *this = SharedText(text); }
  // NOLINTBEGIN(clang-analyzer-cplusplus.NewDelete): the analyzer does not follow `users`
  ~SharedText() {
    if (text_ != nullptr && text_->users.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      operator delete(text_);
    }
  }

  void clear() { *this = SharedText(); }
  bool empty() const { return text_ == nullptr; }
  // Valid until the next change.
  absl::string_view str() const {
    if (text_ == nullptr) return "";
    return {reinterpret_cast<const char*>(text_ + 1), text_->size};
  }
  // NOLINTEND(clang-analyzer-cplusplus.NewDelete)
  // NOLINTNEXTLINE(google-explicit-constructor): as std::string has it
  operator absl::string_view() const { return str(); }
  explicit operator std::string() const { return std::string(str()); }

  bool operator==(const SharedText& other) const { return str() == other.str(); }
  bool operator==(absl::string_view text) const { return str() == text; }
  template <typename H>
  friend H AbslHashValue(H hash, const SharedText& text) {
    return H::combine(std::move(hash), text.str());
  }

 private:
  // Header of a text; the bytes follow it in memory.
  struct Text {
    std::atomic<uint32_t> users;
    const uint32_t size;
  };

  Text* text_ = nullptr;
};

// Shares equal texts among the last kTexts different ones. One thread.
class SharedTexts {
 public:
  // Makes `text` share the memory of an equal text that it was given before, if there is one.
  void Share(SharedText* text) {
    if (text->empty()) return;
    for (const SharedText& known : texts_) {
      if (known == *text) {
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
