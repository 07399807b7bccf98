#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "base/patterns.h"
#include "base/uuid.h"
#include "server/events/event_codec.h"
#include "server/events/vm_registry.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// A list of patterns of names, of VMs or of sources, ready to be asked often. An entry that equals
// a name matches it, whatever characters it has. An empty list matches every name. Immutable; any
// thread.
class NameMatcher {
 public:
  NameMatcher() = default;
  explicit NameMatcher(const google::protobuf::RepeatedPtrField<std::string>& patterns);

  bool Matches(absl::string_view name) const;
  bool matches_all() const { return exact_.empty(); }
  // The names, if there is no pattern with a wildcard; null: any name may match.
  const absl::flat_hash_set<std::string>* exact() const {
    return globs_.empty() && !exact_.empty() ? &exact_ : nullptr;
  }

 private:
  absl::flat_hash_set<std::string> exact_;
  std::vector<Glob> globs_;
};

// The filters of a request: `filter` and, if there are any, one of `any_of`.
struct RequestFilter {
  v1::EventFilter filter;
  google::protobuf::RepeatedPtrField<v1::EventFilter> any_of = {};
};

// A checked filter: an event passes if it matches one entry of every list that is not empty. An
// event of the node as a whole always passes. Immutable once made.
class EventMatcher {
 public:
  EventMatcher() = default;
  explicit EventMatcher(const v1::EventFilter& filter);
  explicit EventMatcher(const RequestFilter& request);

  // Takes at most some tenths of a millisecond (32 patterns with wildcards).
  bool Matches(const EventRecord& event) const;
  // Returns whether the VM passes those of the lists that are about VMs.
  bool MatchesVm(const VmRecord& vm) const;
  const NameMatcher& names() const { return names_; }
  bool matches_all() const {
    return types_ == 0 && classes_ == 0 && causes_ == 0 && is_for_all_names() &&
           is_for_all_refs() && any_of_.empty();
  }

 private:
  // Returns whether one of any_of_ passes, or there is none.
  template <typename Passes>
  bool IsAny(const Passes& passes) const {
    return any_of_.empty() || std::any_of(any_of_.begin(), any_of_.end(), passes);
  }

  bool is_for_all_names() const {
    return names_.matches_all() && sources_.matches_all() && run_ids_.empty();
  }
  bool is_for_all_refs() const { return uuids_.empty() && labels_.empty(); }
  bool MatchesNames(absl::string_view name, absl::string_view run_id,
                    absl::string_view source) const {
    return names_.Matches(name) && sources_.Matches(source) &&
           (run_ids_.empty() || run_ids_.contains(run_id));
  }
  bool MatchesRef(const v1::VmRef& vm) const;

  NameMatcher names_;
  NameMatcher sources_;
  absl::flat_hash_set<Uuid> uuids_;
  std::vector<LabelSelector> labels_;
  absl::flat_hash_set<std::string> run_ids_;
  uint64_t types_ = 0;
  uint64_t classes_ = 0;
  uint64_t causes_ = 0;
  std::vector<EventMatcher> any_of_;  // empty: all pass
};

}  // namespace vmeventd
