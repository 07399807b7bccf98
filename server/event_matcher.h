#ifndef VMEVENTD_SERVER_EVENT_MATCHER_H_
#define VMEVENTD_SERVER_EVENT_MATCHER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "server/event_block.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// A list of name patterns, ready to be asked often. An empty list matches every name; patterns
// without a wildcard cost one look-up together, each other one a comparison.
class NameMatcher {
 public:
  NameMatcher() = default;
  explicit NameMatcher(const google::protobuf::RepeatedPtrField<std::string>& patterns);

  bool Matches(absl::string_view name) const;
  // What one Matches costs, in comparisons.
  size_t cost() const { return 1 + globs_.size(); }
  bool matches_all() const { return exact_.empty() && globs_.empty(); }
  // The patterns without a wildcard, and the others.
  const absl::flat_hash_set<std::string>& exact() const { return exact_; }
  const std::vector<std::string>& globs() const { return globs_; }

 private:
  absl::flat_hash_set<std::string> exact_;
  std::vector<std::string> globs_;
};

// A checked EventFilter: an event passes if it matches one entry of every list that is not empty.
// An event of the node as a whole always passes.
// Immutable after its making.
class EventMatcher {
 public:
  EventMatcher() = default;
  explicit EventMatcher(const v1::EventFilter& filter);

  bool Matches(const EventBlock::Entry& entry) const;
  const NameMatcher& names() const { return names_; }
  // A bit a value that passes; 0: all.
  uint64_t types() const { return types_; }
  uint64_t classes() const { return classes_; }
  bool matches_all() const { return names_.matches_all() && types_ == 0 && classes_ == 0; }

 private:
  NameMatcher names_;
  uint64_t types_ = 0;
  uint64_t classes_ = 0;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_EVENT_MATCHER_H_
