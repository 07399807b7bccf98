#ifndef VMEVENTD_SERVER_STREAM_NAME_INDEX_H_
#define VMEVENTD_SERVER_STREAM_NAME_INDEX_H_

#include <cstddef>
#include <string>
#include <utility>

#include "absl/container/btree_set.h"
#include "absl/hash/hash.h"
#include "absl/strings/string_view.h"
#include "server/events/event_matcher.h"

namespace vmeventd {

class WatchStream;

// Which streams want the events of which names, for filters without a wildcard. Keeps hashes of the
// names: a stream may be found for a name that is not its own. Not synchronised; does not own the
// streams.
class NameIndex {
 public:
  // Memory of a name, about.
  static constexpr size_t kBytesOfName = 24;

  void Add(WatchStream* stream, const NameMatcher& names) {
    streams_.insert(stream);
    for (const std::string& name : names.exact()) wanted_.emplace(HashOf(name), stream);
  }
  // `names` as they were added.
  void Remove(WatchStream* stream, const NameMatcher& names) {
    streams_.erase(stream);
    for (const std::string& name : names.exact()) wanted_.erase({HashOf(name), stream});
  }

  bool empty() const { return streams_.empty(); }
  // Calls `visit` with each stream that may want events of `name`.
  template <typename Visit>
  void Find(absl::string_view name, const Visit& visit) const {
    const size_t hash = HashOf(name);
    for (auto it = wanted_.lower_bound({hash, nullptr}); it != wanted_.end() && it->first == hash;
         ++it) {
      visit(it->second);
    }
  }
  // Calls `visit` with every stream.
  template <typename Visit>
  void FindAll(const Visit& visit) const {
    for (WatchStream* const stream : streams_) visit(stream);
  }

 private:
  static size_t HashOf(absl::string_view name) { return absl::HashOf(name); }

  absl::btree_set<std::pair<size_t, WatchStream*>> wanted_;
  absl::btree_set<WatchStream*> streams_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_STREAM_NAME_INDEX_H_
