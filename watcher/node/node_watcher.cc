#include "watcher/node/node_watcher.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/event_loop.h"
#include "base/thread_role.h"
#include "spdlog/spdlog.h"
#include "watcher/core/health_services.h"
#include "watcher/core/proto_time.h"
#include "watcher/core/times_text.h"
#include "watcher/libvirt/libvirt_source.h"
#include "watcher/node/intent_requests.h"
#include "watcher/qmp/qmp_source.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/exit_status_reader.h"
#include "watcher/runs/host_ids.h"
#include "watcher/runs/oom_counters.h"
#include "watcher/runs/run_context.h"
#include "watcher/runs/run_restorer.h"
#include "watcher/runs/run_table.h"
#include "watcher/runs/source_table.h"

namespace vmeventd {
namespace {

// Takes the socket of the exit statuses, and copies those of the runs that were handed over.
HandedExits TakeExits(PreviousRuns* previous) {
  HandedExits exits;
  if (!previous->exit_statuses.valid()) return exits;
  exits.socket = std::move(previous->exit_statuses);
  for (const HandedRun& run : previous->handed) {
    const internal::HandedRunState& state = run.state;
    if (state.pid() == 0) continue;
    exits.wait_statuses[state.pid()] =
        state.has_wait_status() ? std::optional(state.wait_status()) : std::nullopt;
  }
  return exits;
}

// Pause between two reports of the time up to which everything was watched; kReportRetry: the pause
// if something is not known yet.
constexpr absl::Duration kReportPause = absl::Seconds(10);
constexpr absl::Duration kReportRetry = absl::Seconds(1);

// Makes the GAP for the time in which no vmeventd watched. `since`: InfinitePast if it is not
// known. `runs_are_known`: all runs of the previous daemon were restored.
v1::Event Absence(absl::Time since, absl::Time until, const RunTable::LateEnds& ends,
                  bool runs_are_known) {
  const bool is_known = since > absl::InfinitePast();
  since = std::min(since, until);
  const std::string times =
      is_known
          ? TimesText(since, "(last sign of life) to", until)
          : absl::StrCat("the stop of the previous vmeventd, at an unknown time, to ",
                         absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", until, absl::UTCTimeZone()));
  std::string missed =
      ends.unknown > 0
          ? absl::StrCat(ends.unknown, ends.unknown == 1 ? " end in between is UNKNOWN"
                                                         : " ends in between are UNKNOWN")
      : ends.all > 0
          ? absl::StrCat(ends.all == 1 ? "the end" : "all ends", " in between could be classified")
      : runs_are_known
          ? "no VM that ran before has ended in between"
          : "which VMs ran before is not known, and those that ended in between have no STOPPED";
  if (!runs_are_known && ends.all > 0) {
    absl::StrAppend(&missed, "; not all VMs that ran before are known");
  }
  v1::Event gap = MakeGap(GapReason::kNotWatched,
                          absl::StrCat("vmeventd did not watch from ", times, ": ", missed), until);
  if (is_known) *gap.mutable_unwatched()->mutable_start() = ToTimestamp(since);
  *gap.mutable_unwatched()->mutable_end() = ToTimestamp(until);
  return gap;
}

// The parts of the watcher, in the order in which they are made.
class NodeWatcherImpl : public NodeWatcher {
 public:
  NodeWatcherImpl(WatcherOptions options, PreviousRuns previous, UpdateSink* sink,
                  std::unique_ptr<EventLoop> loop)
      : options_(std::move(options)),
        previous_(std::move(previous)),
        loop_(std::move(loop)),
        exit_statuses_(ExitStatusReader::Create(loop_.get(),
                                                options_.process_tracking
                                                    ? options_.exit_status_source
                                                    : std::optional(ExitStatusSource::kNone),
                                                TakeExits(&previous_))),
        signals_(loop_.get(), options_.signals),
        host_(loop_.get(), options_.host_shutdown.source, options_.host_shutdown.problem),
        sink_(sink),
        table_(sink, &context_.meters),
        intents_(loop_.get(), &table_, sink, options_.session.event_limits) {
    context_.loop = loop_.get();
    context_.exit_statuses = exit_statuses_.get();
    if (!signals_.state().active()) context_.oom_counters = &oom_counters_;
    context_.signals = &signals_;
    context_.host = &host_;
    host_.OnChange([this](const HostShutdownState& state) {
      const OnThread here(&loop_role_);
      table_.SetHostShutdown(state);
    });
    host_.Drain();  // a missing bus is reported at once
    context_.boot_id = ReadBootId();
    if (context_.boot_id.empty()) {
      spdlog::warn(
          "cannot read /proc/sys/kernel/random/boot_id: vmeventd does not recognize a reboot of "
          "the host, and judges by the processes alone which VMs still run");
    }
    context_.pid_namespace = ReadPidNamespace();
    context_.max_vm_descriptors = options_.max_vm_descriptors;
    context_.options = &options_;
  }

  // Makes the sources; the other methods are called after that.
  absl::Status AddSources(const SourceTable& kinds) {
    for (const SourceKind& kind : kinds) {
      absl::StatusOr<std::unique_ptr<RunSource>> source = kind.make(&context_, &table_, sink_);
      if (!source.ok()) return source.status();
      by_key_[kind.key] = source->get();
      sources_.push_back(*std::move(source));
    }
    return absl::OkStatus();
  }

  void RunOnce(absl::Duration timeout) override {
    const OnThread here(&loop_role_);
    // Ends while vmeventd was away are judged by whether the host shuts down.
    if (!started_ && host_.settled()) {
      timeout = absl::ZeroDuration();
      // The runs come first, so that what is found in the directories is known for theirs.
      const bool all_continue =
          RestoreRuns(&context_, &table_, by_key_, std::exchange(previous_.saved, {}),
                      std::exchange(previous_.handed, {}));
      was_away_ = previous_.daemon_existed && !(previous_.is_handover && all_continue);
      if (options_.held_processes != nullptr) options_.held_processes->Clear();
      exit_statuses_->ForgetHanded();
      for (const auto& source : sources_) source->Start();
      started_ = true;
      table_.ReportSharedUuids();
    }
    loop_->RunOnce(timeout);
    table_.EndTurn();
    for (const auto& source : sources_) source->EndTurn();
    if (started_ && first_scan_done()) intents_.Handle();
    if (was_away_ || loop_->Now().monotonic >= report_at_) Report();
    sink_->EndTurn();
  }

  void PublishRest() override {
    const OnThread here(&loop_role_);
    table_.PublishRest();
    Report();
    sink_->EndTurn();
  }

  void Wake() override { loop_->Wake(); }

  std::optional<OpenRuns> HandOver() override {
    const OnThread here(&loop_role_);
    if (!started_) return std::nullopt;
    return table_.HandOver();
  }

  int exit_status_socket() const override { return exit_statuses_->socket(); }

  void DeclareIntent(IntentRequest request,
                     std::function<void(absl::StatusOr<v1::Intent>)> done) override {
    intents_.Declare(std::move(request), std::move(done));
  }
  void WithdrawIntent(std::string intent_id, std::function<void(absl::Status)> done) override {
    intents_.Withdraw(std::move(intent_id), std::move(done));
  }

  v1::GetServerInfoResponse Describe() const override {
    v1::GetServerInfoResponse info;
    info.set_exit_status_source(ToProto(exit_statuses_->source()));
    *info.mutable_signal_senders() = signals_.state();
    const HostShutdownState host = host_.state();
    info.mutable_host_shutdown()->set_active(host.known && host.problem.empty());
    if (!host.problem.empty()) {
      *info.mutable_host_shutdown()->mutable_problem() =
          ToProto(Problem{ProblemCode::kNoSystemBus, host.problem});
    }
    info.mutable_host_shutdown()->set_shutting_down(host.shutting_down);
    for (const auto& source : sources_) source->Describe(&info);
    return info;
  }
  bool first_scan_done() const override {
    return std::all_of(sources_.begin(), sources_.end(),
                       [](const auto& source) { return source->first_scan_done(); });
  }
  bool waits() const override {
    return std::any_of(sources_.begin(), sources_.end(),
                       [](const auto& source) { return source->waits(); });
  }
  std::vector<ServiceHealth> Health() const override {
    const OnThread here(&loop_role_);
    const bool any_open =
        started_ && std::any_of(sources_.begin(), sources_.end(),
                                [](const auto& source) { return source->is_open(); });
    std::vector<ServiceHealth> all = {{kSourcesService, any_open}};
    for (const auto& source : sources_) {
      const std::vector<ServiceHealth> own = source->Health();
      all.insert(all.end(), own.begin(), own.end());
    }
    return all;
  }

  WatcherCounters counters() const override {
    WatcherCounters all{context_.meters};
    all.exit_statuses_lost = exit_statuses_->overflows();
    all.sockets_to_close = context_.closer.waiting();
    if (options_.command_lines != nullptr) {
      all.command_lines_left_out = options_.command_lines->left_out();
    }
    if (options_.last_words != nullptr) all.last_words_left_out = options_.last_words->left_out();
    all.signals_lost = signals_.lost();
    all.shutdown_file_times = context_.shutdown_file_times.Read();
    for (const auto& source : sources_) {
      std::vector<SourceMetric> own = source->Metrics();
      std::move(own.begin(), own.end(), std::back_inserter(all.of_sources));
    }
    return all;
  }
  std::vector<std::string> Troubles() const override {
    std::vector<std::string> all;
    for (const auto& source : sources_) {
      if (std::string trouble = source->Trouble(); !trouble.empty()) {
        all.push_back(std::move(trouble));
      }
    }
    return all;
  }

 private:
  void Report() ABSL_EXCLUSIVE_LOCKS_REQUIRED(loop_role_) {
    const Instant now = loop_->Now();
    // A process that is gone still has to publish its end.
    const bool is_known = started_ && first_scan_done() && !table_.HasEnding();
    report_at_ = now.monotonic + (is_known ? kReportPause : kReportRetry);
    loop_->SetTimer(&report_timer_, report_at_, [] {});  // makes a turn
    if (!is_known) return;
    if (std::exchange(was_away_, false)) {
      const bool runs_are_known =
          previous_.are_known && context_.meters.unreadable_runs.value() == 0;
      sink_->Push({std::nullopt, Absence(options_.session.last_watched, now.wall,
                                         table_.late_ends(), runs_are_known)});
    }
    sink_->EndTurn();
    sink_->Watched(now.wall - (now.monotonic - loop_->turn_began()));
  }

  // Only the loop thread uses the members that this role guards, and everything that leads to the
  // runs. Data for other threads has its own locks or atomics.
  ThreadRole loop_role_;
  const WatcherOptions options_;
  PreviousRuns previous_ ABSL_GUARDED_BY(loop_role_);  // without what was taken of it
  const std::unique_ptr<EventLoop> loop_;
  const OomCounters oom_counters_;
  const std::unique_ptr<ExitStatusReader> exit_statuses_;
  SignalWatch signals_;
  HostWatch host_;
  UpdateSink* const sink_;
  RunContext context_;
  std::vector<std::unique_ptr<RunSource>> sources_;  // they outlive their runs, which call them
  SourcesByKey by_key_;
  RunTable table_ ABSL_GUARDED_BY(loop_role_);
  IntentRequests intents_;
  bool started_ ABSL_GUARDED_BY(loop_role_) = false;
  // No GAP has reported yet the time since the previous daemon.
  bool was_away_ ABSL_GUARDED_BY(loop_role_) = false;
  // Time for the next Report().
  absl::Duration report_at_ ABSL_GUARDED_BY(loop_role_) = absl::ZeroDuration();
  TimerId report_timer_ ABSL_GUARDED_BY(loop_role_);
};

}  // namespace

SourceTable NodeWatcher::AllSources() { return {QmpSource::Kind(), LibvirtSource::Kind()}; }

void NodeWatcher::PrepareProcess(const SourceTable& sources) {
  for (const SourceKind& source : sources) {
    if (source.prepare_process != nullptr) source.prepare_process();
  }
}

absl::Status NodeWatcher::LoadLibraries(const SourceSpecs& specs, const SourceTable& sources) {
  for (const SourceKind& source : sources) {
    if (source.load_library == nullptr) continue;
    if (absl::Status status = source.load_library(specs); !status.ok()) return status;
  }
  return absl::OkStatus();
}

std::vector<ServiceHealth> NodeWatcher::NotServing(const SourceTable& sources) {
  std::vector<ServiceHealth> all = {{kSourcesService, false}};
  for (const SourceKind& source : sources) {
    if (source.health_service != nullptr) all.push_back({source.health_service, false});
  }
  return all;
}

absl::StatusOr<std::unique_ptr<NodeWatcher>> NodeWatcher::Create(WatcherOptions options,
                                                                 PreviousRuns previous,
                                                                 const Clock* clock,
                                                                 UpdateSink* sink,
                                                                 const SourceTable& sources) {
  absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::Create(clock);
  if (!loop.ok()) return loop.status();
  options.session.started = clock->Now().wall;
  auto watcher = std::make_unique<NodeWatcherImpl>(std::move(options), std::move(previous), sink,
                                                   *std::move(loop));
  if (absl::Status status = watcher->AddSources(sources); !status.ok()) return status;
  return watcher;
}

}  // namespace vmeventd
