#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/eventlog/event_log_parts.h"
#include "server/eventlog/open_journal.h"
#include "server/events/event_codec.h"
#include "spdlog/spdlog.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {
namespace {

void NoteReplaced(const OpenedJournal& opened, const SequenceMark::Value& before,
                  RecoveredState* recovered) {
  recovered->saved.journal_is_new = true;
  const std::string old_one =
      opened.moved_to.empty()
          ? "the journal's file was no longer in its place"
          : absl::StrCat("the journal was corrupt and was moved to ", opened.moved_to);
  spdlog::error("{}: {}; a new one begins", opened.moved_because, old_one);
  std::string message = absl::StrCat(old_one, "; the events before this one are there");
  if (before.published > before.committed) {
    absl::StrAppend(&message, " up to ", before.committed, ", those up to ", before.published,
                    " were sent as not durable and are lost");
  }
  recovered->gaps.push_back({std::move(message), std::nullopt});
}

void NoteRestored(const OpenedJournal& opened, RecoveredState* recovered) {
  const Journal& journal = *recovered->journal;
  spdlog::error("{}: the journal is a copy that was restored; it goes on as the journal {}",
                opened.restored_because, journal.journal_id());
  recovered->gaps.push_back(
      {absl::StrCat("the journal was restored from a copy, which ends with the event ",
                    journal.newest(), "; what was observed since then is missing"),
       std::nullopt});
}

void NoteGone(const std::string& path, const SequenceMark::Value& before, absl::Time now,
              RecoveredState* recovered) {
  spdlog::error("{}: the journal {} is gone; another one begins", path, before.journal_id);
  if (absl::Status status = recovered->journal->SetDeletedUntil(now); !status.ok()) {
    spdlog::warn("`since` reaches back beyond the new journal: {}", std::string(status.message()));
  }
  recovered->gaps.push_back({absl::StrCat("the journal ", before.journal_id,
                                          " is gone, and the events and open runs in it"),
                             std::nullopt});
}

}  // namespace

absl::StatusOr<RecoveredState> Recover(const JournalOptions& options, const std::string& mark_path,
                                       absl::Time now) {
  absl::StatusOr<std::unique_ptr<SequenceMark>> mark = SequenceMark::Open(mark_path);
  if (!mark.ok()) return mark.status();
  absl::StatusOr<OpenedJournal> opened = OpenJournal(
      options, now,
      [&mark](const std::string& journal_id) { return (*mark)->Of(journal_id).committed; });
  if (!opened.ok()) return opened.status();
  RecoveredState recovered{.journal = std::move(opened->journal),
                           .mark = *std::move(mark),
                           .saved = {.runs = std::move(opened->runs)}};
  for (const JournalStop& stop : opened->stops) {
    const v1::Vm vm = DecodeSnapshotVmField(stop.vm);
    recovered.saved.ended_runs.push_back({vm.ref().run_id(), vm.ref().source(), vm.ref().uuid()});
    recovered.stopped.push_back(std::make_shared<const VmRecord>(vm));
  }
  const std::string& journal_id = recovered.journal->journal_id();
  const SequenceMark::Value before = recovered.mark->value();
  if (!opened->moved_because.empty()) {
    NoteReplaced(*opened, before, &recovered);
  } else if (!opened->restored_because.empty()) {
    NoteRestored(*opened, &recovered);
  } else if (!before.journal_id.empty() && before.journal_id != journal_id &&
             before.published > 0) {
    NoteGone(options.path, before, now, &recovered);
  }
  const uint64_t committed = recovered.journal->newest();
  recovered.newest = std::max(committed, recovered.mark->Of(journal_id).published);
  if (recovered.newest > committed) {
    recovered.gaps.push_back(
        {absl::StrCat("the events ", committed + 1, " to ", recovered.newest,
                      " were sent as not durable and are lost: vmeventd ended before the journal "
                      "could be written again"),
         EventPump::Missing{committed + 1, recovered.newest}});
  }
  return recovered;
}

void PublishRecovered(const RecoveredState& recovered, Retained retained, Instant now,
                      LiveState* live_state, EventPump* pump) {
  LiveState::Step step;
  step.retained = retained;
  step.vms = recovered.stopped;
  // Open runs are in the first snapshot already: the watcher publishes them later.
  const SessionOptions session_options;
  for (const SavedRun& saved : recovered.saved.runs) {
    const absl::StatusOr<VmSession> run = VmSession::Restore(saved.payload, &session_options, now);
    if (!run.ok()) continue;  // the watcher logs it
    step.vms.push_back(std::make_shared<const VmRecord>(run->Status(), saved.last_sequence));
  }
  live_state->Publish(std::move(step));
  for (const RecoveredState::Gap& gap : recovered.gaps) {
    pump->PublishGap(gap.message, gap.missing);
  }
}

}  // namespace vmeventd
