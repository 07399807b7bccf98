#!/usr/bin/env python3
"""Builds defects into a copy of the tree, one switch each, and lets the simulation look for them.

usage: tests/simulation/mutations.py [--check | --units | --saved | --rules | --elsewhere | NAME...]

A defect is a piece of a file and what it becomes. All are compiled at once, each behind a switch that an
environment variable sets, so that one build serves all. For each the simulation runs until a seed fails,
or for as long as SECONDS_A_MUTATION says (600). Without the switch nothing may fail. A defect that has no effect in the
simulation, or too seldom, names the unit test that fails with it; the simulation does not look for it unless its NAME is
given.
Then each field that is saved of a run, and each rule of the classification, is left out in turn: a unit test of the session
must fail.
Then each element of the contract that tests outside of tests/system/contract hold is left out of what is published, and
each of these tests must fail.
--check: only whether each of the pieces, and each of the unit tests, is there.
--units: only the unit tests that defects name.
--saved: only the fields that are saved. --rules: only the rules. --elsewhere: only the elements of the contract.
"""

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
COPY = ROOT / "build" / "mutations"
SAVED = "watcher/session/run_state.cc"
CLASSIFY = "watcher/session/classification.cc"
RULES = "watcher/session/classification_rules.h"
# Folders with unit tests, and their programs.
UNIT_TESTS = {"tests/watcher": "watcher_test", "tests/server": "server_test", "tests/client": "client_test"}
SECONDS = int(os.environ.get("SECONDS_A_MUTATION", "600"))
HEADER = """#pragma once
#include <cstdlib>
#include <string>
#include <string_view>
namespace vmeventd {
inline bool Mutated(std::string_view name) {
  static const char* const chosen = std::getenv("VMEVENTD_MUTATION");
  return chosen != nullptr && name == chosen;
}
// Without a field of a struct, or a rule.
inline bool Mutated(std::string_view of, std::string_view part) {
  static const bool any = std::getenv("VMEVENTD_MUTATION") != nullptr;
  return any && Mutated(std::string(of) + "." + std::string(part));
}
}  // namespace vmeventd
"""
# Leaves an element of the contract out of a message and of those in it: "MESSAGE.field" is cleared, "ENUM.VALUE" becomes
# another value.
PUBLISHER_HEADER = """#pragma once
#include <string>
#include <vector>
#include "absl/strings/string_view.h"
#include "base/mutation.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
namespace vmeventd {
inline int Published(const google::protobuf::EnumValueDescriptor* value) {
  const google::protobuf::EnumDescriptor* const of = value->type();
  if (!Mutated(of->name(), value->name())) return value->number();
  return of->value(value->index() + 1 < of->value_count() ? value->index() + 1 : 1)->number();
}
inline void LeaveOut(google::protobuf::Message* message) {
  using Field = google::protobuf::FieldDescriptor;
  const google::protobuf::Reflection* const reflection = message->GetReflection();
  std::vector<const Field*> fields;
  reflection->ListFields(*message, &fields);
  for (const Field* field : fields) {
    const int count = field->is_repeated() ? reflection->FieldSize(*message, field) : 0;
    if (Mutated(message->GetDescriptor()->name(), field->name())) {
      reflection->ClearField(message, field);
    } else if (field->cpp_type() == Field::CPPTYPE_ENUM && !field->is_repeated()) {
      reflection->SetEnumValue(message, field, Published(reflection->GetEnum(*message, field)));
    } else if (field->cpp_type() == Field::CPPTYPE_ENUM) {
      for (int i = 0; i < count; ++i) {
        const int value = Published(reflection->GetRepeatedEnum(*message, field, i));
        reflection->SetRepeatedEnumValue(message, field, i, value);
      }
    } else if (field->cpp_type() == Field::CPPTYPE_MESSAGE && !field->is_repeated()) {
      LeaveOut(reflection->MutableMessage(message, field));
    } else if (field->cpp_type() == Field::CPPTYPE_MESSAGE && !field->is_map()) {
      for (int i = 0; i < count; ++i) LeaveOut(reflection->MutableRepeatedMessage(message, field, i));
    }
  }
}
template <typename Message>
Message WithoutElement(Message message) {
  LeaveOut(&message);
  return message;
}
// The reason of a failed call is a value of ErrorReason without its prefix.
inline std::string WithoutElement(absl::string_view reason) {
  return Mutated("ErrorReason", "ERROR_REASON_" + std::string(reason)) ? "OTHER" : std::string(reason);
}
}  // namespace vmeventd
"""
# Where messages are published: a text that is there once, and the message's expression in it between marks.
PUBLISHERS = [
    ("watcher/session/vm_session_publish.cc", "  update.event = ⟦std::move(event)⟧;"),
    ("watcher/session/vm_session_publish.cc", "  status.set_attached(link_.answered_all());\n  return ⟦status⟧;"),
    ("watcher/core/vm_event.cc", "  return ⟦gap⟧;"),
    ("watcher/core/problem.cc", "  return ⟦out⟧;"),
    ("watcher/core/qemu_words.cc", "words.mutable_lines()->end());\n  return ⟦words⟧;"),
    ("watcher/node/node_watcher.cc", "  return ⟦gap⟧;"),
    ("watcher/node/node_watcher.cc", "source->Describe(&info);\n    return ⟦info⟧;"),
    ("server/eventlog/recorder.cc", "  batch_.Put(Logged(⟦std::move(event)⟧));"),
    ("server/eventlog/journal_reader.cc", "  return Logged(⟦std::move(gap)⟧);"),
    ("server/rpc/event_counts.cc", "  return ⟦response⟧;"),
    ("server/stream/stream_hub.cc", "  *stream.mutable_open_time() = ToTimestamp(now);\n  return ⟦stream⟧;"),
    ("server/rpc/vm_event_service.cc", "  return ⟦info⟧.SerializeAsString();"),
    ("base/error_reason.h", "absl::Cord(⟦reason⟧)"),
    ("client/sources/position_gap.cc", "{{⟦std::move(event)⟧, std::move(node)"),
]


class Mutation(NamedTuple):
    name: str
    file: str
    place: str  # a text that is there once; where it has marks, ⟦what changes⟧ is between them
    after: str  # statements or an expression, as what changes
    unit_test: str = ""  # the unit test that fails with it


