#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// Patterns by which people choose VMs: shell patterns, and conditions on labels.

namespace vmeventd {

// A shell pattern, ready to be asked often: * ? [set] [!set], of bytes. A bracket that never closes
// stands for itself. Immutable; any thread.
//
// A match compares at most n * n / 4 + n bytes of a text of n bytes, whatever the pattern: each
// part between two stars takes the first place where it fits, and is never tried again.
class Glob {
 public:
  explicit Glob(absl::string_view pattern);

  // Returns whether `text` as a whole matches. Adds to `steps` the bytes that were compared, at
  // least one.
  bool Matches(absl::string_view text, size_t* steps) const;
  // Memory of the pattern, about.
  size_t memory() const;

 private:
  // One byte of text: that very byte, any one, or one of a set.
  struct Element {
    enum class Kind : uint8_t { kByte, kAny, kSet };
    Kind kind;
    uint8_t byte;  // kByte
    uint16_t set;  // kSet: index in sets_
  };
  // Elements that stand side by side, between stars: [begin, end) of elements_.
  struct Part {
    uint16_t begin;
    uint16_t end;
    size_t size() const { return size_t{end} - begin; }
  };
  using Set = std::bitset<256>;

  // The length of the bracket expression at the start of `pattern`, whose set it adds; 0: it never
  // closes.
  size_t AddBracket(absl::string_view pattern);
  bool Fits(const Part& part, absl::string_view text, size_t* steps) const;

  std::vector<Element> elements_;
  std::vector<Part> parts_;  // one more than there are stars; the first and last may be empty
  std::vector<Set> sets_;
};

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
