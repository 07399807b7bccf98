#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "base/glob.h"
#include "base/label_selector.h"
#include "base/uuid.h"
#include "server/events/event_block.h"
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

  // Adds the cost of the answer, at least one, to `steps`: one step for the look-up of the name,
  // and of each pattern with a wildcard a step for each byte that it compares (Glob).
  bool Matches(absl::string_view name, size_t* steps) const;
  bool matches_all() const { return exact_.empty(); }
  // All entries, as names, and those of them that have a wildcard.
  const absl::flat_hash_set<std::string>& exact() const { return exact_; }
  const std::vector<Glob>& globs() const { return globs_; }
  size_t memory() const;

 private:
  absl::flat_hash_set<std::string> exact_;
  std::vector<Glob> globs_;
};

// Lists of checked UUIDs and selectors of labels. An empty list matches every VM. Immutable; any
// thread.
class RefMatcher {
 public:
  using Texts = google::protobuf::RepeatedPtrField<std::string>;

  RefMatcher() = default;
  RefMatcher(const Texts& uuids, const Texts& labels);

  // Reads the VM in `vm_field` by `read`, if needed.
  bool Matches(VmRefView (*read)(absl::string_view), absl::string_view vm_field,
               size_t* steps) const;
  bool matches_all() const { return uuids_.empty() && labels_.empty(); }
  size_t memory() const;

 private:
  absl::flat_hash_set<Uuid> uuids_;
  std::vector<LabelSelector> labels_;
};

// Returns whether a name pattern has a wildcard.
bool IsGlob(absl::string_view pattern);

// A checked EventFilter: an event passes if it matches one entry of every list that is not empty.
// An event of the node as a whole always passes. Immutable once made.
class EventMatcher {
 public:
  EventMatcher() = default;
  explicit EventMatcher(const v1::EventFilter& filter);

  // `encoded`: the event's encoding, which UUIDs, labels and causes are read from. See NameMatcher
  // about `steps`.
  bool Matches(const EventBlock::Entry& entry, absl::string_view encoded, size_t* steps) const;
  // Returns whether a snapshot has such a VM.
  bool MatchesVm(const VmRecord& vm, size_t* steps) const;
  const NameMatcher& names() const { return names_; }
  bool has_globs() const { return !names_.globs().empty() || !sources_.globs().empty(); }
  // Returns whether an event takes long: it is compared with wildcards, or its encoding is read.
  bool is_slow() const { return has_globs() || !refs_.matches_all() || causes_ != 0; }
  // A bit a value that passes; 0: all.
  uint64_t types() const { return types_; }
  uint64_t classes() const { return classes_; }
  bool matches_all() const {
    return names_.matches_all() && sources_.matches_all() && types_ == 0 && classes_ == 0 &&
           refs_.matches_all() && run_ids_.empty() && causes_ == 0;
  }
  size_t memory() const;

 private:
  NameMatcher names_;
  NameMatcher sources_;
  RefMatcher refs_;
  absl::flat_hash_set<std::string> run_ids_;
  uint64_t types_ = 0;
  uint64_t classes_ = 0;
  uint64_t causes_ = 0;
};

}  // namespace vmeventd
