#ifndef VMEVENTD_SERVER_JOURNAL_OPEN_JOURNAL_H_
#define VMEVENTD_SERVER_JOURNAL_OPEN_JOURNAL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/journal/journal.h"
#include "server/journal/rows.h"

namespace vmeventd {

// A journal that is open, and what it had to say.
struct OpenedJournal {
  std::unique_ptr<Journal> journal;
  // A corrupt database was moved here, and why; empty: none was.
  std::string moved_to;
  std::string moved_because;
  // The open runs: of the database, or what could still be read of the one that was moved.
  std::vector<JournalSession> sessions;
  // The VMs that stopped last, oldest first; none of one that was moved.
  std::vector<JournalStop> stops;
  // Why its files are a copy of those that were written last; empty: they are not. Events may be
  // missing behind the newest, whose sequences a client has seen: so it has a new journal_id.
  std::string restored_because;
};

// Opens the database, or makes it. A corrupt one is moved aside under a dated name, and a new one
// made; so is one that holds less than `newest_durable` says it must. One that is a copy keeps its
// events and gets a new journal_id (journal_origin.h). Errors: see Journal::Open. `newest_durable`
// takes the journal's id and gives the newest sequence known to be committed.
absl::StatusOr<OpenedJournal> OpenJournal(
    const JournalOptions& options, absl::Time now,
    const std::function<uint64_t(const std::string&)>& newest_durable = [](const std::string&) {
      return uint64_t{0};
    });

// Moves what is there aside, whatever it is, and makes a new one, whose events begin after the
// sequence `begins_after` and at the time `now`. `before`: the one that was in use, which stays
// open; may be null.
absl::StatusOr<OpenedJournal> ReplaceJournal(const JournalOptions& options, std::string because,
                                             absl::Time now, uint64_t begins_after = 0,
                                             Journal* before = nullptr);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_JOURNAL_OPEN_JOURNAL_H_
