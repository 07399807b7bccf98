#pragma once

#include <cstddef>

#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"

namespace vmeventd {

// A hash set whose elements contain their own key, which is thus not stored twice. `Key` has two
// functions Of(): one returns an element's key, one returns the given key. An element's key stays
// the same while it is in the set.
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
