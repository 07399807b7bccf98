#include "server/eventlog/log_start.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/uuid.h"
#include "server/eventlog/alive_time.h"
#include "server/eventlog/file_identity.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

// The sequence mark as it was found.
struct FoundMark {
  SequenceMark mark;
  bool is_readable = true;

  bool existed() const { return !is_readable || !mark.journal_id.empty(); }
};

FoundMark FindMark(const std::string& path) {
  const absl::StatusOr<SequenceMark> read = ReadMark(path);
  if (read.ok()) return {*read};
  spdlog::warn("{}; cannot tell which sequences were used", std::string(read.status().message()));
  return {.is_readable = false};
}

// Returns whether a database may be at `path`.
bool MayExist(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return errno != ENOENT;
  return S_ISREG(info.st_mode) && info.st_size > 0;
}

// Continues as another journal, for which no sequence was given yet; `why` unless there is a reason
// already. `used`: the last sequence of an open journal.
void Rename(uint64_t used, const char* why, LogStart* start) {
  start->after.journal_id = RandomUuid();
  if (start->opened.journal != nullptr) {
    start->opened.journal->Rename(start->after.journal_id);
    start->after.through = used;
  }
  if (start->opened.replaced.empty()) start->opened.replaced = why;
}

// Finds the id and the last sequence of a journal that was opened, and not handed over.
void ContinueJournal(const FoundMark& found, uint64_t newest, LogStart* start) {
  Journal::Opened& opened = start->opened;
  start->after = {opened.journal->journal_id(), newest};
  const bool is_marked = found.mark.journal_id == start->after.journal_id;
  if (opened.created && opened.replaced.empty() && found.existed()) {
    const std::string& id = found.mark.journal_id;
    opened.replaced = absl::StrCat("the journal ", id, id.empty() ? "" : " ",
                                   "is missing, with its events and open runs");
  } else if (is_marked && opened.replaced.empty()) {
    start->after.through = std::max(start->after.through, found.mark.through);
  } else if (!opened.created) {
    Rename(newest, "the last sequence is not known, and events may be missing", start);
  }
}

// Reserves the sequences after start->after.
void Reserve(const std::string& path, const FoundMark& found, uint64_t used, LogStart* start) {
  const uint64_t reserved = start->after.through + kReservedSequences;
  // The next daemon would give the same sequences if this one cannot reserve its own.
  const bool repeats =
      !found.is_readable || (found.mark.journal_id == start->after.journal_id &&
                             found.mark.through < reserved - kReservedSequences / 2);
  // The writer tries again, and reports why. If this life ends before, the next one finds a mark
  // that is not of this id.
  if (!WriteMark(path, {start->after.journal_id, reserved}).ok() && repeats) {
    Rename(used, "cannot reserve sequences at the start", start);
  }
}

}  // namespace

absl::StatusOr<LogStart> FindLogStart(const JournalOptions& options, absl::Time now,
                                      const TakeHanded& take_handed) {
  const std::string& path = options.path;
  const FoundMark found = FindMark(path);
  LogStart start;
  JournalEnd end{FileIdentity(path), 0, UINT64_MAX};
  absl::StatusOr<Journal::Opened> opened = Journal::Open(options, now);
  if (opened.ok()) {
    start.opened = *std::move(opened);
    end.stored = end.newest = start.opened.journal->bounds().newest;
  } else {
    // Only the mark shows which sequences the closed journal may have assigned.
    const bool is_known = !found.mark.journal_id.empty() || !MayExist(path);
    if (absl::IsFailedPrecondition(opened.status()) || !is_known) return opened.status();
    spdlog::error("{}; new events are not durable until it can be opened",
                  std::string(opened.status().message()));
    start.opened.problem = opened.status();
    start.opened.file = end.file;
  }
  if (take_handed != nullptr) start.handed = take_handed(end);
  const std::optional<HandedLog>& handed = start.handed;
  const bool is_open = start.opened.problem.ok();
  start.previous.runs_are_known =
      handed.has_value() ? handed->knows_runs
                         : is_open && !start.opened.created && start.opened.replaced.empty();
  const uint64_t used = handed.has_value() ? handed->end.newest : end.newest;
  if (handed.has_value()) {
    start.after = {handed->journal_id, handed->end.newest};
    if (is_open) start.opened.journal->Rename(handed->journal_id);
  } else if (is_open) {
    ContinueJournal(found, end.newest, &start);
  } else {
    start.after = found.mark;
    if (start.after.journal_id.empty()) start.after.journal_id = RandomUuid();
  }
  Reserve(path, found, used, &start);
  if (!start.opened.replaced.empty()) {
    spdlog::error("{}: {}; the id of the journal is now {}", path, start.opened.replaced,
                  start.after.journal_id);
  }
  start.previous.existed =
      handed.has_value() || found.existed() || (is_open && !start.opened.created);
  const absl::Time handed_until = handed.has_value() ? handed->watched_until : absl::InfinitePast();
  start.previous.last_watched =
      handed_until > absl::InfinitePast() ? handed_until : ReadAlive(path);
  if (!handed.has_value()) {
    start.previous.runs = std::exchange(start.opened.runs, {});
    return start;
  }
  start.previous.runs = std::exchange(start.handed->runs, {});
  for (auto& [run_id, run] : start.previous.runs) {
    const auto known = start.opened.runs.extract(run_id);  // the others are over
    if (known) run.last_sequence = std::max(run.last_sequence, known.mapped().last_sequence);
  }
  return start;
}

}  // namespace vmeventd
