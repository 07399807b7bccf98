#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <list>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"

namespace vmeventd {

// A queue that is fair between owners: the items of one owner leave in the order they came, and
// owners take turns, so that an owner with many items does not delay the others. Not thread-safe
// and not bounded: the caller locks and limits it.
template <typename Item>
class FairQueue {
 public:
  void Push(const std::string& owner, Item item) {
    auto found = lines_.find(owner);
    if (found == lines_.end()) {
      found = lines_.emplace(owner, turns_.insert(turns_.end(), {owner, {}})).first;
    }
    found->second->items.push_back(std::move(item));
    ++size_;
  }

  // Takes the next item. The queue must not be empty.
  Item Pop() {
    const auto line = turns_.begin();
    Item item = std::move(line->items.front());
    line->items.pop_front();
    --size_;
    if (line->items.empty()) {
      Forget(line);
    } else {
      turns_.splice(turns_.end(), turns_, line);
    }
    return item;
  }

  // Takes the newest item of the owner with the most items. The queue must not be empty.
  Item PopFromLongest() {
    const auto line = std::max_element(
        turns_.begin(), turns_.end(),
        [](const Line& a, const Line& b) { return a.items.size() < b.items.size(); });
    Item item = std::move(line->items.back());
    line->items.pop_back();
    --size_;
    if (line->items.empty()) Forget(line);
    return item;
  }

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  size_t size_of(const std::string& owner) const {
    const auto found = lines_.find(owner);
    return found == lines_.end() ? 0 : found->second->items.size();
  }

 private:
  struct Line {
    std::string owner;
    std::deque<Item> items;
  };
  using Turns = std::list<Line>;

  void Forget(typename Turns::iterator line) {
    lines_.erase(line->owner);
    turns_.erase(line);
  }

  Turns turns_;  // the next owner first; no line is empty
  absl::flat_hash_map<std::string, typename Turns::iterator> lines_;
  size_t size_ = 0;
};

}  // namespace vmeventd
