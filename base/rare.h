#pragma once

#include <memory>
#include <optional>
#include <utility>

namespace vmeventd {

// A std::optional with its value on the heap, for members that nearly all of many objects leave
// unset. Takes 8 bytes while unset.
template <typename T>
class Rare {
 public:
  Rare() = default;
  // NOLINTBEGIN(google-explicit-constructor): as those of std::optional
  Rare(T value) : value_(std::make_unique<T>(std::move(value))) {}
  Rare(std::optional<T> value) {
    if (value.has_value()) emplace(*std::move(value));
  }
  // NOLINTEND(google-explicit-constructor)
  Rare(const Rare& other) {
    if (other.has_value()) emplace(*other);
  }
  Rare(Rare&&) noexcept = default;
  Rare& operator=(const Rare& other) { return *this = Rare(other); }
  Rare& operator=(Rare&&) noexcept = default;
  ~Rare() = default;

  template <typename... Args>
  T& emplace(Args&&... args) {
    value_ = std::make_unique<T>(std::forward<Args>(args)...);
    return *value_;
  }
  void reset() { value_ = nullptr; }

  bool has_value() const { return value_ != nullptr; }
  // Null: unset.
  T* get() { return value_.get(); }
  const T* get() const { return value_.get(); }
  T& operator*() { return *value_; }
  const T& operator*() const { return *value_; }
  T* operator->() { return value_.get(); }
  const T* operator->() const { return value_.get(); }

 private:
  std::unique_ptr<T> value_;
};

}  // namespace vmeventd
