#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/eventlog/journal.h"
#include "server/eventlog/schema.h"

namespace vmeventd {

// The next three put a new journal in the place of one that is moved aside. At each moment a kill
// or a loss of power leaves the old files in their place, or the new journal complete: as
// PATH.next-SUFFIX until the old files are PATH.SUFFIX, and then as PATH.

// Returns the name to which the journal at `path` is moved: PATH.corrupt-DATE, or what a
// replacement that is under way has begun with. UNAVAILABLE: the directory cannot be listed.
absl::StatusOr<std::string> NameAside(const std::string& path, absl::Time now);

// Writes the new journal, durably, with which its place is taken by FinishReplacement alone.
// `aside` as by NameAside. UNAVAILABLE: it cannot be written; nothing has changed.
absl::Status BuildReplacement(const JournalOptions& options, const JournalBeginning& beginning,
                              const std::string& aside);

// Does what is left to do of a replacement, if one is under way: moves the old files aside and the
// new journal to `path`. UNAVAILABLE: not all could be done; the next call goes on.
absl::Status FinishReplacement(const std::string& path);

// A journal that is open, and what it had to say.
struct OpenedJournal {
  std::unique_ptr<Journal> journal;
  // A corrupt database was moved here, and why; both empty: none was. Also where the daemon before
  // this one did that, and the new one has no event yet. Only moved_to empty: it was no longer
  // there.
  std::string moved_to;
  std::string moved_because;
  // The open runs: of the database, which has what could still be read of the one that was moved.
  std::vector<SavedRun> runs;
  // The VMs that stopped last, oldest first; none of one that was moved.
  std::vector<JournalStop> stops;
  // Reason to take its files for a copy of those that were written last; empty: they are not.
  // Events may be missing behind the newest, whose sequences a client has seen: so it has a new
  // journal_id.
  std::string restored_because;
};

// Opens the database, or makes it. A corrupt one is moved aside under a dated name, and a new one
// made; so is one that holds less than `newest_durable` says it must, and one that has failed each
// start for a while because a part of it cannot be read. One that is a copy keeps its
// events and gets a new journal_id (journal_origin.h). Errors: see Journal::Open. `newest_durable`
// takes the journal's id and gives the newest sequence known to be committed.
absl::StatusOr<OpenedJournal> OpenJournal(
    const JournalOptions& options, absl::Time now,
    const std::function<uint64_t(const std::string&)>& newest_durable = [](const std::string&) {
      return uint64_t{0};
    });

// State that a new journal continues.
struct Replacement {
  uint64_t begins_after = 0;        // its events have later sequences
  Journal* in_use = nullptr;        // the one that was in use; it stays open
  std::vector<SavedRun> changes{};  // of the open runs, that are not in `in_use`, in order
};
// Moves what is there aside, whatever it is, and makes a new one in its place, whose events begin
// at the time `now` and which has the open runs. A failure, or a kill, leaves the old one in its
// place, or the new one complete.
absl::StatusOr<OpenedJournal> ReplaceJournal(const JournalOptions& options,
                                             const std::string& because, absl::Time now,
                                             const Replacement& replacement);

}  // namespace vmeventd
