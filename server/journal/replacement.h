#ifndef VMEVENTD_SERVER_JOURNAL_REPLACEMENT_H_
#define VMEVENTD_SERVER_JOURNAL_REPLACEMENT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/journal/journal.h"
#include "server/journal/schema.h"

// Puts a new journal in the place of one that is moved aside. At each moment a kill or a loss of
// power leaves the old files in their place, or the new journal complete: as PATH.next-SUFFIX until
// the old files are PATH.SUFFIX, and then as PATH.

namespace vmeventd {

// Where the journal at `path` is moved to: PATH.corrupt-DATE, or what a replacement that is under
// way has begun with. UNAVAILABLE: the directory cannot be listed.
absl::StatusOr<std::string> NameAside(const std::string& path, absl::Time now);

// Writes the new journal, durably, with which its place is taken by FinishReplacement alone.
// `aside` as by NameAside. UNAVAILABLE: it cannot be written; nothing has changed.
absl::Status BuildReplacement(const JournalOptions& options, const JournalBeginning& beginning,
                              const std::string& aside);

// Does what is left to do of a replacement, if one is under way: moves the old files aside and the
// new journal to `path`. UNAVAILABLE: not all could be done; the next call goes on.
absl::Status FinishReplacement(const std::string& path);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_JOURNAL_REPLACEMENT_H_
