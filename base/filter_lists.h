#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/label_selector.h"
#include "base/name_matcher.h"
#include "base/number_set.h"
#include "base/uuid.h"

// The one implementation of the contract's EventFilter, for the server, a fleet's readers and lists
// of VMs. An event or VM passes if it matches one entry of every list that is not empty. An event
// of the whole node, a GAP, always passes: the events that are missing may have matched.

namespace vmeventd {

// The lists of a checked filter, an EventFilter. Immutable; any thread.
class FilterLists {
 public:
  FilterLists() = default;
  template <typename Filter>
  explicit FilterLists(const Filter& filter)
      : names_(filter.vm_names()),
        sources_(filter.sources()),
        run_ids_(filter.run_ids().begin(), filter.run_ids().end()),
        types_(filter.types()),
        classes_(filter.classes()),
        causes_(filter.causes()) {
    for (const std::string& text : filter.uuids()) {
      if (const std::optional<Uuid> uuid = ParseUuid(text); uuid.has_value()) uuids_.insert(*uuid);
    }
    for (const std::string& text : filter.labels()) {
      absl::StatusOr<LabelSelector> selector = LabelSelector::Parse(text);
      if (selector.ok()) labels_.push_back(*std::move(selector));
    }
  }

  // Returns whether an event passes. `of_node`: it is of the whole node. `cause` and `vm` return
  // its cause and its VmRef, and are called only if a list needs them. For an event without an end,
  // `shutdown_class` and the cause are 0.
  template <typename Cause, typename Vm>
  bool PassesEvent(bool of_node, int type, int shutdown_class, const Cause& cause,
                   const Vm& vm) const {
    if (of_node) return true;
    if (!types_.Has(type) || !classes_.Has(shutdown_class)) return false;
    return (is_for_all_vms() || PassesVm(vm())) && (causes_.has_all() || causes_.Has(cause()));
  }
  // Returns whether an end passes, such as the last one of a VM.
  bool PassesEnd(int shutdown_class, int cause) const {
    return classes_.Has(shutdown_class) && causes_.Has(cause);
  }
  // Returns whether a VM passes, by a message like VmRef.
  template <typename VmRef>
  bool PassesVm(const VmRef& vm) const {
    return PassesNames(vm.name(), vm.run_id(), vm.source()) && PassesRest(vm);
  }
  bool PassesNames(absl::string_view name, absl::string_view run_id,
                   absl::string_view source) const {
    return names_.Matches(name) && sources_.Matches(source) &&
           (run_ids_.empty() || run_ids_.contains(run_id));
  }
  // Checks the UUIDs and the labels.
  template <typename VmRef>
  bool PassesRest(const VmRef& vm) const {
    if (!uuids_.empty()) {
      const std::optional<Uuid> uuid = ParseUuid(vm.uuid());
      if (!uuid.has_value() || !uuids_.contains(*uuid)) return false;
    }
    return labels_.empty() ||
           std::any_of(labels_.begin(), labels_.end(),
                       [&](const auto& selector) { return selector.Matches(vm.labels()); });
  }

  bool is_for_all_vms() const {
    return names_.matches_all() && sources_.matches_all() && run_ids_.empty() && has_no_rest();
  }
  bool has_no_rest() const { return uuids_.empty() && labels_.empty(); }
  const NameMatcher& names() const { return names_; }
  const NumberSet& types() const { return types_; }
  const NumberSet& classes() const { return classes_; }
  const NumberSet& causes() const { return causes_; }

 private:
  NameMatcher names_;
  NameMatcher sources_;
  absl::flat_hash_set<Uuid> uuids_;
  std::vector<LabelSelector> labels_;
  absl::flat_hash_set<std::string> run_ids_;
  NumberSet types_;
  NumberSet classes_;
  NumberSet causes_;
};

}  // namespace vmeventd
