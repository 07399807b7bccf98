#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace vmeventd {

inline constexpr size_t kMaxLabels = 16;  // limit per VM
inline constexpr size_t kMaxLabelKeyBytes = 63;
inline constexpr size_t kMaxLabelValueBytes = 128;

// Returns whether `key` can be a label's: not empty, not too long, only letters, digits and "._-/".
bool IsLabelKey(absl::string_view key);

// Conditions on the labels of a VM, all of which must hold: "app=web,tier!=db,owner,!canary", as
// the contract has them (EventFilter.labels). Immutable; any thread.
class LabelSelector {
 public:
  static constexpr size_t kMaxConditions = 16;

  // INVALID_ARGUMENT: for people, what is wrong with `text` and what would be right, to stand
  // behind the quoted text.
  static absl::StatusOr<LabelSelector> Parse(absl::string_view text);

  // `value_of` has the value of a key; unset: there is no such label.
  using ValueOf = absl::FunctionRef<std::optional<absl::string_view>(absl::string_view key)>;
  bool Matches(ValueOf value_of) const;

  // Memory of the conditions, about.
  size_t memory() const;

 private:
  struct Condition {
    std::string key;
    std::optional<std::string> value;  // unset: any
    bool negated = false;
  };

  std::vector<Condition> conditions_;
};

}  // namespace vmeventd
