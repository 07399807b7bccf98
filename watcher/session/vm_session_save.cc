// A run's text across restarts of the daemon: one JSON object, docs/journal.md.

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "absl/hash/hash.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "watcher/core/names.h"
#include "watcher/session/run_archive.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {
namespace {

constexpr int kFormat = 1;

// Each list of fields serves both archives: `Run`, `Facts` and so on are const for a writer.

template <typename Archive, typename Run>
void RunFields(Archive* archive, Run* run) {
  archive->Field("name", run->name);
  archive->Field("run_id", run->run_id);
  archive->FieldIf("source", run->source);
  archive->FieldIf("domain_id", run->domain_id);
  archive->FieldIf("libvirtd_began_ns", run->libvirtd_began_ns);
  archive->EnumIf("reported_by", run->reported_by, ReportedBy::kMonitor,
                  ReportedBy::kContainerLibvirt, run->reported_by == ReportedBy::kContainerLibvirt);
  archive->Field("monitor_path", run->monitor_path);
  archive->RawBytes("raw_path", run->unescaped_path);
  archive->RawBytes("raw_name", run->unescaped_name);
  // A process without a number here is found again by its socket alone.
  archive->FieldIf("process_tracked", run->process_tracked, run->process_tracked && run->pid > 0);
  archive->Field("pid", run->pid);
  archive->Field("start_ticks", run->start_ticks);
  archive->FieldIf("pidfd_inode", run->pidfd_inode);
  archive->Field("pid_namespace", run->pid_namespace);
  archive->Field("boot_id", run->boot_id);
  archive->FieldIf("process_start", run->process_start, run->process_start != absl::InfinitePast());
  archive->Numbers("socket", run->socket.device, run->socket.inode, run->socket.made_ns);
  archive->FieldIf("oom_file", run->oom_file);
  if (!run->oom_file.empty()) archive->Field("oom_kills", run->oom_kills);
  archive->FieldIf("shutdown_file_mark", run->shutdown_file_mark);
}

template <typename Archive, typename Facts>
void FactFields(Archive* archive, Facts* facts) {
  archive->ObjectIf("shutdown", facts->shutdown, [](auto* shutdown, auto* fact) {
    shutdown->Enum("reason", fact->reason, ShutdownReason::kMissing, ShutdownReason::kOther);
    shutdown->FlagIf("guest", fact->guest);
    shutdown->FieldIf("powerdown_age", fact->powerdown_age);
    shutdown->FieldIf("while_paused", fact->while_paused);
    shutdown->FieldIf("after_signal", fact->after_signal);
    shutdown->FieldIf("host_shutdown", fact->host_shutdown);
    shutdown->FieldIf("powerdown_in_host_shutdown", fact->powerdown_in_host_shutdown);
    shutdown->EnumIf("caveat", fact->caveat, ShutdownCaveat::kGuestAgentConnected,
                     ShutdownCaveat::kGuestAgentPossible);
  });
  archive->FieldIf("never_ran", facts->never_ran);
  archive->FieldIf("incoming", facts->incoming);
  archive->FieldIf("finishing_migration", facts->finishing_migration);
  archive->FieldIf("panicked", facts->guest_panicked);
  archive->FieldIf("watchdog", facts->watchdog_expired);
  archive->FlagIf("watchdog_paused", facts->watchdog_paused, facts->watchdog_expired);
  archive->FieldIf("internal_error", facts->internal_error);
  archive->FieldIf("panic_doubted", facts->panic_doubted);
  archive->FieldIf("watchdog_doubted", facts->watchdog_doubted);
  archive->FieldIf("powerdown_doubted", facts->powerdown_doubted);
  archive->FieldIf("hibernating", facts->hibernating);
  archive->FieldIf("migrated", facts->migrated);
  archive->FieldIf("down_before_attach", facts->down_before_attach);
  archive->FieldIf("shutdown_file_found", facts->shutdown_file_found);
  archive->FieldIf("guest_can_exit", facts->guest_can_exit);
  archive->FieldIf("intended", facts->intended);
  archive->FieldIf("host_shutdown", facts->host_shutdown);
  archive->FieldIf("oom_victim", facts->oom_victim);
  const auto sender_fields = [](auto* json, auto* sender) {
    json->Field("signal", sender->signal);
    json->FieldIf("by_kernel", sender->by_kernel);
    json->FieldIf("pid", sender->pid);
    json->FieldIf("uid", sender->uid);
    json->FieldIf("command", sender->command);
    json->FieldIf("executable", sender->executable);
    json->FieldIf("cgroup", sender->cgroup);
    json->FieldIf("of_qemu", sender->of_qemu);
    json->FieldIf("of_qemus_user", sender->of_qemus_user);
    json->FieldIf("first_process", sender->first_process);
    json->FieldIf("first_signal", sender->first_signal);
  };
  archive->ObjectIf("killer", facts->killer, sender_fields);
  archive->ObjectIf("signaller", facts->signaller, sender_fields);
  archive->EnumIf("manager_end", facts->manager_end, ManagerEnd::kShutdown, ManagerEnd::kCrashed);
}

template <typename Archive, typename Panic>
void PanicFields(Archive* archive, Panic* panic) {
  archive->FieldIf("action", panic->action);
  const auto info = [&](const char* key, auto known, auto fields) {
    using Info = decltype(known);
    if constexpr (Archive::kReads) {
      if (archive->Has(key)) panic->info = Info{};
    }
    auto* const value = std::get_if<Info>(&panic->info);
    archive->Object(key, value != nullptr, [&] { fields(value); });
  };
  info("hyper_v", HyperVPanic{}, [&](auto* hyper_v) {
    archive->Numbers("args", hyper_v->args[0], hyper_v->args[1], hyper_v->args[2], hyper_v->args[3],
                     hyper_v->args[4]);
  });
  info("s390", S390Panic{}, [&](auto* s390) {
    archive->FieldIf("core", s390->core);
    archive->FieldIf("psw_mask", s390->psw_mask);
    archive->FieldIf("psw_addr", s390->psw_addr);
    archive->FieldIf("reason", s390->reason);
  });
  info("tdx", TdxPanic{}, [&](auto* tdx) {
    archive->FieldIf("error_code", tdx->error_code);
    archive->FieldIf("message", tdx->message);
    archive->FieldIf("gpa", tdx->gpa);
  });
}

// Names what of a run would lead the watcher to somewhere else than to that run; "" if nothing.
absl::string_view WrongWith(const RunInfo& run) {
  if (run.run_id.empty()) return "it has no run_id";
  if (run.domain_id < 0) return "its domain_id is no libvirt's";
  if (run.reported_by == ReportedBy::kMonitor) {
    const absl::string_view path = run.raw_path();
    if (!absl::StartsWith(path, "/") || absl::StrContains(path, '\0')) {
      return "its monitor_path is no path";
    }
  }
  const absl::string_view name = run.raw_name();
  if (name.empty() || absl::StrContains(name, '/') || absl::StrContains(name, '\0')) {
    return "its name is no file name";
  }
  if (run.process_tracked && run.pid <= 0) return "it has no pid";
  return "";
}

}  // namespace

