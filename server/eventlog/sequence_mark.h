#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vmeventd {

// Sequences of a journal that may be in use, stored in the file `sequence` next to the database.
// They are reserved in ranges, so that one sync covers many events. After an orderly stop,
// `through` is the newest event.
struct SequenceMark {
  std::string journal_id;  // empty: there is no mark
  uint64_t through = 0;
};
// Returns an empty mark if there is none. An error: it cannot be read now.
absl::StatusOr<SequenceMark> ReadMark(const std::string& journal_path);
absl::Status WriteMark(const std::string& journal_path, const SequenceMark& mark);

// Number of sequences to reserve: more than there are events while a disk hangs.
inline constexpr uint64_t kReservedSequences = 1'000'000'000;

}  // namespace vmeventd