MUTATIONS = [
    # What is durable.
    Mutation("commits-are-not-synced", "server/eventlog/journal.cc", '⟦"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;"\n'
             '      "PRAGMA journal_size_limit = 67108864"⟧', '"PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF"'),
    Mutation("durable-before-it-is-committed", "server/eventlog/event_log.cc",
             ".committed = std::min(⟦bounds.newest⟧, newest)", "newest"),
    Mutation("publication-waits-for-the-disk", "server/eventlog/publication_queue.cc",
             "return waits && is_hopeful ? ⟦next.added + kPatience⟧ : absl::ZeroDuration();", "absl::InfiniteDuration()"),
    Mutation("durable-sequence-passes-a-hole", "server/eventlog/event_log.cc",
             "if (⟦!hole.empty()⟧) range.durable", "false"),
    Mutation("mark-is-not-synced", "server/eventlog/sequence_mark.cc", "if (⟦fdatasync(fd.get()) != 0⟧) return", "false"),
    Mutation("start-ignores-the-mark", "server/eventlog/log_start.cc",
             "std::max(start->after.through, ⟦found.mark.through⟧);", "uint64_t{0}"),
    Mutation("a-start-that-reserves-nothing-is-the-same-journal", "server/eventlog/log_start.cc",
             ".ok() && ⟦repeats⟧) {", "false",
             # It takes a start that fails to reserve, twice.
             unit_test="EventLog.AStartThatCannotReserveSequencesBeginsANewJournalWithTheSameEvents"),
    Mutation("what-waits-for-the-disk-is-not-handed-over", "server/eventlog/event_log_recording.cc",
             "for (EventPtr& event : ⟦unwritten.events⟧) {", "std::vector<EventPtr>()",
             # It takes a stop while the disk fails, and a start that still can reserve.
             unit_test="HandedLogTest.HandedEventsStillWaitForAFullDisk"),
    Mutation("what-was-written-is-handed-over-too", "server/eventlog/backlog.cc",
             "std::erase_if(events, [&](const EventPtr& event) { return ⟦event->sequence <= stored⟧; });", "false",
             # The journal passes over what it has.
             unit_test="BacklogTest.HandedOverEventsThatAreInTheJournalAreNotWrittenAgain"),
    Mutation("no-gap-for-what-is-lost", "server/eventlog/backlog.cc",
             "gap_is_due_ = ⟦true⟧;", "false"),
    Mutation("a-run-that-ended-stays-open", "server/eventlog/recorder.cc",
             "if (⟦update.saved_run.has_value()⟧) {", "update.saved_run.has_value() && !update.saved_run->empty()"),
    Mutation("retention-thins-out-evidence", "server/eventlog/journal.cc",
             "SqliteQuery(*database_, ⟦kFindNoise⟧, newest, excess)",
             'VMEVENTD_GOING " WHERE sequence < ?1 AND type <> 1 ORDER BY sequence LIMIT ?2"'),
    Mutation("a-start-syncs-nothing", "server/eventlog/journal.cc",
             "if (⟦status.ok()⟧) status = SyncJournalLog", "false",
             # It takes a power loss before the next commit.
             unit_test="PowerLoss.ACommitThatTheNextStartReadsSurvivesAPowerLoss"),
    Mutation("durable-sequence-is-one-too-high-in-a-hang", "server/eventlog/event_log.cc",
             "if (backlog_.open()) range.durable = ⟦range.committed⟧;",
             "range.committed + (backlog_.First() == nullptr ? 0 : 1)"),
    Mutation("public-after-three-seconds", "server/eventlog/publication_queue.cc",
             "next.added + ⟦kPatience⟧", "absl::Seconds(3)"),
    Mutation("a-failed-commit-counts", "server/eventlog/backlog.cc",
             "EndAppend(⟦done.status.ok()⟧);", "true"),
    Mutation("a-gap-is-one-too-short", "server/eventlog/recorder.cc",
             "event.mutable_missing()->set_last(⟦gap.missing.last⟧);", "gap.missing.last - 1"),
    Mutation("what-is-dropped-takes-its-state-along", "server/eventlog/backlog.cc",
             "  batch.Add(next);", "  batch = next;"),
    Mutation("two-batches-that-merge-lose-a-state", "server/eventlog/journal_batch.cc",
             "for (const auto& [run_id, run] : next.runs) ⟦Put(run_id, run);⟧", "runs.try_emplace(run_id, run);"),
    Mutation("a-repeated-commit-writes-its-events-twice", "server/eventlog/journal.cc",
             "if (⟦event->sequence <= bounds->newest⟧) continue;", "false",
             # SQLite takes back what it could not sync.
             unit_test="Journal.AnEventAppendedTwiceIsStoredOnce"),
    Mutation("a-hole-is-not-saved", "server/eventlog/backlog.cc", "batch.hole = ⟦hole_⟧;", "Hole{}",
             # It takes a kill between two commits.
             unit_test="EventLog.TheNextStartReportsMissingSequencesThatNoGapNames"),
    Mutation("retention-trusts-any-clock", "server/eventlog/journal.cc", "by_age = ⟦ClockIsSteady(now)⟧;", "true"),
    Mutation("a-hole-ends-before-its-gap-is-written", "server/eventlog/backlog.cc",
             "if (named_by_ != 0 && ⟦bounds_.newest >= named_by_⟧) {", "true"),
    Mutation("a-hole-that-grows-keeps-its-gap", "server/eventlog/backlog.cc",
             "hole_.last = std::max(hole_.last, gone.last);\n    ⟦named_by_ = 0;⟧", ";"),
    Mutation("a-failed-commit-is-forgotten", "server/eventlog/backlog.cc",
             "if (!ok) ⟦return waiting_.push_front(std::move(written));⟧", "return;"),
    Mutation("what-was-handed-over-is-missing", "server/eventlog/backlog.cc",
             "if (!events.empty()) assigned = ⟦std::min(assigned, events.front()->sequence - 1)⟧;", "assigned",
             # A GAP too many is no loss.
             unit_test="HandedLogTest.HandedEventsStillWaitForAFullDisk"),
    Mutation("memory-forgets-what-waits-for-the-disk", "server/eventlog/recent_events.cc",
             "while (events_.size() > 1 && ⟦events_.front()->sequence <= through⟧ &&", "true"),
    Mutation("what-retention-deleted-is-not-told", "server/eventlog/journal.cc",
             "bounds->deleted = ⟦std::max(bounds->deleted, before.Uint(0))⟧;", "bounds->deleted"),
    Mutation("retention-by-number-is-late", "server/eventlog/journal.cc",
             "excess > ⟦options_.retention_events / 100⟧;", "options_.retention_events / 2",
             # The look for what is too old deletes it as well, some minutes later.
             unit_test="Retention.ANoisyVmLosesItsOwnEventsAndNoEvidence"),
    Mutation("evidence-is-dropped-with-the-rest", "server/eventlog/event_log_recording.cc",
             "dropped_last = update.on_public || ⟦IsEvidence(update.event->type())⟧;", "false",
             # While so much waits that events are dropped, an end is rare.
             unit_test="FullLog.EventsOtherThanEvidenceAreDroppedFirstAndOneGapCountsThem"),
    Mutation("a-vm-forgets-its-last-event", "server/eventlog/recorder.h",
             "if (⟦newest == last_assigned_⟧) last_sequences_.clear();", "true"),
    Mutation("a-handed-run-forgets-its-last-event", "server/eventlog/log_start.cc",
             "run.last_sequence = ⟦std::max(run.last_sequence, known.mapped().last_sequence)⟧;", "uint64_t{0}"),
    # What a run's end means.
    Mutation("powerdown-is-not-saved", "watcher/session/run_state.cc",
             "  Save(state, &saved);", "Save(state, &saved); saved.mutable_evidence()->clear_powerdown_at();"),
    Mutation("panic-is-not-saved", "watcher/session/run_state.cc",
             "  return saved.SerializeAsString();",
             "saved.mutable_evidence()->mutable_facts()->clear_panic(); return saved.SerializeAsString();"),
    Mutation("intent-is-not-saved", "watcher/session/vm_session_save.cc",
             "session.saves_.Record(saved);", "session.saved_.intents.open.reset();"),
    Mutation("intent-does-not-expire", "watcher/session/vm_session.cc",
             "now.monotonic >= saved_.intents.Deadline()", "false"),
    Mutation("reset-keeps-the-powerdown", "watcher/session/evidence_log.cc",
             "⟦(row.by & clearing) != 0⟧", "row.id != EvidenceId::kPowerdown && (row.by & clearing)"),
    Mutation("resume-keeps-the-shutdown", "watcher/session/evidence_log.cc",
             "⟦(row.by & clearing) != 0⟧",
             "(row.by & clearing & (row.id == EvidenceId::kShutdown ? kReset : kBoth)) > 0"),
    Mutation("reset-keeps-the-hibernation", "watcher/session/evidence_log.cc",
             "⟦(row.by & clearing) != 0⟧", "row.id != EvidenceId::kHibernation && (row.by & clearing)"),
    Mutation("reset-keeps-the-panic", "watcher/session/evidence_log.cc",
             "⟦(row.by & clearing) != 0⟧", "row.id != EvidenceId::kPanic && (row.by & clearing)"),
    Mutation("reset-keeps-what-a-panic-said", "watcher/session/evidence_log.cc",
             "if (row.id == EvidenceId::kPanic) ⟦panic.reset();⟧", ";"),
    Mutation("reset-keeps-the-watchdog", "watcher/session/evidence_log.cc",
             "⟦(row.by & clearing) != 0⟧", "row.id != EvidenceId::kWatchdog && (row.by & clearing)"),
    Mutation("reset-keeps-the-watchdogs-press", "watcher/session/evidence_log.cc",
             "if (row.id == EvidenceId::kWatchdog) ⟦watchdog_at.reset();⟧", ";"),
    Mutation("resume-keeps-the-stop", "watcher/session/evidence_log.cc",
             "⟦(row.by & clearing) != 0⟧", "row.id != EvidenceId::kStop && (row.by & clearing)"),
    Mutation("resume-keeps-the-internal-error", "watcher/session/evidence_log.cc",
             "⟦(row.by & clearing) != 0⟧", "row.id != EvidenceId::kInternalError && (row.by & clearing)"),
    Mutation("oom-kills-of-others-are-not-read", "watcher/runs/process_watch.cc",
             "kills = ⟦ReadOomKills()⟧;\n  // A process", "std::optional<uint64_t>()"),
    Mutation("the-oom-counter-is-not-read", "watcher/runs/process_watch.cc",
             "end.oom_killed = ⟦kills.has_value() && *kills > run_->info().oom_kills⟧;", "false"),
    Mutation("an-earlier-oom-kill-is-its-own", "watcher/runs/process_watch.cc",
             "kills.has_value() && ⟦*kills > run_->info().oom_kills⟧", "*kills > 0"),
    Mutation("any-oom-victim-is-a-vm", "watcher/signals/signal_watch.cc", "const Followed* const followed = ⟦Find(record)⟧;",
             "record.kind == SignalRecord::Kind::kOomVictim && !followed_.empty() ? &followed_.begin()->second : Find(record)"),
    Mutation("an-oom-kill-of-one-run-is-anothers-too", "watcher/runs/run_table.cc",
             "other->Feed(input::OomKills{⟦std::min(other->info().oom_kills + 1, kills)⟧});", "other->info().oom_kills",
             # Each VM of the simulation has a cgroup of its own.
             unit_test="RunTableTest.AnOomKillIsAttributedToOneRunOnly"),
    Mutation("a-state-without-an-event-is-not-saved", "watcher/session/vm_session_save.cc",
             "if (last == effects_.rend()) {\n    ⟦PublishStatus();\n    last = effects_.rbegin();⟧", "return;",
             # The next event, which is seldom far, saves it too.
             unit_test="VmSessionExitTest.TheOomCountIsSaved"),
    Mutation("a-later-signal-replaces-the-one-that-was-obeyed", "watcher/session/evidence_log.cc",
             "if (⟦sender.signal != SIGKILL && known.has_value() && facts.shutdown.has_value()⟧) return;", "false"),
    Mutation("any-signals-sender-is-that-of-the-end", "watcher/session/evidence_log.cc",
             "(⟦facts.signaller->signal == facts.exit_status->signal⟧ ||", "true"),
    Mutation("an-old-press-is-obeyed", "watcher/session/classification.cc",
             "⟦*evidence.shutdown->powerdown_age <= powerdown_window⟧", "true"),
    Mutation("the-first-press-counts", "watcher/session/evidence_log.cc",
             "  ⟦powerdown_at = sent_at;⟧", "if (!has_powerdown()) powerdown_at = sent_at;"),
    Mutation("a-press-that-is-repeated-stays-in-doubt", "watcher/session/evidence_log.cc",
             "if (⟦!facts.shutdown.has_value()⟧ || facts.powerdown == Fact::kNone) {", "false"),
    Mutation("postmigrate-is-a-pause", "watcher/session/evidence_log.cc",
             'if (⟦run_state == "postmigrate"⟧) Saw(', "false"),
    Mutation("a-time-without-a-monitor-is-no-doubt", "watcher/session/vm_session_monitor.cc",
             "⟦saved_.evidence.OnUnfollowedTime(stays, now);⟧", ";"),
    Mutation("an-end-without-a-monitor-is-no-doubt", "watcher/session/vm_session_end.cc",
             "⟦saved_.evidence.facts.unfollowed = true;⟧", ";"),
    Mutation("a-pause-by-the-watchdog-is-none", "watcher/session/evidence_log.cc",
             'action != "poweroff" && ⟦action != "pause"⟧', "true"),
    Mutation("a-kill-that-nobody-saw-is-the-hosts", "watcher/session/classification_rules.h",
             "(⟦killed_by_other_process()⟧ || ended_with_another());",
             "!evidence.killer.has_value() || killed_by_other_process()"),
    Mutation("any-exit-of-such-a-guest-is-the-guests", "watcher/session/classification_rules.h",
             "⟦evidence.exit_status->code > 1⟧;", "true"),
    Mutation("the-end-of-an-arrival-is-not-known", "watcher/session/classification_rules.h",
             "return ⟦Seen(in.evidence.incoming) && in.failed() && in.exit_signal() == 0⟧;", "false"),
    Mutation("a-withdrawal-does-nothing", "watcher/session/vm_session.cc",
             "if (⟦saved_.intents.open.has_value()⟧) CloseIntent(IntentEnd::kWithdrawn, now);", "false"),
    Mutation("a-shutdown-file-is-not-taken-back", "watcher/session/vm_session_end.cc",
             "if (⟦!(saved_.file_written || under_way) || saved_.evidence.decided()⟧) return;", "true"),
    Mutation("a-shutdown-file-that-is-on-its-way-is-not-taken-back", "watcher/session/vm_session_end.cc",
             "const bool under_way = ⟦steps_.file_requested()⟧;", "false",
             # The disk is seldom slow just as a VM comes up again.
             unit_test="VmSessionFileTest.IsTakenBackWhileItIsOnItsWay"),
    Mutation("a-kill-of-the-host-is-a-crash", "watcher/session/classification_rules.h",
             "[](In in) { return ⟦in.killed_by_other_process()⟧; },", "false"),
    Mutation("a-kill-of-nobody-known-is-a-crash", "watcher/session/classification_rules.h",
             "return ⟦in.ended_by_unknown()⟧ ||", "false"),
    Mutation("a-cancelled-shutdown-of-the-host-goes-on", "watcher/session/evidence_log.cc",
             "facts.host_shutdown = ⟦shutting_down⟧;\n  host_shutdown_at", "true"),
    Mutation("the-host-is-not-asked-before-a-shutdown-counts", "watcher/runs/vm_run.cc",
             "⟦context_->host->Drain();⟧\n  }\n  Feed(input::Event", ";"),
    Mutation("the-rings-are-not-read-at-an-end", "watcher/runs/process_watch.cc", "context_->signals->Drain();", ";"),
    Mutation("a-snapshot-changes-nothing", "watcher/session/classification_rules.h",
             "return ⟦in.doubt_matters⟧;", "false"),
    Mutation("a-clean-exit-is-a-crash", "watcher/session/classification_rules.h",
             "return ⟦in.evidence.monitored && in.exited()⟧; }", "false"),
    Mutation("a-migration-that-finishes-is-no-doubt", "watcher/session/classification_rules.h",
             "return ⟦Seen(in.evidence.finishing_migration) || in.may_have_migrated()⟧;", "false"),
    Mutation("commands-are-not-spaced", "watcher/session/command_pacer.h",
             "    quiet_until_ = ⟦now + kQuietTime⟧;\n    return true;", "now"),
    Mutation("the-last-shutdown-wins", "watcher/session/vm_session_events.cc",
             "  // The first cause wins.\n  if (⟦saved_.evidence.facts.shutdown.has_value()⟧) return;", "false"),
    Mutation("last-words-are-not-read", "watcher/qmp/qmp_run.cc",
             "if (connected) connection_->Drain();",
             "if (connected) RetireConnection();"),
    Mutation("no-file-at-the-end-of-the-process", "watcher/session/vm_session_end.cc",
             "if (steps_.file_due() && RequestShutdownFile()) return;", ";"),
    Mutation("a-pid-used-again-is-the-same", "watcher/runs/peer_process.cc",
             "found.ok() && ⟦found->start_ticks != start_ticks⟧", "false"),
    Mutation("runs-outlive-the-host", "watcher/runs/run_restorer.cc",
             "if (⟦IsOfAnotherBoot(*context, run->info().run_id)⟧) {\n    run->Feed(input::HostRebooted{});", "false"),
    Mutation("a-retry-after-a-restart-declares-another-intent", "watcher/session/vm_session_save.cc",
             "session.saved_.problems.MarkPublished();",
             "if (session.saved_.intents.open.has_value()) session.saved_.intents.open->intent.clear_request_id();"),
    Mutation("an-oom-victim-is-a-killed-qemu", "watcher/runs/process_watch.cc",
             "if (⟦!gone_ && !MayBeAnothers()⟧) run_->Feed(input::NamedOomVictim", "false"),
    Mutation("what-a-flood-drops-is-not-counted-at-an-end", "watcher/session/vm_session_end.cc",
             "void VmSession::Finish(Instant now) {\n  ⟦FlushDropped(now);⟧", ";"),
    Mutation("a-reset-by-the-watchdog-is-none", "watcher/session/evidence_log.cc",
             'if (⟦action != "reset"⟧ && action != "shutdown"', "true"),
    Mutation("resume-keeps-the-watchdogs-pause", "watcher/session/evidence_log.cc",
             'const bool paused = ⟦action == "pause"⟧;', "false"),
    Mutation("a-press-before-a-reset-is-obeyed", "watcher/session/evidence_log.cc",
             "fact.powerdown_cleared = ⟦powerdown_at.has_value() && !has_powerdown()⟧;", "false"),
    Mutation("resume-keeps-what-goes-with-a-fact", "watcher/session/evidence_log.cc",
             "for (Fact Evidence::*const fact : {row.fact, ⟦row.other⟧}) {", "nullptr"),
    Mutation("an-earlier-press-is-of-the-hosts-shutdown", "watcher/session/evidence_log.cc",
             "⟦powerdown_at->monotonic >= host_shutdown_at->monotonic⟧", "true",
             # A host that shuts down presses the buttons of all again.
             unit_test="HostShutdownStoryTest.APressBeforeIsTheCause"),
    Mutation("a-press-while-a-monitor-was-lost-is-no-doubt", "watcher/session/monitor_link.h",
             "return ⟦ready()⟧ || (state_ == State::kNone && new_qemu);", "ready() || lost()"),
    Mutation("a-doubtful-press-counts", "watcher/session/classification.cc",
             "if (⟦evidence.powerdown == Fact::kDoubted⟧ && settled", "false"),
    Mutation("a-shutdown-of-the-host-is-no-caveat", "watcher/session/end_detail.cc",
             "if (shutdown.has_value() && ⟦shutdown->host_shutdown⟧) {", "false"),
    Mutation("a-watchdogs-press-counts-for-ever", "watcher/session/vm_session.cc",
             "if (ignored_watchdog) ⟦evidence.SawWatchdogIgnored(now);⟧", ";"),
    Mutation("a-panic-that-ends-its-qemu-is-in-doubt", "watcher/session/evidence_log.cc",
             'panic_ends = ⟦!stays && panic.has_value() && panic->action() == "poweroff"⟧;', "false"),
    Mutation("a-watchdog-that-ends-its-qemu-is-in-doubt", "watcher/session/evidence_log.cc",
             "for (Fact* const fact : {⟦&facts.watchdog⟧, &facts.watchdog_paused",
             "facts.watchdog_ended == Fact::kStands ? &facts.watchdog_ended : &facts.watchdog"),
    Mutation("the-later-of-two-signals-is-obeyed", "watcher/session/evidence_log.cc",
             "if (⟦earlier_signaller.has_value() && facts.signaller->sent > sent⟧) {", "false"),
    Mutation("an-internal-error-that-was-asked-for-is-none", "watcher/session/vm_session_monitor.cc",
             'if (⟦input.run_state == "internal-error"⟧) {\n    saved_', "false"),
    Mutation("the-host-is-not-asked-as-a-process-ends", "watcher/runs/process_watch.cc",
             "⟦context_->host->Drain();⟧\n  context_->loop->Remove", ";"),
    Mutation("an-end-that-nobody-saw-has-no-last-sign-of-life", "watcher/runs/process_watch.cc",
             ".late = ⟦found_ended_⟧};", "false"),
    Mutation("a-signal-to-the-process-before-is-its-own", "watcher/signals/signal_watch.cc",
             "return ⟦record.time < StartOf(start)⟧ ? nullptr", "false",
             # What was recorded is read before another process is followed.
             unit_test="SignalWatchTest.ARecordOfTheEarlierProcessOfAReusedPidIsIgnored"),
    Mutation("a-signal-after-a-kill-before-the-start-is-its-own", "watcher/signals/signal_watch.cc",
             "if (⟦killed.contains(record.target)⟧) continue;", "false",
             # No number is used again so soon.
             unit_test="SignalWatchTest.SignalsAfterAKillDuringTheHandoverAreIgnored"),
    Mutation("a-file-that-failed-is-not-tried-again", "watcher/session/end_steps.h",
             "file_ = ⟦failed && !gone_⟧ ?", "false",
             # A shortage at the SHUTDOWN that is over at the end is too rare.
             unit_test="VmSessionOrderTest.AShutdownFileThatFailedIsTriedOnceMoreWhenTheProcessIsGone"),
    Mutation("a-reset-keeps-the-time-in-which-nobody-listened", "watcher/session/vm_session_events.cc",
             "  ⟦saved_.unseen_until.reset();⟧\n  saved_.agent.SawReset();", ";"),
    Mutation("a-monitor-that-closed-keeps-its-shutdown", "watcher/session/monitor_link.cc",
             "  ⟦down_in_handshake_ = listens_ = false;⟧\n  if (!ready()", "listens_ = false;",
             # A handshake seldom breaks off after a SHUTDOWN of a QEMU that lives on.
             unit_test="MonitorLinkTest.AShutdownInTheHandshakeIsKnownUntilItIsOver"),
    Mutation("a-press-that-waited-came-as-it-was-read", "watcher/session/vm_session_events.cc",
             "SawPowerdown(⟦of->SentAt(sent, now)⟧, now);", "now",
             # No daemon is away for as long as a press counts.
             unit_test="VmSessionRestartTest.APowerdownDuringAHandoverHasTheTimeAtWhichItWasSent"),
    Mutation("a-reset-keeps-the-wait-for-the-exit", "watcher/session/vm_session_events.cc",
             "  ReconsiderIntent();\n  ⟦ForgetExit();⟧\n  saved_.problems", ";",
             # A VM whose guest was down and was reset seldom runs on for long enough.
             unit_test="VmSessionHangTest.NoExitIsExpectedAfterAReset"),
    Mutation("a-migration-that-failed-goes-on", "watcher/session/evidence_log.cc",
             "const Fact was = ⟦std::exchange(migrating, Fact::kNone)⟧;", "migrating",
             # The run state is asked for soon after each STOP.
             unit_test="MigrationStoryTest.AStopAfterAMigrationThatFailedIsNoPartOfIt"),
    Mutation("a-signal-after-the-end-is-of-the-process", "watcher/runs/process_watch.cc",
             "if (⟦gone_⟧ || (sender.signal == SIGKILL", "false",
             # Its number is seldom used again while libvirt's report is waited for.
             unit_test="RunTableTest.ASignalAfterTheEndOfTheProcessIsIgnored"),
    Mutation("a-kill-for-memory-before-an-intent-is-after-it", "watcher/runs/vm_run.cc",
             "  ⟦ReadOomKills();⟧  // one before it", ";"),
    # What state a VM is in.
    Mutation("a-guest-that-is-down-is-paused", "watcher/session/vm_session_events.cc",
             "  saved_.evidence.SawStop(now);\n  if (⟦saved_.evidence.facts.shutdown.has_value()⟧) {", "false"),
    Mutation("a-guest-that-is-down-is-expected-to-exit", "watcher/session/vm_session_events.cc",
             "    ⟦ForgetExit();⟧\n    saved_.vm.Set(VmState::kGuestDown, now.wall);\n    Report(", ";"),
    Mutation("a-guest-that-sleeps-runs", "watcher/session/vm_session_events.cc",
             "⟦of->saved_.vm.Set(VmState::kSuspended, now.wall);⟧", ";"),
    Mutation("a-monitor-that-comes-back-finds-the-old-state", "watcher/session/vm_session_monitor.cc",
             "⟦ApplyRunState(run_state, StateReport(run_state), now);⟧\n  if (was_lost)",
             "ApplyRunState(run_state, StateReport(run_state), now); if (was_lost) saved_.vm.Set(before, now.wall);"),
    # Intents.
    Mutation("a-closed-intent-still-counts", "watcher/session/vm_session_intent.cc",
             "saved_.intents.Close(saved_.evidence.facts);\n  ⟦ReconsiderIntent();⟧", ";"),
    Mutation("an-intent-that-ends-after-the-shutdown-does-not-count", "watcher/session/run_intents.cc",
             "void RunIntents::Reconsider(Evidence* facts) {\n  if (⟦IsDecided(*facts)⟧) return;", "false"),
    Mutation("a-reset-keeps-the-intent-that-counted", "watcher/session/run_intents.cc",
             "⟦counted.reset();⟧\n}", ";"),
    # Signals and exit statuses.
    Mutation("a-core-changes-the-signal", "watcher/runs/exit_status_reader.cc",
             "return {0, ⟦WTERMSIG(wait_status)⟧,", "wait_status & 0xff"),
    Mutation("a-zero-that-may-not-be-read-is-believed", "watcher/runs/exit_status_reader.cc",
             "|| (*wait_status == 0 && ⟦!MayRead(pid)⟧)", "false"),
    Mutation("a-qemu-that-kills-itself-is-another-process", "watcher/signals/process_reader.cc",
             "sender.of_qemu = ⟦record.sender == target.pid⟧ ||", "false"),
    # How a VM is named.
    Mutation("a-run-was-last-seen-at-its-last-event", "watcher/session/vm_session_save.cc",
             "session.alive_at_ = ⟦std::max(options->last_watched, LastTimeIn(session.saved_))⟧;",
             "LastTimeIn(session.saved_)",
             # Most ends in such a time have a SHUTDOWN, which is a sign of life.
             unit_test="VmSessionRestartTest.AnUnseenEndHasTheTimesBetweenWhichItHappened"),
    Mutation("a-uuid-is-not-saved", "watcher/session/vm_session_save.cc",
             "session.saved_.problems.MarkPublished();", "session.saved_.uuid.clear();"),
    Mutation("any-command-line-is-a-qemus", "watcher/core/qemu_program.cc",
             'return ⟦absl::StartsWith(name, "qemu-system-")⟧ ||', "true"),
    Mutation("a-command-line-is-all-there-is", "watcher/core/qemu_arguments.cc",
             'reads_more |= ⟦option == "readconfig"⟧;', "false"),
    # Who is followed.
    Mutation("an-overflow-is-ignored", "watcher/qmp/directory_watcher.cc",
             "if (event.mask & IN_Q_OVERFLOW) overflow = true;", ";"),
    Mutation("a-launcher-is-a-qemu", "watcher/qmp/qmp_source.cc",
             "⟦peer.pid != 0 && !IsQemuAt(*context_, peer, HasNameOfQemu(peer.pid), slot)⟧", "false"),
    Mutation("unfollowed-sockets-are-not-listed", "watcher/qmp/unfollowed_sockets.cc",
             "path, socket] : by_path_) {\n    if (⟦info->unfollowed_sockets_size() < kMaxUnfollowed⟧)", "false"),
    Mutation("a-lost-monitor-is-not-tried-again", "watcher/qmp/qmp_source.cc",
             "⟦connector_.BackOff(slot, first, limit);⟧\n    // Another slot", ";"),
    Mutation("a-replaced-socket-stays-its-runs", "watcher/qmp/qmp_source.cc",
             "if (slot->run() == nullptr || ⟦slot->run()->IsSocketOf(*slot, socket)⟧) return;", "true",
             # The next QEMU comes after the end of the one before.
             unit_test="UntrackedRestartTest.AReplacedSocketIsTheEndAndANewRun"),
    Mutation("two-monitors-are-two-vms", "watcher/runs/run_table.cc",
             "if (⟦process.kind != PeerProcess::Kind::kTracked⟧) return nullptr;", "true"),
    # What one daemon hands over to the next.
    Mutation("what-is-handed-over-is-not-used", "watcher/runs/run_restorer.cc",
             "} else if (⟦TryResume(context, run, handed_runs)⟧) {", "false"),
    Mutation("a-handed-monitor-begins-again", "watcher/qmp/monitor_connection.cc",
             "phase_ = Phase::kReady;\n  handshake_.reset();\n  ⟦unhandled_ = handed.unhandled();⟧",
             "phase_ = Phase::kUuid; handshake_ = std::make_unique<Handshake>();"),
    Mutation("a-handed-stop-is-not-listed", "server/eventlog/recorder.cc", ": stops) ⟦unpublished_.vms.push_back(*vm);⟧", ";",
             # It takes a VM that is asked for within a second after its end and a handover.
             unit_test="HandedLogTest.HandedEventsStillWaitForAFullDisk"),
    Mutation("a-handed-question-is-not-known", "watcher/qmp/monitor_connection.cc",
             "state.set_answer_due(⟦pacer_.outstanding()⟧);", "false"),
    Mutation("half-a-line-is-not-handed-over", "watcher/qmp/monitor_connection.cc",
             "state.set_unhandled(⟦unhandled⟧);", "std::string()"),
    Mutation("a-domains-process-is-not-handed-over", "watcher/libvirt/libvirt_run.cc",
             "if (⟦over() || !tracked() || !followed() || info().pid == 0⟧) return std::nullopt;", "true"),
    Mutation("a-domains-handed-process-is-not-taken", "watcher/libvirt/libvirt_run.cc",
             "return ⟦session().restored_unattached() && tracked() && handed->process.valid() &&\n"
             "         !handed->connection.valid() && TrackHanded(std::move(handed->process)).ok()⟧;", "false"),
    Mutation("a-handed-run-has-no-uuid", "watcher/runs/run_restorer.cc", "⟦table->SetUuid(run, run->session().uuid());⟧", ";",
             # Nobody declares an intent by a UUID.
             unit_test="HandoverTest.AnIntentFindsARunThatWasHandedOverByItsUuid"),
    Mutation("an-end-before-a-handover-was-seen", "watcher/runs/vm_run.cc", "  ⟦process_.NoteFound();⟧", ";"),
    Mutation("an-end-before-a-handover-is-of-the-hosts-shutdown", "watcher/runs/run_restorer.cc",
             "if (table->Find(run_id) == run && ⟦!run->process_ended()⟧)", "true",
             # The host seldom begins to shut down between an end and a start.
             unit_test="HandoverTest.AHostShutdownThatBeganAfterAnEndIsNotItsCause"),
    Mutation("a-shutdown-of-the-host-that-was-cancelled-in-a-handover-goes-on", "watcher/runs/run_restorer.cc",
             "    ⟦table->ApplyHostCancel(run);⟧\n", ";",
             # The host seldom cancels its shutdown in a handover.
             unit_test="HandoverTest.AHostShutdownCancelledDuringTheHandoverIsNotTheCause"),
    # Streams.
    Mutation("a-position-within-a-snapshot", "server/stream/stream_cursor.cc",
             "ProgressAt(⟦snapshot_ != nullptr ? 0 : sequence_⟧)", "sequence_"),
    Mutation("the-last-page-of-a-snapshot-is-skipped", "server/stream/stream_cursor.cc",
             "if (!TakeVms() || ⟦page_.count > 0⟧) {", "false"),
    Mutation("a-snapshot-skips-a-vm-at-each-page", "server/stream/stream_cursor.cc",
             "if (!page_.Add(append)) ⟦break;⟧", "++snapshot_vm_; break;"),
    Mutation("a-full-message-skips-an-event", "server/stream/stream_cursor.cc",
             "if (!page_.Add(append)) ⟦return;⟧", "sequence_ = event->sequence; return;"),
    Mutation("an-event-that-waits-for-the-disk-is-durable", "server/stream/stream_cursor.cc",
             "const bool durable = ⟦event->sequence <= read.range.committed⟧;", "true"),
    Mutation("a-publication-while-streams-are-woken-is-lost", "server/stream/stream_hub.cc",
             "    ⟦wake_waits_ = false;\n    for (const auto& stream : Streams()) stream->Wake();⟧",
             "for (const auto& stream : Streams()) stream->Wake(); wake_waits_ = false;"),
    Mutation("a-resumed-stream-repeats-an-event", "server/eventlog/event_log.cc",
             "  return ⟦start.sequence⟧;", "start.sequence - (start.sequence > range.unbroken_from ? 1 : 0)"),
    Mutation("history-begins-one-late", "server/stream/stream_cursor.cc",
             "journal->Read(\n      ⟦sequence_ + 1⟧, journal_through_", "sequence_ + 2"),
    Mutation("a-wake-is-lost-in-a-turn", "server/stream/watch_stream.cc",
             "turn_ = false;\n    if (⟦!woken_⟧) return;", "true"),
    Mutation("a-wake-is-lost-on-a-busy-stream", "server/stream/watch_stream.cc",
             "if (waits && ⟦!woken_⟧ && ", "true"),
    Mutation("a-reader-that-reads-nothing-is-not-cut", "server/stream/watch_stream.cc",
             "if (⟦now < since_ + limit⟧ || end_", "writes || now < since_ + limit"),
    Mutation("a-list-goes-on-one-late", "server/eventlog/event_listing.cc", "first = std::max(first, ⟦from⟧);", "from + 1"),
    Mutation("a-stream-of-durable-events-sends-others", "server/stream/stream_cursor.cc",
             "const uint64_t limit = ⟦Limit(read.range, durable_only_)⟧;", "read.range.newest"),
    Mutation("nobody-says-when-it-is-durable", "server/stream/stream_cursor.cc", "if (⟦!durable⟧) unconfirmed_ =", "false"),
    Mutation("since-is-never-too-early", "server/eventlog/journal_reader.cc",
             "if (⟦time > absl::InfinitePast()⟧ && deleted_until", "false"),
    # Answers.
    Mutation("a-token-outlives-its-journal", "server/rpc/queries.cc",
             "if (⟦bytes.substr(kHashBytes, kHashBytes) != Hash(journal_id)⟧) {", "false",
             # A journal is seldom replaced between two pages.
             unit_test="QueriesTest.ATokenIsValidForOneJournal"),
    Mutation("a-name-means-any-life", "server/rpc/queries.cc", "⟦vm->last_sequence > stopped->last_sequence⟧", "true"),
    Mutation("a-status-has-no-last-event", "server/eventlog/event_log_recording.cc", "return ⟦record == nullptr⟧ ? 0 :", "true"),
    # The domains of libvirt.
    Mutation("what-waits-of-a-life-is-of-the-next", "watcher/libvirt/libvirt_domains.cc",
             "    ⟦TakeLife(link, domain);⟧\n    domain->life.id = id;", ";",
             # A process is found before the next life of its domain begins.
             unit_test="LibvirtLookTest.ALifeThatBeginsDuringTheSearchForAnEarlierOneIsASeparateRun"),
    Mutation("a-process-that-is-found-late-is-the-next-lifes", "watcher/libvirt/libvirt_domains.cc",
             "if (!domain.life.is_looked_for || ⟦domain.life.id != message.domain.id⟧) {", "false",
             # The same.
             unit_test="LibvirtLookTest.ALifeThatBeginsDuringTheSearchForAnEarlierOneIsASeparateRun"),
    Mutation("a-domain-that-arrives-has-run", "watcher/libvirt/libvirt_domains.cc",
             'if (event == "MIGRATION") return ⟦"inmigrate"⟧;', '"running"'),
    Mutation("any-process-is-the-domains", "watcher/libvirt/domain_process.cc",
             "place.containers ? read.container() == domain.name : ⟦read.uuid() == domain.uuid⟧;", "true",
             # A pid file of libvirtd names its QEMU, while that lives.
             unit_test="DomainProcessTest.OnlyARegularFileIsOpenedAndNoLinkFollowed"),
    Mutation("an-event-is-another-domains", "watcher/libvirt/libvirt_domains.cc",
             "Domain& domain = ⟦link->domains[message.domain.uuid]⟧;\n  if (!link->connected",
             "link->domains[message.domain.uuid], link->domains.begin()->second"),
    Mutation("a-domains-next-life-is-the-one-before", "watcher/libvirt/libvirt_domains.cc",
             "  return ⟦run.info().domain_id == domain.id⟧ &&\n         (run.connected()", "true",
             # libvirtd reports the end of a life before the next one begins.
             unit_test="LibvirtContainersTest.ARebootIsNoEnd"),
    Mutation("a-domains-next-process-is-the-one-before", "watcher/libvirt/libvirt_domains.cc",
             "if (run.tracked()) return ⟦process.pid == info.pid && process.start_ticks == info.start_ticks⟧;", "true",
             # The next life is another one by its id, and the ids begin again only with another libvirtd.
             unit_test="LibvirtProcessTest.ARunWithoutADescriptorDoesNotHideTheDomainsNextLife"),
    Mutation("a-stop-to-migrate-is-a-pause", "watcher/session/evidence_log.cc",
             'if (⟦migrating == Fact::kNone⟧) return;\n  SawMigrationState("finish-migrate"', "true"),
    Mutation("nobody-waits-for-libvirts-report", "watcher/libvirt/libvirt_run.cc",
             "if (⟦!connected_ || reported_⟧) return AwaitEnd();", "true"),
    Mutation("a-paused-vm-stays-down", "watcher/session/evidence_log.cc",
             "  const bool went_on = ⟦was_down && NeedsReset(run_state)⟧;", "false"),
    Mutation("no-gap-for-a-libvirt-that-was-away", "watcher/libvirt/libvirt_source.cc",
             "if (⟦link->connected_at.has_value()⟧) PublishGap(*link);", "false"),
    Mutation("a-stop-of-another-life-ends-this-one", "watcher/libvirt/libvirt_domains.cc",
             "if (⟦name.id <= 0 || name.id == run->info().domain_id⟧) run->OnStopped(lifecycle);", "true",
             # libvirtd says nothing of a life after the next one has begun.
             unit_test="LibvirtSourceTest.TheEndOfAnotherLifeDoesNotEndThisOne"),
    Mutation("an-older-list-ends-a-domain", "watcher/libvirt/libvirt_domains.cc",
             "if (listed.contains(uuid) || ⟦domain.doubt != ListDoubt::kNone⟧) continue;", "false",
             # A domain whose process is followed ends with that.
             unit_test="LibvirtSourceTest.ADomainThatStartsWhileTheListIsMadeIsFollowed"),
    # Facts that are cleared, joined or answered wrongly.
    Mutation("a-guest-whose-end-was-seen-was-down-before", "watcher/session/evidence_log.cc",
             'run_state == "shutdown" && ⟦!decided()⟧', "true"),
    Mutation("a-return-to-a-snapshot-keeps-the-press", "watcher/session/evidence_log.cc",
             "⟦&facts.powerdown⟧, &facts.hibernating})", "&facts.panic"),
    Mutation("a-second-end-gets-no-shutdown-file", "watcher/session/vm_session_end.cc",
             "⟦steps_.OnVmRevived();⟧", ";"),
    Mutation("what-waits-is-not-read-before-an-intent", "watcher/runs/vm_run.cc",
             "  ⟦ReadNow();⟧\n  return !over_", ";"),
    Mutation("an-intent-for-a-process-that-is-gone", "watcher/runs/vm_run.cc",
             "return !over_ && ⟦!process_ended()⟧;", "true"),
    Mutation("a-press-at-the-source-is-no-doubt", "watcher/session/vm_session_monitor.cc",
             "if (⟦arrives && !incoming()⟧) saved_.unseen_until", "false"),
    Mutation("the-rings-are-not-read-before-a-shutdown-counts", "watcher/runs/vm_run.cc",
             "⟦context_->signals->Drain();⟧", ";"),
    Mutation("the-oom-kill-of-a-dying-qemu-is-anothers", "watcher/runs/process_watch.cc",
             "⟦IsDying(run_->info().pid)⟧ || HasEnded", "false"),
    Mutation("no-gap-for-a-change-while-nobody-looked", "watcher/session/vm_session_monitor.cc",
             "⟦Emit(MakeGap(GapReason::kUnseenChange,\n"
             '               absl::StrCat("the VM was ", StateText(before), " when ", since, " and is ",\n'
             '                            StateText(saved_.vm.state), " now: the events between were not seen"),\n'
             "               now.wall),\n       now);⟧", ";"),
    Mutation("an-intent-that-is-late-is-not-the-last-event", "watcher/node/intent_requests.cc",
             ".saved_run = ⟦std::move(saved_run)⟧,", "std::nullopt"),
    Mutation("a-handed-process-that-was-reaped-is-another", "watcher/runs/peer_process.cc",
             "if (⟦pid == -1⟧) return true;", "false"),
    Mutation("a-stop-after-a-shutdown-does-not-show-that-qemu-stays", "watcher/session/vm_session_events.cc",
             "⟦saved_.evidence.facts.stays_down = true;⟧", ";",
             # It takes a QEMU whose command line is not known, and that is reset and killed before anybody connects.
             unit_test="VmSessionRestartTest.AGuestThatWasDownMayHaveComeUpIfItsMonitorAcceptsAgain"),
    Mutation("an-earlier-expiry-stands-next-to-the-last", "watcher/session/evidence_log.cc",
             "facts.*fact = ⟦fact == expired ? Fact::kStands : Fact::kNone⟧;",
             "fact == expired ? Fact::kStands : facts.*fact",
             # Nobody changes the action of a watchdog.
             unit_test="VmSessionEndTest.TheLastOneCounts"),
    Mutation("what-was-unclear-of-a-listener-is-of-its-qemu", "watcher/runs/process_watch.cc",
             "⟦kill_unclear_.clear();⟧", ";",
             # Nobody kills a launcher.
             unit_test="RunTableTest.AnUnclearSignalToTheListenerDoesNotExplainTheEndOfItsQemu"),
    Mutation("a-shutdown-of-the-host-that-is-reported-again-begins-again", "watcher/session/evidence_log.cc",
             "if (⟦shutting_down == facts.host_shutdown⟧) return;", "!shutting_down && !facts.host_shutdown",
             # It takes a restart between a press and the end, both in the host's shutdown.
             unit_test="VmSessionOrderTest.ASecondReportOfTheHostsShutdownAddsNoEvidence"),
    Mutation("a-retry-after-the-end-is-decided-declares-another-intent", "watcher/session/run_intents.cc",
             "{&open, ⟦&counted⟧}", "&open",
             # Who declares an intent asks again only while it is open.
             unit_test="RunIntentsTest.AnIntentOfADecidedEndCountsEvenAfterItIsClosed"),
    Mutation("a-guest-that-is-down-is-asked-after-a-handover", "watcher/qmp/monitor_connection.cc",
             "state.set_ending(⟦pacer_.ending()⟧);", "false",
             # A question seldom waits as the guest goes down and the daemon stops.
             unit_test="HandoverTest.AShutdownBeforeTheHandoverDecidesAnEndAfterIt"),
    Mutation("a-monitor-that-was-handed-over-is-not-followed", "watcher/session/vm_session_save.cc",
             "⟦saved_.evidence.facts.monitored = true;⟧", ";",
             # The next event shows it too, and few ends have none.
             unit_test="UnseenStoryTest.AStateThatChangedIsAGapAndThenTheState"),
    Mutation("an-end-without-a-status-was-seen", "watcher/session/vm_session_end.cc",
             "if (⟦end.unseen && !end.status.has_value()⟧) return true;", "false",
             # Both are UNKNOWN.
             unit_test="VmSessionRestartTest.AnEndWithoutAStatusBetweenTwoDaemonsIsUnobserved"),
    Mutation("the-newest-run-is-restored-first", "watcher/runs/run_restorer.cc",
             "return ⟦session.attached_at().wall⟧;", "absl::UnixEpoch() + (absl::UnixEpoch() - session.attached_at().wall)",
             # No path is used again before the end of its QEMU.
             unit_test="RestartTest.TheShutdownFileBelongsToTheLaterOfTwoRunsOfAName"),
    Mutation("a-domain-that-libvirt-still-lists-begins-again", "watcher/libvirt/libvirt_domains.cc",
             "LifeOf(link, &domain, id)->process = ⟦Life::Process::kGone⟧;", "Life::Process::kUnknown",
             # It takes a connection that is lost between the end of a process and libvirt's report.
             unit_test="LibvirtProcessTest.AnEndedLifeThatIsListedAgainBeginsNoRun"),
    Mutation("a-signal-after-an-old-qemus-shutdown-is-its-cause", "watcher/session/evidence_log.cc",
             "⟦sender->sent <= sent⟧;", "true",
             # Nobody sends a QEMU a signal that ends for another reason.
             unit_test="VmSessionSenderTest.ASignalAfterAnOldQemusShutdownIsNotItsCause"),
    Mutation("a-vm-that-hung-stays-unreachable", "watcher/session/vm_session_monitor.cc",
             "if (⟦link_.ready() && saved_.vm.state == VmState::kUnreachable⟧) {", "false",
             # The daemon does not check for hangs.
             unit_test="HangCheckTest.AQemuThatDoesNotAnswerIsUnreachableUntilItDoes"),
    Mutation("what-a-flood-dropped-is-not-counted-at-a-stop", "watcher/session/vm_session.cc",
             "if (!started_) return;\n        ⟦FlushDropped(now);⟧", ";",
             # Few floods come just before a stop.
             unit_test="VmSessionFloodTest.DroppedEventsAreReportedBeforeAHandover"),
    Mutation("a-qemu-that-was-sent-a-signal-is-asked", "watcher/session/vm_session.cc",
             "poll_.TakeQuestion(⟦saved_.exit.expected()⟧", "false",
             # The daemon asks little, and QEMU obeys soon.
             unit_test="HangCheckTest.NoCommandIsSentToAQemuThatMayBeEnding"),
    Mutation("the-victim-in-a-container-that-ended-is-no-victim", "watcher/session/classification_rules.h",
             "if (⟦with_container && evidence.oom_victim⟧) return true;", "false",
             # There are no containers.
             unit_test="SenderStoryTest.AContainerOfAVictimThatWasAskedHidesNothing"),
    Mutation("a-guest-that-crashed-ended-with-its-host", "watcher/session/classification_rules.h",
             "Seen(evidence.finishing_migration) || ⟦manager_says(ManagerEnd::kCrashed)⟧) {", "false",
             # libvirt ends a domain that is dumped without a signal.
             unit_test="ClassificationTest.ACrashThatOnlyLibvirtReportsIsUnknown"),
    Mutation("an-old-answer-explains-a-stop", "watcher/session/evidence_log.cc",
             'if (⟦!run_state.empty() && run_state != "running"⟧) facts.stop_unexplained', "!run_state.empty()",
             # An answer is seldom under way as the VM is stopped and killed.
             unit_test="MigrationStoryTest.AnAnswerFromBeforeTheStopExplainsNothing"),
    Mutation("a-reset-keeps-the-agent-that-left", "watcher/session/guest_agent.cc",
             "has had an event.\n  ⟦closed.reset();⟧", ";",
             # There are no guest agents.
             unit_test="GuestAgentTest.AResetForgetsAnAgentThatHasLeft"),
    Mutation("a-hibernation-that-was-undone-explains-the-next-shutdown", "watcher/session/evidence_log.cc",
             "⟦Doubt(&facts.hibernating);⟧  // its SHUTDOWN", ";",
             # No guest that has hibernated comes up again.
             unit_test="UnseenStoryTest.AHibernationOfAGuestThatIsFoundPausedIsOver"),
    Mutation("a-run-that-ends-takes-the-next-ones-signals", "watcher/signals/signal_watch.cc",
             "if (it != followed_.end() && ⟦it->second.user == user⟧) followed_", "true",
             # A number is seldom used again before the end of its run is published.
             unit_test="SignalWatchTest.NothingIsReportedAfterUnfollow"),
    Mutation("an-end-before-libvirt-was-lost-waits-for-its-report", "watcher/libvirt/libvirt_run.cc",
             "if (⟦process().gone()⟧) return AwaitEnd();\n  Feed(input::MonitorClosed{why});", "false",
             # libvirtd seldom ends between a process and its report.
             unit_test="LibvirtProcessTest.AnEndThatNothingExplainsWaitsForLibvirtsReport"),
    Mutation("an-end-of-another-life-is-held-for-this-one", "watcher/libvirt/libvirt_domains.cc",
             "} else if (⟦name.id <= 0 || name.id == domain.life.id⟧) {", "true",
             # libvirtd reports the end of a life before the next one begins.
             unit_test="LibvirtLookTest.AnEndOfTheEarlierLifeDuringTheSearchDoesNotEndTheNextLife"),
    # What a watch requests next, of a daemon and of a fleet: no client is simulated.
    Mutation("a-watch-resumes-after-what-is-not-durable", "client/sources/watch_cursor.cc",
             "std::max(position_->sequence, ⟦std::min(reached_, durable)⟧)", "reached_",
             unit_test="WatchCursorTest.EventsThatAreNotDurableAreRequestedAgainAndDeliveredOnce"),
    Mutation("what-a-watch-delivered-is-delivered-again", "client/sources/watch_cursor.cc",
             "const bool fresh = ⟦event.sequence() > reached_⟧;", "true",
             unit_test="WatchCursorTest.EventsThatTheSnapshotHasAreNotDeliveredWhenTheyBecomeDurable"),
    Mutation("another-journal-is-no-gap", "client/sources/watch_cursor.cc", "return ⟦!replaced⟧;", "true",
             unit_test="WatchCursorTest.ARestartWithAnotherJournalIsOneGapAndItsSequencesBeginAgain"),
    Mutation("another-journal-begins-where-the-old-one-ended", "client/sources/watch_cursor.cc",
             "if (replaced) ⟦reached_ = 0;⟧", ";",
             unit_test="WatchCursorTest.ARestartWithAnotherJournalIsOneGapAndItsSequencesBeginAgain"),
    Mutation("half-a-snapshot-is-a-position", "client/sources/watch_cursor.cc",
             "if (⟦AwaitsSnapshot()⟧) return true;", "false",
             unit_test="WatchCursorTest.AnIncompleteSnapshotIsRequestedAgain"),
    Mutation("a-damaged-journal-is-read-from-its-oldest-event", "client/sources/watch_cursor.cc",
             "WatchCursor(⟦damaged⟧ ? WatchStart", "false",
             unit_test="WatchCursorTest.WhereTheJournalIsDamagedItContinuesWithNewEventsAndAGap"),
    Mutation("any-stream-of-the-same-time-is-the-one-that-was-read", "client/sources/fleet_position.cc",
             "return ⟦!stored || *stored == position_->message_time⟧;", "true",
             unit_test="FleetPositionTest.AStreamThatTookThePlaceOfTheOneReadIsReadByTimeWithOneGap"),
    Mutation("what-the-limits-of-a-stream-delete-is-no-gap", "client/sources/fleet_position.cc",
             "if (!after || ⟦state.first <= *after + 1⟧) return std::nullopt;", "true",
             unit_test="FleetPositionTest.WhatTheLimitsDeleteBeforeASlowWatchReadsItIsOneGap"),
    Mutation("a-lost-connection-hides-what-the-limits-deleted", "client/sources/fleet_position.cc",
             "  if (⟦!skipped_after_⟧) skipped_after_ = position_->sequence;\n  std::optional<Gap>", "true",
             unit_test="FleetPositionTest.ALossOfWhichNobodyHeardBeforeTheConnectionEndedIsReportedOnTheNext"),
    Mutation("messages-that-are-read-again-are-new", "client/sources/fleet_position.cc",
             "if (position_ && ⟦sequence <= position_->sequence⟧) return false;", "false",
             unit_test="FleetPositionTest.AfterALostConnectionItReadsOnAndRepeatsNothing"),
    # Facts of a life that another one, a daemon that was away, or a clock that was set may change.
    Mutation("a-guest-that-was-reset-while-it-was-down-never-ran", "watcher/session/evidence_log.cc",
             'if (run_state == "prelaunch" && ⟦went_on⟧) return;', "false",
             # A VM that is found so seldom ends before it is resumed.
             unit_test="UnseenStoryTest.AVmThatIsInPrelaunchAfterItsShutdownHasRun"),
    Mutation("a-stop-in-a-doubtful-migration-finishes-it", "watcher/session/evidence_log.cc",
             "if (⟦migrating == Fact::kDoubted⟧) Doubt(&facts.finishing_migration);", "false",
             # It takes a libvirt that was lost in a migration, and is there at the end.
             unit_test="UnseenStoryTest.AStopOfOneThatMayHaveFailedIsUnknownWhereItsEndIsReported"),
    Mutation("a-reset-hides-the-hosts-shutdown", "watcher/session/evidence_log.cc",
             "if (entry.id == EvidenceId::kSignalSent || ⟦entry.id == EvidenceId::kHostShutdown⟧) return false;", "false",
             # The texts of the evidence are not judged.
             unit_test="HostShutdownStoryTest.AResetThatClearsAPanicDoesNotClearIt"),
    Mutation("last-words-count-after-a-kill", "watcher/session/evidence_log.cc",
             "if (⟦facts.killer.has_value()⟧) return;\n  if (facts.signaller.has_value()) {", "false",
             # Words of a QEMU that obeys and is killed by the kernel all the same.
             unit_test="WordsStoryTest.LastWordsDoNotReplaceTheSenderOfAKill"),
    Mutation("a-watchdog-that-waited-came-as-it-was-read", "watcher/session/vm_session_events.cc",
             'QmpText(sent.data, "action"), ⟦of->SentAt(sent, now)⟧, now);', "now",
             # No daemon is away for as long as a press counts.
             unit_test="VmSessionRestartTest.AWatchdogDuringAHandoverHasTheTimeAtWhichItWasSent"),
    Mutation("an-agent-left-before-a-shutdown-was-read", "watcher/session/vm_session_events.cc",
             "saved_.agent.CaveatAt(⟦sent_at.monotonic⟧, options_->powerdown_window);", "now.monotonic",
             # The same.
             unit_test="VmSessionRestartTest.AnAgentThatLeftBeforeAHandoverCountsByTheTimeOfTheShutdown"),
    Mutation("a-stop-that-libvirt-reports-is-unexplained", "watcher/session/vm_session_events.cc",
             "⟦saved_.run.has_manager⟧ ? Fact::kNone : Fact::kStands;", "false",
             # A domain that is paused seldom crashes.
             unit_test="MigrationStoryTest.ACrashOfADomainThatIsPausedIsOne"),
    Mutation("a-reset-of-a-held-vm-asks-nothing", "watcher/session/vm_session_events.cc",
             "    if (is_paused) ⟦poll_.AskSoon(now.monotonic);⟧\n  }\n\n  const bool repeated", ";",
             # Why a VM is paused is not judged.
             unit_test="PauseStoryTest.QemuIsAskedAfterAResetOfAVmThatIsHeld"),
    Mutation("a-press-of-the-watchdog-is-ignored-by-what-waited", "watcher/session/vm_session.cc",
             "!gone() && ⟦sent_at.monotonic⟧ >= evidence.WatchdogEnd", "now.monotonic",
             # No daemon is away for as long as a press counts.
             unit_test="VmSessionRestartTest.AShutdownDuringAHandoverObeysTheWatchdogOfThatTime"),
    Mutation("a-clock-that-was-set-back-makes-events-of-the-future", "watcher/session/monitor_link.cc",
             "*qemu_time < ⟦std::min(daemon_start, now.wall)⟧;", "daemon_start",
             # The clock is seldom set between a start and what waited for it.
             unit_test="MonitorLinkTest.QemusTimeIsUsedOnlyForEventsThatWaitedForThisDaemon"),
    Mutation("a-paused-vm-is-not-asked-after-a-handover", "watcher/session/vm_session_save.cc",
             "if (⟦saved_.evidence.facts.paused != Fact::kNone⟧) return poll_", "false",
             # A paused VM seldom migrates in a handover.
             unit_test="VmSessionMigrationTest.APausedVmIsAskedSoonAfterAHandover"),
    Mutation("a-file-of-a-guest-that-is-found-paused-stays", "watcher/session/vm_session_monitor.cc",
             "if (was_lost) saved_.vm.Regain();\n  ⟦RevokeShutdownFile();⟧", ";"),
    Mutation("a-run-whose-end-was-not-seen-ran-until-then", "watcher/session/vm_session_end.cc",
             "now.wall > start && ⟦!end.unseen && !restored_unattached()⟧) {", "true",
             # How long QEMU ran is not judged.
             unit_test="VmSessionRestartTest.OnlyAnEndThatIsSeenShowsHowLongQemuRan"),
    Mutation("a-vm-that-never-ran-ended-with-its-host", "watcher/session/classification_rules.h",
             "if (down() || !evidence.host_shutdown || ⟦Seen(evidence.never_ran)⟧ ||", "false",
             # Few VMs arrive while their host shuts down.
             unit_test="HostShutdownStoryTest.AKillOfAVmThatNeverRanIsUnknown"),
    Mutation("a-vm-whose-migration-finishes-ended-with-its-host", "watcher/session/classification_rules.h",
             "        ⟦Seen(evidence.finishing_migration)⟧ ||", "false",
             # The same.
             unit_test="HostShutdownStoryTest.AKillInTheLastPassOfAMigrationIsUnknown"),
    Mutation("a-reset-closes-an-agents-port-that-is-reported", "watcher/session/guest_agent.cc",
             "if (⟦!reported⟧) open = false;", "true",
             # There are no guest agents.
             unit_test="GuestAgentTest.AResetLeavesAChannelAsItsEventsShowIt"),
    Mutation("a-vm-that-starts-while-its-host-shuts-down-does-not-end-with-it", "watcher/runs/run_table.cc",
             "if (⟦!added->session().restored_unattached()⟧) ApplyHostShutdown(added);", "false"),
    Mutation("a-monitor-that-vmeventd-closed-was-followed", "watcher/qmp/qmp_run.cc",
             "if (⟦protocol_error⟧ || (awaits_sender() && sockets_.listener_seen)) Feed", "false",
             # It takes an end within a second after an error of the protocol.
             unit_test="NodeWatcherProcessTest.AnEndJustAfterVmeventdClosedItsMonitorWasNotSeen"),
    Mutation("a-domain-whose-first-event-is-a-stop-never-ran", "watcher/libvirt/libvirt_domains.cc",
             'if (event == "STOP") return ⟦"paused"⟧;', '"prelaunch"',
             # libvirtd reports a RESUME first.
             unit_test="LibvirtLostMigrationTest.IsClassified"),
    Mutation("a-time-without-a-daemon-begins-after-it", "watcher/node/node_watcher.cc", "since = ⟦std::min(since, until)⟧;", "since",
             # The clock is seldom set back between two daemons.
             unit_test="RestartTest.TheGapOfARestartDoesNotBeginAfterItsEndWhenTheClockWasSetBack"),
    Mutation("a-position-from-before-an-event-follows-it", "client/sources/merged_source.cc",
             "        ⟦positions.erase(item.node);⟧", ";",
             # The simulation watches one node.
             unit_test="MergedSourceTest.APositionFromBeforeAnEventDoesNotFollowIt"),
]


