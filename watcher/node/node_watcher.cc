#include "watcher/node/node_watcher.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error_reason.h"
#include "base/event_loop.h"
#include "base/mutex.h"
#include "base/text.h"
#include "watcher/libvirt/libvirt_source.h"
#include "watcher/qmp/qmp_source.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/process.h"
#include "watcher/runs/run_table.h"

namespace vmeventd {
namespace {

HandedExits HandedExitsOf(const WatcherOptions& options) {
  HandedExits exits;
  if (options.handed_exits == nullptr) return exits;
  exits.socket = std::move(*options.handed_exits);
  if (options.handed_runs == nullptr) return exits;
  for (const HandedRun& run : *options.handed_runs) {
    const internal::HandedRun& state = run.state;
    if (state.pid() == 0) continue;
    exits.wait_statuses[state.pid()] =
        state.has_wait_status() ? std::optional(state.wait_status()) : std::nullopt;
  }
  return exits;
}

// The parts of the watcher, in the order in which they are made.
class NodeWatcherImpl : public NodeWatcher {
 public:
  NodeWatcherImpl(WatcherOptions options, EventSink* sink, std::unique_ptr<EventLoop> loop)
      : options_(std::move(options)),
        loop_(std::move(loop)),
        exit_statuses_(ExitStatusReader::Create(loop_.get(),
                                                options_.process_tracking
                                                    ? options_.exit_status_source
                                                    : std::optional(ExitStatusSource::kNone),
                                                HandedExitsOf(options_))),
        signals_(loop_.get(), options_.signals.trace, options_.signals.problem),
        host_(loop_.get(), options_.host_shutdown.source, options_.host_shutdown.problem),
        sink_(sink),
        table_(sink, &context_.meters),
        intents_(loop_.get(), &table_, options_.session.event_limits) {
    context_.loop = loop_.get();
    context_.exit_statuses = exit_statuses_.get();
    if (!signals_.state().active()) context_.oom_counters = &oom_counters_;
    context_.signals = &signals_;
    context_.host = &host_;
    host_.OnChange([this](const HostShutdownState& state) {
      const OnThread here(&loop_role_);
      table_.SetHostShutdown(state);
    });
    host_.Drain();  // that there is nobody to ask is known at once
    context_.boot_id = ReadBootId();
    context_.pid_namespace = ReadPidNamespace();
    context_.max_vm_descriptors = options_.max_vm_descriptors;
    context_.options = &options_;
  }

  absl::Status AddSources() {
    absl::StatusOr<std::unique_ptr<SocketConnector>> sockets =
        SocketConnector::Create(&context_, &table_);
    if (!sockets.ok()) return sockets.status();
    sockets_ = *std::move(sockets);
    absl::StatusOr<std::unique_ptr<LibvirtSource>> libvirt =
        LibvirtSource::Create(&context_, &table_, sink_);
    if (!libvirt.ok()) return libvirt.status();
    libvirt_ = *std::move(libvirt);
    sources_ = {sockets_.get(), libvirt_.get()};
    return absl::OkStatus();
  }

  void RunOnce(absl::Duration timeout) override {
    const OnThread here(&loop_role_);
    // Ends while vmeventd was away are judged by whether the host shuts down.
    if (!started_ && host_.settled()) {
      timeout = absl::ZeroDuration();
      // The runs come first, so that what is found in the directories is known for theirs.
      std::vector<HandedRun> handed_runs;
      if (options_.handed_runs != nullptr) handed_runs = std::move(*options_.handed_runs);
      RestoreRuns(&context_, &table_, sources_, std::exchange(options_.saved_runs, {}),
                  std::move(handed_runs));
      exit_statuses_->ForgetHanded();
      for (RunSource* source : sources_) source->Start();
      started_ = true;
      table_.ReportSharedUuids();
    }
    loop_->RunOnce(timeout);
    table_.EndTurn();
    for (RunSource* source : sources_) source->EndTurn();
    if (started_ && first_scan_done()) intents_.Handle();
    sink_->EndTurn();
  }

  void Wake() override { loop_->Wake(); }

  std::optional<OpenRuns> HandOver() override {
    const OnThread here(&loop_role_);
    if (!started_) return std::nullopt;
    OpenRuns handed = table_.HandOver();
    sink_->EndTurn();
    return handed;
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
    info.set_exit_status_source(ExitStatusSourceName(exit_statuses_->source()));
    *info.mutable_signal_senders() = signals_.state();
    const HostShutdownState host = host_.state();
    info.mutable_host_shutdown()->set_active(host.known && host.problem.empty());
    info.mutable_host_shutdown()->set_problem(host.problem);
    info.mutable_host_shutdown()->set_shutting_down(host.shutting_down);
    sockets_->Describe(&info);
    libvirt_->Describe(&info);
    return info;
  }
  bool first_scan_done() const override {
    return std::all_of(sources_.begin(), sources_.end(),
                       [](const RunSource* source) { return source->first_scan_done(); });
  }
  bool libvirt_waits() const override { return libvirt_->waits(); }
  bool sees_all_directories() const override { return sockets_->sees_all_directories(); }
  bool has_open_source() const override { return sockets_->is_open() || libvirt_->is_open(); }
  bool reaches_all_libvirts() const override { return libvirt_->reaches_all(); }