template <typename Archive, typename Session>
void VmSession::ArchiveFields(Archive* archive, Session* session) {
  constexpr VmState kFirstState = VmState::kRunning;
  constexpr VmState kLastState = VmState::kUnreachable;
  archive->Object("run", true, [&] { RunFields(archive, &session->run_); });
  archive->Field("attached_at", session->attached_at_);
  archive->Enum("state", session->state_, kFirstState, kLastState);
  archive->Field("state_time", session->state_time_);
  if constexpr (Archive::kReads) {
    session->published_state_ = session->state_;
    session->published_state_time_ = session->state_time_;
  }
  const bool unpublished = session->published_state_ != session->state_;
  archive->EnumIf("told_state", session->published_state_, kFirstState, kLastState, unpublished);
  archive->FieldIf("told_state_time", session->published_state_time_, unpublished);
  archive->Object("problems", !session->Problems().empty(), [&] {
    archive->FieldIf("monitor", session->monitor_problem_);
    archive->FieldIf("run", session->run_problem_);
    archive->FieldIf("file", session->file_problem_);
    archive->FieldIf("exit", session->exit_problem_);
    archive->FieldIf("silence", session->silence_problem_);
    archive->FieldIf("uuid", session->uuid_problem_);
  });
  archive->EnumIf("state_before_loss", session->state_before_loss_, kFirstState, kLastState,
                  session->monitor_ == Monitor::kLost);
  archive->FieldIf("uuid", session->uuid_);
  archive->Labels("labels", session->labels_);
  archive->FieldIf("qemu_version", session->qemu_version_);
  auto* const evidence = &session->evidence_;
  archive->FieldIf("paused", evidence->facts_.paused);
  archive->FieldIf("migrating", evidence->migrating_);
  archive->FieldIf("powerdown_at", evidence->powerdown_at_);
  archive->FieldIf("host_shutdown_at", evidence->host_shutdown_at_);
  archive->FieldIf("exiting_since", session->exiting_since_);
  archive->FieldIf("shutdown_json", evidence->shutdown_json_);
  archive->FieldIf("shutdown_qemu_time", evidence->shutdown_qemu_time_);
  archive->Object("evidence", true, [&] { FactFields(archive, &evidence->facts_); });
  archive->ObjectIf("panic", evidence->panic_,
                    [](auto* json, auto* panic) { PanicFields(json, panic); });
  const auto intent_fields = [](auto* json, auto* declared) {
    json->Field("intent_id", declared->intent.intent_id);
    json->Field("actor", declared->intent.actor);
    json->Field("reason", declared->intent.reason);
    json->Field("expire_time", declared->intent.expire_time);
    json->FieldIf("request_id", declared->intent.request_id);
    json->Field("declared", declared->declared);
    json->Field("deadline", declared->deadline);
  };
  archive->ObjectIf("intent", session->intent_, intent_fields);
  archive->ObjectIf("counted_intent", session->counted_intent_, intent_fields);
  auto* const agent = &session->agent_;
  const bool agent_matters = agent->unknown || agent->present || agent->opened.has_value();
  archive->Object("guest_agent", agent_matters, [&] {
    archive->FieldIf("unknown", agent->unknown);
    archive->FieldIf("present", agent->present);
    archive->FieldIf("open", agent->open);
    archive->FieldIf("reported", agent->reported);
    archive->FieldIf("port", agent->port);
    archive->FieldIf("opened", agent->opened);
    archive->FieldIf("closed", agent->closed);
  });
  archive->Entries("timeline", evidence->timeline_, EvidenceLog::kMaxEntries);
}