def mutated(text: str, mutation: Mutation) -> str:
    place = mutation.place.replace("⟦", "").replace("⟧", "")
    if text.count(place) != 1:
        sys.exit(f"{mutation.file}: the place of {mutation.name} is there {text.count(place)} times, not once")
    begin, mark, rest = mutation.place.partition("⟦")
    before, _, end = rest.partition("⟧") if mark else (mutation.place, "", "")
    begin = begin if mark else ""
    switch = f'::vmeventd::Mutated("{mutation.name}")'
    if before.endswith(";"):
        statement = f"if ({switch}) {{ {mutation.after} }} else {{ {before} }}"
        # After a condition it needs braces: an `else` may belong to either.
        if begin.rstrip().endswith(")"):
            statement = f"{{ {statement} }}"
        return text.replace(place, f"{begin}{statement}{end}")
    return text.replace(place, f"{begin}({switch} ? ({mutation.after}) : ({before})){end}")


def mutated_texts() -> dict[str, str]:
    """The files with a defect, by path, with all of them."""
    texts: dict[str, str] = {}
    for mutation in MUTATIONS:
        text = texts.get(mutation.file) or (ROOT / mutation.file).read_text()
        texts[mutation.file] = mutated(text, mutation)
    texts[SAVED] = without_saved_field(texts[SAVED])
    texts[CLASSIFY] = without_rule(texts[CLASSIFY])
    for file, place in PUBLISHERS:
        text = texts.get(file) or (ROOT / file).read_text()
        plain = place.replace("⟦", "").replace("⟧", "")
        if text.count(plain) != 1:
            sys.exit(f"{file}: {plain!r} is there {text.count(plain)} times, not once")
        texts[file] = text.replace(plain, place.replace("⟦", "::vmeventd::WithoutElement(").replace("⟧", ")"))
    return texts


