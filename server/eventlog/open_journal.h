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

// Returns the name to which the journal at `path` is moved: PATH.corrupt-DATE, or the name that a
// replacement under way has begun to use. UNAVAILABLE: the directory cannot be listed.
absl::StatusOr<std::string> NameAside(const std::string& path, absl::Time now);

// Writes the new journal durably; only FinishReplacement moves it to its place. `aside` is as
// NameAside returned it. UNAVAILABLE: it cannot be written; nothing has changed.
absl::Status BuildReplacement(const JournalOptions& options, const JournalBeginning& beginning,
                              const std::string& aside);

// Completes a replacement, if one is under way: moves the old files aside and the new journal to
// `path`. UNAVAILABLE: a step failed; the next call continues.
absl::Status FinishReplacement(const std::string& path);

// An open journal, and what was found in it.
struct OpenedJournal {
  std::unique_ptr<Journal> journal;
  // Path to which a corrupt database was moved, and why; both empty: none was. Also set if the
  // previous daemon moved it, and the new journal has no event yet. Only moved_to empty: it was no
  // longer there.
  std::string moved_to;
  std::string moved_because;
  // Open runs of the database, which include what could still be read of one that was moved.
  std::vector<SavedRun> runs;
  // The VMs that stopped last, oldest first; none of one that was moved.
  std::vector<JournalStop> stops;
  // Reason to take its files for a copy of those that were written last; empty: they are not.
  // Events behind the newest may be missing though clients have seen their sequences, so it has a
  // new journal_id.
  std::string restored_because;
};

// Opens or creates the database. A corrupt one is moved aside under a dated name, and a new one
// made; so is one that holds less than `newest_durable` says it must, and one that has failed each
// start for a while because a part of it cannot be read. One that is a copy keeps its events and
// gets a new journal_id (journal_origin.h). Errors: see Journal::Open. `newest_durable` takes the
// journal's id and gives the newest sequence known to be committed.
absl::StatusOr<OpenedJournal> OpenJournal(
    const JournalOptions& options, absl::Time now,
    const std::function<uint64_t(const std::string&)>& newest_durable = [](const std::string&) {
      return uint64_t{0};
    });

// State that a new journal continues.
struct Replacement {
  uint64_t begins_after = 0;        // its events have later sequences
  Journal* in_use = nullptr;        // the journal in use so far; it stays open
  std::vector<SavedRun> changes{};  // changes of open runs that are not in `in_use`, in order
};
// Moves what is there aside, whatever it is, and makes a new one in its place, whose events begin
// at the time `now` and which has the open runs. A failure, or a kill, leaves the old one in its
// place, or the new one complete.
absl::StatusOr<OpenedJournal> ReplaceJournal(const JournalOptions& options,
                                             const std::string& because, absl::Time now,
                                             const Replacement& replacement);

}  // namespace vmeventd