std::string VmSession::Save() const {
  if (!started_ || state_ == VmState::kStopped) return "";
  ArchiveWriter archive;
  archive.Field("format", kFormat);
  ArchiveFields(&archive, this);
  return std::move(archive).Take();
}

bool VmSession::CanBeHandedOver() const {
  return started_ && !gone_ && !away_ && monitor_ == Monitor::kReady &&
         file_step_ == FileStep::kUndone;
}

Effects VmSession::OnHandOver(Instant now) {
  return Step(now, [&] {
    FlushDropped(now);
    KeepNow();
  });
}

void VmSession::GoOn(const HandedSession& handed) {
  away_ = false;
  goes_on_ = true;
  attached_ = !agent_.unknown;
  monitor_ = Monitor::kReady;
  evidence_.SetMonitored(true);
  poll_at_ = handed.poll_at;
  last_reset_ = handed.last_reset;
  file_written_ = handed.file_written;
}

absl::StatusOr<VmSession> VmSession::Restore(absl::string_view saved, const SessionOptions* options,
                                             Instant now) try {
  ArchiveReader archive(saved);
  int format = 0;
  archive.Field("format", format);
  if (format != kFormat) return absl::InvalidArgumentError("a saved run of another format");
  VmSession session(RunInfo{.process_tracked = false}, options, now);
  session.started_ = true;
  session.away_ = true;
  session.agent_.unknown = false;  // unless it says so
  session.monitor_ = archive.Has("state_before_loss") ? Monitor::kLost : Monitor::kUnseen;
  ArchiveFields(&archive, &session);
  if (session.run_.domain_id != 0 && session.run_.reported_by == ReportedBy::kMonitor) {
    session.run_.reported_by = ReportedBy::kLibvirt;
  }
  if (const absl::string_view wrong = WrongWith(session.run_); !wrong.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("not a saved run: ", wrong));
  }
  if (const Rare<Instant> since = std::exchange(session.exiting_since_, {}); since.has_value()) {
    session.BeginExit(*since);
  }
  // An earlier version followed sockets only, and did not keep the source.
  RunInfo* const run = &session.run_;
  if (run->source.empty()) run->source = QmpSource(run->monitor_path);
  session.ShareTexts();
  // An earlier version did not keep what the watchdog did; one that paused the VM left it so.
  Evidence* const facts = &session.evidence_.facts_;
  archive.Object("evidence", true, [&] {
    if (facts->watchdog_expired && !archive.Has("watchdog_paused")) {
      facts->watchdog_paused = session.state_ == VmState::kPaused;
    }
  });
  session.published_problems_ = session.Problems();
  session.kept_ = absl::HashOf(std::string(saved));
  return session;
} catch (const nlohmann::json::exception& error) {
  return absl::InvalidArgumentError(absl::StrCat("not a saved run: ", error.what()));
}

}  // namespace vmeventd