def saved_fields() -> list[str]:
    """The fields of a run that are saved, as STRUCT.FIELD."""
    lists = re.findall(r"#define \w+\(F, O, S, M, R, B, N\)((?:.*\\\n)*.*)\nCONVERT\((\w+),", (ROOT / SAVED).read_text())
    return [f"{of}.{field}" for fields, of in lists for field in re.findall(r"\b[FOSMR]\((\w+)\)", fields)]


def without_saved_field(text: str) -> str:
    """The code that saves a run, with a switch for each of its fields."""
    text = re.sub(r"(#define SAVE_[FOSMR]\(field\))", r"\1 if (!::vmeventd::Mutated(kOf, #field))", text)
    return text.replace("void Save(const Struct& from, Saved* to) {",
                        "void Save(const Struct& from, Saved* to) { constexpr char kOf[] = #Struct;")


def rules() -> list[str]:
    """The rules but the last, which always holds, as rule.ID."""
    table = (ROOT / RULES).read_text().partition("constexpr Rule kTable[] = {\n")[2].partition("\n};")[0]
    named = dict(re.findall(r'constexpr char (k\w+)\[\] = "([\w-]+)";', (ROOT / CLASSIFY).with_suffix(".h").read_text()))
    ids = re.findall(r'^    \{(?:"([\w-]+)"|(k\w+)),', table, re.MULTILINE)
    return [f"rule.{text or named[constant]}" for text, constant in ids][:-1]


