#include "tests/simulation/daemon.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/nats/subject.h"
#include "tests/simulation/world.h"
#include "watcher/runs/command_lines.h"

namespace vmeventd::simulation {
namespace {

// What the clients have to read the rest, of a daemon that stops.
constexpr absl::Duration kDrain = absl::Seconds(4);

JournalOptions ToJournalOptions(const Daemon::Options& options) {
  return {.path = kJournalPath,
          .retention_age = options.retention_age,
          .retention_events = options.retention_events};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Start(Kernel* kernel, const Options& options,
                                                      std::unique_ptr<FleetSink> sink,
                                                      std::function<double()> random) {
  absl::StatusOr<RecoveredState> recovered = Recover(
      ToJournalOptions(options), std::string(kStateDirectory) + "/sequence", kernel->Now().wall);
  if (!recovered.ok()) return recovered.status();
  std::unique_ptr<Daemon> daemon(new Daemon(kernel, options, *std::move(recovered)));
  if (absl::Status status = daemon->Watch(options); !status.ok()) return status;
  if (sink == nullptr) return daemon;
  const absl::Status status = daemon->PrepareFleet(options, std::move(sink), std::move(random));
  if (!status.ok()) return status;
  return daemon;
}

Daemon::Daemon(Kernel* kernel, const Options& options, RecoveredState recovered)
    : kernel_(kernel),
      recovered_(std::move(recovered)),
      queue_(options.max_queued),
      live_state_({.ring = {.max_bytes = options.ring_bytes}},
                  {recovered_.journal->journal_id(), recovered_.journal->token_key(), "node"},
                  recovered_.journal->retained(), recovered_.newest),
      read_queue_(kJournalPath, &live_state_,
                  [this](const std::string& journal_id, const absl::Status& found) {
                    pump_.ReportCorrupt(journal_id, found);
                  }),
      queries_(&live_state_),
      hub_(&live_state_, &read_queue_, kernel,
           {.progress_interval = kProgressInterval,
            .write_timeout = kWriteTimeout,
            .history_bytes = options.history_bytes},
           &refusals_),
      journal_(ToJournalOptions(options), std::move(recovered_.journal),
               std::move(recovered_.mark)),
      pump_(&queue_, &live_state_, &journal_, kernel,
            {[this] { OnPublished(); }, [this](bool) { OnPublished(); },
             [this] {
               ++replacements_;
               watcher_->PublishRunsAgain();
             }}),
      outbox_(&live_state_, &read_queue_) {
  PublishRecovered(recovered_, journal_.journal().retained(), kernel_->Now(), &live_state_, &pump_);
  hub_thread_ = std::thread([this] { hub_.Run(); });
}

absl::Status Daemon::Watch(const Options& options) {
  WatcherOptions watcher_options;
  absl::StatusOr<WatchSpec> watch = ParseWatchSpec(std::string(kWatchedDirectory) + ":*.qmp");
  if (!watch.ok()) return watch.status();
  watcher_options.watches = {*std::move(watch)};
  watcher_options.process_tracking = options.process_tracking;
  if (options.process_tracking) watcher_options.command_lines = std::make_shared<CommandLines>();
  watcher_options.exit_status_source = std::nullopt;
  if (options.libvirt != nullptr) {
    absl::StatusOr<LibvirtSpec> libvirt = ParseLibvirtUri(kLibvirtUri);
    if (!libvirt.ok()) return libvirt.status();
    watcher_options.libvirts = {*std::move(libvirt)};
    watcher_options.libvirt_api = options.libvirt;
  }
  watcher_options.max_vm_descriptors = options.max_vm_descriptors;
  for (const JournalSession& session : recovered_.sessions) {
    watcher_options.saved_runs.push_back(session.payload);
  }
  watcher_options.ended_runs = recovered_.EndedRuns();
  absl::StatusOr<std::unique_ptr<NodeWatcher>> watcher =
      NodeWatcher::Create(std::move(watcher_options), kernel_, &queue_);
  if (!watcher.ok()) return watcher.status();
  watcher_ = *std::move(watcher);
  if (recovered_.replaced) watcher_->PublishRunsAgain();
  return absl::OkStatus();
}

absl::Status Daemon::PrepareFleet(const Options& options, std::unique_ptr<FleetSink> sink,
                                  std::function<double()> random) {
  absl::StatusOr<std::unique_ptr<PositionFile>> position = PositionFile::Open(
      kPositionPath, absl::StrCat(kFleetStream, "/", NodeSubjects(kCluster, kNode)));
  if (!position.ok()) return position.status();
  fleet_sink_ = std::move(sink);
  fleet_ = std::make_unique<FleetPublisher>(
      PublisherOptions{
          .cluster = kCluster, .node = kNode, .version = "1", .heartbeat = options.heartbeat},
      fleet_sink_.get(), &outbox_, *std::move(position), kernel_, std::move(random));
  return absl::OkStatus();
}

void Daemon::OnPublished() {
  if (on_published_ != nullptr) on_published_();
  hub_.WakeStreams();
  fleet_woken_ = true;
}

Daemon::~Daemon() {
  hub_.Stop();
  hub_thread_.join();
}

bool Daemon::LoopIsDue() const {
  // The first look at the directories goes on by itself; one for domains waits for libvirt.
  constexpr int kFirstTurns = 100;
  return (loop_turns_ < kFirstTurns && !watcher_->first_scan_done()) ||
         kernel_->loop_due() <= kernel_->monotonic() || kernel_->LoopHasInput();
}

absl::Duration Daemon::pump_due() const {
  const bool has_input =
      queue_.directories_changed() || (queue_.depth() > 0 && !pump_.holds_back());
  return has_input ? kernel_->monotonic() : journal_.NextTick();
}

void Daemon::PumpTurn() {
  queue_.OnPumpTurn();
  pump_.RunOnce(absl::ZeroDuration());
}

void Daemon::Stop() {
  stops_ = true;
  watcher_->RunOnce(absl::ZeroDuration());
  queue_.Close();
  while (pump_.RunOnce(absl::ZeroDuration())) {
  }
}

void Daemon::EndStreams() {
  hub_.Drain(kDrain);
  if (fleet_ == nullptr) return;
  fleet_->Stop();
  fleet_->Run();  // to its last heartbeat
}

absl::Duration Daemon::fleet_due() const {
  if (fleet_ == nullptr) return absl::InfiniteDuration();
  return fleet_woken_ ? kernel_->monotonic() : fleet_due_;
}

void Daemon::FleetTurn() {
  fleet_woken_ = false;
  const absl::Duration wait = fleet_->Step();
  fleet_due_ = kernel_->monotonic() + wait;
}

void Daemon::List(const v1::ListEventsRequest& request, const std::string& peer,
                  std::function<bool()> cancelled,
                  std::function<void(const absl::StatusOr<std::string>&)> answer) {
  absl::StatusOr<std::shared_ptr<EventsQuery>> query = queries_.ListEvents(request);
  if (!query.ok()) return answer(query.status());
  read_queue_.PostQuery(
      peer, {[query = *std::move(query), answer = std::move(answer)](
                 const absl::StatusOr<JournalReader*>& journal) -> absl::StatusOr<bool> {
               const std::optional<absl::StatusOr<std::string>> page = query->Continue(journal);
               if (!page.has_value()) return false;
               answer(*page);
               if (!page->ok()) return page->status();
               return true;
             },
             std::move(cancelled)});
}

}  // namespace vmeventd::simulation