  WatcherCounters counters() const override {
    const DirectoryWatcher::Counters directories = sockets_->directory_counters();
    WatcherCounters all{context_.meters};
    all.inotify_overflows = directories.overflows;
    all.rescans = directories.rescans;
    all.exit_statuses_lost = exit_statuses_->overflows();
    all.lines_refused = sockets_->lines_refused();
    all.sockets_to_close = context_.closer.waiting();
    if (options_.command_lines != nullptr) {
      all.command_lines_left_out = options_.command_lines->left_out();
    }
    all.sockets_over_directory_limit = directories.left_out;
    all.signals_lost = signals_.lost();
    all.shutdown_file_times = context_.shutdown_file_times.Read();
    return all;
  }

 private:
  // The loop thread alone touches what this role guards, and what leads to the runs; what other
  // threads ask for has locks or atomics of its own.
  ThreadRole loop_role_;
  WatcherOptions options_;
  const std::unique_ptr<EventLoop> loop_;
  const OomCounters oom_counters_;
  const std::unique_ptr<ExitStatusReader> exit_statuses_;
  SignalWatch signals_;
  HostWatch host_;
  EventSink* const sink_;
  RunContext context_;
  std::unique_ptr<SocketConnector> sockets_;  // its runs close their monitors as they are destroyed
  RunTable table_ ABSL_GUARDED_BY(loop_role_);
  std::unique_ptr<LibvirtSource> libvirt_;
  std::vector<RunSource*> sources_;  // all of them
  IntentRequests intents_;
  bool started_ ABSL_GUARDED_BY(loop_role_) = false;
};

// The name of the VM in a request, for errors: its field, and "named "web1"" or "with that UUID".
std::pair<std::string, std::string> Described(const IntentRequest& request) {
  if (!request.uuid.has_value()) return {"vm_name", absl::StrCat("named ", Quote(request.vm_name))};
  if (request.vm_name.empty()) return {"uuid", "with that UUID"};
  return {"uuid", absl::StrCat("named ", Quote(request.vm_name), " with that UUID")};
}

// When the run's process started, by the clock as it is now; else when the run was found.
absl::Time StartOf(const VmRun& run) {
  const uint64_t ticks = run.info().start_ticks;
  return ticks != 0 ? ProcessStartTime(ticks) : run.session().attached_at().wall;
}

absl::Status Ambiguous(const IntentRequest& request, const std::vector<VmRun*>& runs) {
  const auto [field, described] = Described(request);
  constexpr size_t kMaxListed = 10;
  std::vector<absl::string_view> ids;
  for (const VmRun* run : runs) {
    if (ids.size() < kMaxListed) ids.emplace_back(run->info().run_id);
  }
  return WithReason("SEVERAL_VMS_RUN",
                    absl::FailedPreconditionError(absl::StrCat(
                        field, ": ", runs.size(), " VMs ", described, " run; set run_id to one of ",
                        absl::StrJoin(ids, ", "), runs.size() > kMaxListed ? ", ..." : "")));
}

}  // namespace

absl::StatusOr<std::unique_ptr<NodeWatcher>> NodeWatcher::Create(WatcherOptions options,
                                                                 const Clock* clock,
                                                                 EventSink* sink) {
  absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::Create(clock);
  if (!loop.ok()) return loop.status();
  options.session.started = clock->Now().wall;
  auto watcher = std::make_unique<NodeWatcherImpl>(std::move(options), sink, *std::move(loop));
  if (absl::Status status = watcher->AddSources(); !status.ok()) return status;
  return watcher;
}

// Intents

IntentRequests::~IntentRequests() {
  for (const Task& task : Take()) task.done(absl::UnavailableError("the watcher has stopped"));
}

void IntentRequests::Declare(IntentRequest request,
                             std::function<void(absl::StatusOr<v1::Intent>)> done) {
  Add({[this, request = std::move(request)](const Done& then) { HandleDeclare(request, then); },
       std::move(done)});
}

void IntentRequests::Withdraw(std::string intent_id, std::function<void(absl::Status)> done) {
  Add({[this, id = std::move(intent_id)](const Done& then) { HandleWithdraw(id, then); },
       [done = std::move(done)](const absl::StatusOr<v1::Intent>& withdrawn) {
         done(withdrawn.status());
       }});
}

void IntentRequests::Add(Task task) {
  if (unanswered_->fetch_add(1) >= kMaxIntentRequests) {
    --*unanswered_;
    return task.done(WithReason(
        "TOO_MANY_INTENTS",
        absl::ResourceExhaustedError(absl::StrCat(
            kMaxIntentRequests, " requests about intents are waiting already; try again later"))));
  }
  task.done = [unanswered = unanswered_,
               done = std::move(task.done)](absl::StatusOr<v1::Intent> said) {
    --*unanswered;
    done(std::move(said));
  };
  {
    MutexLock lock(&mutex_);
    tasks_.push_back(std::move(task));
  }
  loop_->Wake();
}

std::vector<IntentRequests::Task> IntentRequests::Take() {
  MutexLock lock(&mutex_);
  return std::exchange(tasks_, {});
}

void IntentRequests::Handle() {
  for (const Task& task : Take()) task.handle(task.done);
}

absl::StatusOr<VmRun*> IntentRequests::RunFor(const IntentRequest& request) {
  std::vector<VmRun*> runs;
  // Lives() may end a run, and with it its entry in the table.
  std::vector<VmRun*> named =
      request.uuid.has_value() ? runs_->WithUuid(*request.uuid) : runs_->Named(request.vm_name);
  for (VmRun* run : named) {
    const bool meant = (request.run_id.empty() || run->info().run_id == request.run_id) &&
                       (request.vm_name.empty() || run->info().name == request.vm_name);
    if (meant && run->Lives() && run->published()) runs.push_back(run);
  }
  const auto later = [&](const VmRun* run) { return StartOf(*run) >= request.started_before; };
  const bool any_later = std::erase_if(runs, later) > 0;
  if (runs.size() == 1) return runs.front();
  if (runs.size() > 1) return Ambiguous(request, runs);
  const auto [field, described] = Described(request);
  if (any_later) {
    return WithReason("RUN_IS_LATER",
                      absl::FailedPreconditionError(
                          "started_before: what runs now started later than the operation began"));
  }
  if (request.run_id.empty()) {
    return WithReason("NO_SUCH_VM",
                      absl::NotFoundError(absl::StrCat(field, ": no VM ", described, " runs")));
  }
  return WithReason("NO_SUCH_VM",
                    absl::NotFoundError(absl::StrCat("run_id: no run ", Quote(request.run_id),
                                                     " of a VM ", described, " is open")));
}

void IntentRequests::HandleDeclare(const IntentRequest& request, const Done& done) {
  const absl::StatusOr<VmRun*> run = RunFor(request);
  if (!run.ok()) return done(run.status());
  if (const v1::Intent* own = (*run)->session().IntentOfRequest(request.request_id);
      own != nullptr) {
    if (own->actor() == request.actor && own->reason() == request.reason) {
      return (*run)->Confirm([done, intent = *own] { done(intent); });
    }
    return done(absl::AlreadyExistsError(
        absl::StrCat("request_id: ", Quote(request.request_id), " was used for the intent ",
                     own->intent_id(), ", of another actor or reason: use a new one")));
  }
  if (const v1::Intent* open = (*run)->session().open_intent();
      open != nullptr && open->actor() != request.actor) {
    return done(
        WithReason("INTENT_IS_OPEN", absl::AlreadyExistsError(absl::StrCat(
                                         "vm_name: the run has an open intent, ", open->intent_id(),
                                         ", declared by ", Quote(open->actor()),
                                         ": leave it open, or withdraw it first with "
                                         "WithdrawIntent"))));
  }
  if (absl::Status counts = (*run)->CheckIntent(); !counts.ok()) return done(std::move(counts));
  if (limited_ && !node_intents_.Take(loop_->Now().monotonic)) {
    return done(
        WithReason("TOO_MANY_INTENTS",
                   absl::ResourceExhaustedError(absl::StrCat(
                       "too many intents were declared on this node: at most ", kNodeIntents.burst,
                       " at once and ", kNodeIntents.per_second, " a second; try again later"))));
  }
  v1::Intent intent;
  intent.set_intent_id(request.intent_id);
  intent.set_actor(request.actor);
  intent.set_reason(request.reason);
  *intent.mutable_expire_time() = ToTimestamp(loop_->Now().wall + request.ttl);
  intent.set_declared_by(request.declared_by);
  (*run)->DeclareIntent(intent, request.request_id, [done, intent] { done(intent); });
}

void IntentRequests::HandleWithdraw(const std::string& intent_id, const Done& done) {
  VmRun* const run = runs_->FindByIntent(intent_id);
  if (run == nullptr) {
    return done(WithReason(
        "NO_SUCH_INTENT",
        absl::NotFoundError(absl::StrCat("intent_id: no intent ", Quote(intent_id), " is open"))));
  }
  run->WithdrawIntent([done] { done(v1::Intent()); });
}

}  // namespace vmeventd