def without_rule(text: str) -> str:
    """The code that applies the rules, with a switch for each of them."""
    place = "while (!rule->holds(input)) ++rule;"
    if text.count(place) != 1:
        sys.exit(f"{CLASSIFY}: the place that applies the rules is there {text.count(place)} times, not once")
    return text.replace(place, 'while (!rule->holds(input) || ::vmeventd::Mutated("rule", rule->id)) ++rule;')


def file_of(unit_test: str) -> str:
    """The file of a unit test, SUITE.TEST, or of a row of a table of stories, SUITE.ROW."""
    suite, _, name = unit_test.partition(".")
    for path in (path for folder in UNIT_TESTS for path in sorted((ROOT / folder).rglob("*_test.cc"))):
        text = path.read_text()
        is_story = f"STORY_SUITE({suite});" in text and re.search(rf'^ *\{{"{name}",', text, re.MULTILINE)
        if is_story or re.search(rf"^TEST(_F|_P)?\({suite},\s+{name}\)", text, re.MULTILINE):
            return str(path.relative_to(ROOT))
    sys.exit(f"no such unit test: {unit_test}")


def copy_tree() -> None:
    texts = mutated_texts()
    COPY.mkdir(parents=True, exist_ok=True)
    files = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                           check=True, capture_output=True, text=True).stdout.split("\0")
    publishing = {file for file, _ in PUBLISHERS}
    texts = {file: f'#include "base/{"publisher" if file in publishing else "mutation"}.h"\n{text}'
             for file, text in texts.items()}
    texts["base/mutation.h"] = HEADER
    texts["base/publisher.h"] = PUBLISHER_HEADER
    for file in filter(None, files):
        if file not in texts and (ROOT / file).exists():
            write_if_changed(COPY / file, (ROOT / file).read_bytes(), ROOT / file)
    for file, text in texts.items():
        write_if_changed(COPY / file, text.encode())


