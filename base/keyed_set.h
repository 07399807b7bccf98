#pragma once

#include <cstddef>

#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"

namespace vmeventd {

// A hash set whose elements are found by a key that they have themselves, and so is not kept twice.
// `Key` has functions Of(), which return the key of an element, and the one that is given. An
// element's key stays the same while it is in the set.
template <typename Key>
struct KeyHash {
  using is_transparent = void;
  template <typename T>
  size_t operator()(const T& value) const {
    return absl::HashOf(Key::Of(value));
  }
};
template <typename Key>
struct KeyEqual {
  using is_transparent = void;
  template <typename A, typename B>
  bool operator()(const A& a, const B& b) const {
    return Key::Of(a) == Key::Of(b);
  }
};
template <typename T, typename Key>
using KeyedSet = absl::flat_hash_set<T, KeyHash<Key>, KeyEqual<Key>>;

}  // namespace vmeventd