def write_if_changed(to: pathlib.Path, content: bytes, like: pathlib.Path | None = None) -> None:
    if to.exists() and to.read_bytes() == content:
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(content)
    if like is not None:
        shutil.copymode(like, to)


def build(target: str) -> pathlib.Path:
    environment = dict(os.environ, CCACHE_BASEDIR=str(COPY))
    tree = COPY / "build" / "release"
    if not (tree / "build.ninja").exists():
        subprocess.run(["cmake", "--preset", "release"], cwd=COPY, check=True, env=environment, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", str(tree), target], check=True, env=environment, stdout=subprocess.DEVNULL)
    return tree / "bin" / target


def run(simulate: pathlib.Path, name: str) -> str:
    """The first line about a seed that fails; empty: none did in time."""
    end = time.monotonic() + SECONDS
    environment = dict(os.environ, VMEVENTD_MUTATION=name)
    first = 1
    while (left := end - time.monotonic()) > 0:
        command = [simulate, "--lives", "100000000" if name else "3000", "--failures", "1", "--first",
                   str(first), "--processes", str(len(os.sched_getaffinity(0)))]
        try:
            found = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace",
                                   timeout=left, check=False).stdout
        except subprocess.TimeoutExpired:
            break
        line = next((line for line in found.splitlines() if line.startswith("seed ")), "")
        if not line or not name:
            return line
        seed = line.split()[1].rstrip(":")
        # A seed that fails without the defect as well has not found it.
        plain = subprocess.run([simulate, "--seed", seed], stdout=subprocess.DEVNULL, check=False)
        if plain.returncode == 0:
            return line
        first = int(seed) + 1
    return ""


def result_of(program: pathlib.Path, test: str, mutation: str) -> str:
    """What becomes of a unit test: "failed", "passed", "skipped" or "missing". One with several parameters has passed if none
    failed and not all were skipped."""
    patterns = [pattern.format(*test.split(".", 1)) for pattern in ("{}.{}", "*/{}.{}/*", "*/{}.*/{}")]
    done = subprocess.run([program, f"--gtest_filter={':'.join(patterns)}"], check=False, text=True, errors="replace",
                          env=dict(os.environ, VMEVENTD_MUTATION=mutation), stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL)
    if done.returncode != 0:
        return "failed"
    return "passed" if "[       OK ]" in done.stdout else "skipped" if "[  SKIPPED ]" in done.stdout else "missing"


def look_with_unit_tests(wanted: list[tuple[str, str, str]]) -> int:
    """Each of wanted is a mutation, the file of a unit test and the test, which must fail with it.

    A test that is skipped on this machine has found nothing, and is no failure."""
    found = 0
    skipped = 0
    programs: dict[str, pathlib.Path] = {}
    for mutation, file, test in wanted:
        name = UNIT_TESTS["/".join(file.split("/")[:2])]
        if name not in programs:
            programs[name] = build(name)
        with_it = result_of(programs[name], test, mutation)
        without = result_of(programs[name], test, "") if with_it == "failed" else ""
        if with_it == "failed" and without == "passed":
            found += 1
            continue
        skipped += with_it == "skipped"
        print(f"{'skip' if with_it == 'skipped' else 'NOT '}  {mutation}: {test} {with_it}"
              + (f", and {without} without it" if without else ""), flush=True)
    print(f"{found} of {len(wanted)} unit tests fail with what they are named for"
          + (f"; {skipped} were skipped" if skipped else ""))
    return 1 if found + skipped < len(wanted) else 0


def units() -> list[tuple[str, str, str]]:
    return [(each.name, file_of(each.unit_test), each.unit_test) for each in MUTATIONS if each.unit_test]


def elements_elsewhere() -> list[tuple[str, str, str]]:
    """The elements of the contract that unit tests hold, with the file and the name of each test."""
    listed = subprocess.run([ROOT / "tests/system/contract/contract_test.py", "--list-elsewhere"],
                            check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = [tuple(line.split()) for line in listed.splitlines()]
    # A method's promise is no part of a message.
    return [row for row in rows if row[1].startswith(tuple(UNIT_TESTS)) and "." in row[0]]


def look_for(watcher_test: pathlib.Path, parts: list[str], gtest_filter: str, missing: str) -> int:
    """Leaves out each of the parts; a unit test must fail."""
    def fails(part: str) -> bool:
        command = [watcher_test, "--gtest_brief=1", "--gtest_fail_fast", f"--gtest_filter={gtest_filter}"]
        environment = dict(os.environ, VMEVENTD_MUTATION=part)
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode != 0

    if fails(""):
        sys.exit("the unit tests fail without a mutation")
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        missed = [part for part, failed in zip(parts, pool.map(fails, parts)) if not failed]
    for part in missed:
        print(f"NOT  {part}: no unit test of a session fails {missing}")
    print(f"{len(parts) - len(missed)} of {len(parts)} found")
    return 1 if missed else 0


def look_for_saved_fields() -> int:
    # RunStateTest would only find that the field is not saved, and not what that means.
    return look_for(build("watcher_test"), saved_fields(), "*VmSession*:*Story*", "if it is not saved")


def look_for_rules() -> int:
    return look_for(build("watcher_test"), rules(), "*VmSession*:*Story*:ClassificationTest.*", "without it")


def main() -> int:
    names = sys.argv[1:]
    if names == ["--check"]:
        mutated_texts()
        units()
        return 0
    if names == ["--units"]:
        copy_tree()
        return look_with_unit_tests(units())
    if names in (["--saved"], ["--rules"]):
        copy_tree()
        return look_for_saved_fields() if names == ["--saved"] else look_for_rules()
    if names == ["--elsewhere"]:
        copy_tree()
        return look_with_unit_tests(elements_elsewhere())
    unknown = set(names) - {mutation.name for mutation in MUTATIONS}
    if unknown:
        sys.exit(f"no such mutation: {', '.join(sorted(unknown))}")
    chosen = [each for each in MUTATIONS if each.name in names or (not names and not each.unit_test)]
    copy_tree()
    simulate = build("simulate")
    if problem := run(simulate, ""):
        sys.exit(f"without a mutation: {problem}")
    missed = 0
    for mutation in chosen:
        begin = time.monotonic()
        found = run(simulate, mutation.name)
        missed += not found
        print(f"{'found' if found else 'NOT'}  {time.monotonic() - begin:5.0f} s  {mutation.name:40} {found}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} found")
    status = 0 if missed * 20 <= len(chosen) else 1
    if names:
        return status
    return max(status, look_with_unit_tests(units()), look_for_saved_fields(), look_for_rules(),
               look_with_unit_tests(elements_elsewhere()))


if __name__ == "__main__":
    sys.exit(main())
