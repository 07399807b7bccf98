#include "tests/simulation/simulation.h"

#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/uuid.h"
#include "spdlog/details/null_mutex.h"
#include "spdlog/sinks/base_sink.h"
#include "spdlog/spdlog.h"
#include "tests/simulation/daemon.h"
#include "tests/simulation/declared.h"
#include "tests/simulation/handover_store.h"
#include "tests/simulation/host.h"
#include "tests/simulation/judge.h"
#include "tests/simulation/kernel.h"
#include "tests/simulation/libvirtd.h"
#include "tests/simulation/lister.h"
#include "tests/simulation/plan.h"
#include "tests/simulation/random.h"
#include "tests/simulation/reader.h"
#include "tests/simulation/story.h"
#include "tests/simulation/threads.h"
#include "tests/simulation/world.h"

namespace vmeventd::simulation {
namespace {

Kernel::Features ChooseFeatures(Random* random) {
  Kernel::Features features;
  features.peer_pidfd = !random->OneIn(5);
  features.pidfs = features.peer_pidfd && !random->OneIn(4);
  features.pidfd_exit = features.pidfs && !random->OneIn(4);
  features.reads_zombies = !random->OneIn(4);
  features.signals = !random->OneIn(5);
  return features;
}

Daemon::Options ChooseOptions(const Plan& plan, Random* random, Libvirtd* libvirtd) {
  Daemon::Options options;
  if (plan.domains > 0) options.libvirt = {std::shared_ptr<void>(), libvirtd};
  if (random->OneIn(3)) options.ring_bytes = 4 << 10;
  if (random->OneIn(4))
    options.retention_events = random->OneIn(4) ? random->Between(2, 20) : random->Between(20, 300);
  if (random->OneIn(6)) options.retention_age = absl::Minutes(random->Between(1, 60));
  if (random->OneIn(8)) options.max_vm_descriptors = static_cast<int>(random->Between(2, 7));
  if (random->OneIn(4))
    options.max_waiting_bytes = static_cast<size_t>(random->Between(1'000, 20'000));
  if (random->OneIn(2)) {
    const int64_t most = random->OneIn(2) ? 900 : 8'000;  // one or two VMs of a snapshot, or many
    options.message_bytes = static_cast<size_t>(random->Between(300, most));
  }
  // A domain whose process is not followed is known by its UUID alone.
  if (plan.domains > 0) options.max_vm_descriptors = Daemon::Options().max_vm_descriptors;
  return options;
}

// The daemon's log is a part of the story.
class StorySink : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  explicit StorySink(Story* story) : story_(story) {}

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    story_->Log("log", absl::string_view(message.payload.data(), message.payload.size()));
  }
  void flush_() override {}

  Story* const story_;
};

class Simulation {
 public:
  explicit Simulation(const Plan& plan)
      : random_(plan.seed),
        kernel_random_(random_.Next()),
        world_random_(random_.Next()),
        reader_random_(random_.Next()),
        fault_random_(random_.Next()),
        thread_random_(random_.Next()),
        kernel_(&kernel_random_, ChooseFeatures(&kernel_random_)),
        threads_(&kernel_, &thread_random_),
        story_(&kernel_),
        libvirt_random_(plan.seed ^ 0x6c696276),
        libvirtd_(&kernel_, &libvirt_random_, &story_),
        options_(ChooseOptions(plan, &fault_random_, &libvirtd_)),
        world_(&kernel_, &world_random_, &story_, &libvirtd_, plan),
        judge_(&kernel_, &world_, &libvirtd_, &story_, options_, plan.clock_steps > 0),
        host_(plan, &kernel_, &fault_random_, &story_, &world_,
              {.daemon = [this] { return daemon_.get(); },
               .stop = [this] { StopDaemon(); },
               .no_room =
                   [this](const auto& unopened) {
                     if (daemon_ != nullptr) judge_.CheckListed(*daemon_, number_, unopened);
                   },
               .has_room =
                   [this] {
                     if (daemon_ != nullptr) judge_.CheckFollowed(number_);
                   }}),
        hands_over_(plan.handover != 0),
        damages_(plan.damages),
        writer_stalls_one_in_(fault_random_.OneIn(3) ? 6 : 200),
        loop_stalls_one_in_(fault_random_.OneIn(3) ? 10 : 10'000) {
    for (const char* directory : {"/", "/run", kWatchedDirectory, "/run/libvirt", kPidDirectory,
                                  "/var", "/var/lib", kStateDirectory}) {
      kernel_.disk().Make(directory, S_IFDIR | 0755, kernel_.wall_ns());
    }
    kernel_.disk().Sync(kStateDirectory, nullptr);
    for (int64_t i = 1; i <= plan.readers; ++i) {
      readers_.push_back(std::make_unique<Reader>(static_cast<int>(i), &kernel_, &reader_random_,
                                                  &story_, &judge_));
    }
    for (int64_t i = 1; i <= plan.listers; ++i) {
      listers_.push_back(std::make_unique<Lister>(static_cast<int>(i), &kernel_, &reader_random_,
                                                  &story_, &judge_));
    }
    for (int64_t i = 0; i < plan.stops; ++i) {
      world_.At(host_.SomeTime(), [this] {
        if (fault_random_.OneIn(2)) return StopDaemon();
        (fault_random_.OneIn(2) ? stops_at_question_ : stops_in_line_) = !settles_;
      });
    }
    for (int64_t i = 0; i < plan.libvirtd_ends; ++i) {
      world_.At(host_.SomeTime(), [this] {
        libvirtd_.Stop();
        const absl::Duration away = libvirt_random_.Between(absl::ZeroDuration(), absl::Minutes(1));
        world_.At(kernel_.monotonic() + (libvirt_random_.OneIn(2) ? away : away / 1000),
                  [this] { libvirtd_.Start(); });
      });
    }
    if (plan.domains > 0) CheckDomainsLater();
    world_.set_after_overflow([this] {
      if (daemon_ != nullptr && host_.has_descriptors()) judge_.CheckFollowed(number_);
    });
    judge_.set_unopened(&host_.unopened());
    threads_.set_main_waits([this](absl::Duration until) { WaitForThreads(until); });
    world_.set_intents([this](Life* life, size_t index) { Declare(life, index); },
                       [this](Life* life, size_t index) { Withdraw(life, index); });
  }

  Result Run() {
    spdlog::set_default_logger(
        std::make_shared<spdlog::logger>("simulation", std::make_shared<StorySink>(&story_)));
    while (!world_.over() && !story_.failed()) Step();
    if (!story_.failed()) Settle();
    Result result{story_.problem(), story_.lines(), story_.reached(), world_.lives().size()};
    daemon_.reset();
    return result;
  }

 private:
  // Time by which the daemon has looked for events past their age.
  static constexpr absl::Duration kSettles = absl::Minutes(12);
  static constexpr absl::Duration kLoopStalls = absl::Milliseconds(200);
  static constexpr int kMaxSteps = 2'000'000;  // a simulation takes some ten thousand

  void StartDaemon() {
    ++number_;
    story_.Log("daemon", "starts, for the ", number_, ". time");
    world_.set_daemon(number_);
    host_.AimKill();
    if (damages_ > 0 && !host_.start_may_fail() && fault_random_.OneIn(2) &&
        judge_.DamageJournal()) {
      --damages_;
      host_.AimKillAtStart();
    }
    judge_.BeforeStart(host_.start_may_fail());
    absl::StatusOr<std::unique_ptr<Daemon>> daemon =
        Daemon::Start(&kernel_, options_, &store_, [this] { judge_.Look(daemon_.get(), number_); });
    if (kernel_.dead()) {
      if (daemon.ok()) daemon_ = *std::move(daemon);
      return Bury();
    }
    if (!daemon.ok() && host_.start_may_fail()) {
      story_.Log("daemon", "does not start: ", daemon.status().message());
      story_.Reach("start fails");
      world_.set_daemon(0);
      EndThreads();
      kernel_.BuryDaemon();
      restart_at_ = kernel_.monotonic() + absl::Seconds(1);
      return;
    }
    if (!daemon.ok()) {
      story_.Fail("the daemon does not start: ", daemon.status().message());
      return;
    }
    daemon_ = *std::move(daemon);
    started_at_ = kernel_.monotonic();
    judge_.set_short_of_descriptors(host_.short_of_descriptors());
    if (daemon_->handed() > 0) world_.Resume(store_.daemon, number_);
    world_.ResumeWithProcesses(number_, daemon_->domains());
    judge_.AfterStart(daemon_.get(), number_);
  }

  void CheckDomainsLater() {
    world_.At(kernel_.monotonic() + absl::Minutes(1), [this] {
      if (daemon_ != nullptr && host_.disk_is_healthy()) judge_.CheckDomains(*daemon_);
      CheckDomainsLater();
    });
  }

  // The daemon's threads end with it.
  void EndThreads() {
    while (threads_.CanTurn()) threads_.Turn();
    libvirtd_.Forget();
  }

  // Stops it as the service manager does: all that was observed is written.
  void StopDaemon() {
    if (daemon_ == nullptr) return;
    host_.KeepPower();
    story_.Log("daemon", "is stopped");
    story_.Reach("stop");
    daemon_->Stop(hands_over_ ? &store_ : nullptr);
    store_.daemon = number_;
    if (hands_over_ && !kernel_.dead() && !host_.short_of_descriptors()) {
      judge_.CheckHandover(*daemon_, store_.RunIds());
    }
    if (kernel_random_.OneIn(8)) DropStore();  // case of a daemon that is not started again at once
    libvirtd_.AfterLoopTurn(daemon_->has_read_libvirt());
    judge_.AfterPump(daemon_.get(), number_);
    if (!kernel_.dead()) daemon_->EndStreams();
    if (kernel_.dead()) return Bury();
    world_.set_daemon(0);
    daemon_.reset();  // closes the journal, in which it may die as well
    EndThreads();
    Disconnect();
    if (kernel_.dead()) return Bury();
    if (host_.disk_is_healthy()) judge_.AfterStop();
    kernel_.BuryDaemon();
    restart_at_ = kernel_.monotonic() + random_.Between(absl::ZeroDuration(), absl::Seconds(5));
  }

  void DropStore() {
    kernel_.DropKept();
    kernel_.KeepTrace(false);
    store_ = {};
  }

  // The daemon is dead.
  void Bury() {
    world_.set_daemon(0);
    daemon_.reset();
    EndThreads();
    Disconnect();
    if (host_.OnDeath()) {
      store_ = {};
    }
    restart_at_ = kernel_.monotonic() +
                  random_.Between(absl::ZeroDuration(),
                                  random_.OneIn(3) ? absl::Minutes(2) : absl::Seconds(2));
  }

  void Disconnect() {
    for (const auto& reader : readers_) reader->Disconnect();
    for (const auto& lister : listers_) lister->Disconnect();
  }

  // The main thread waits for a condition; others do what is needed for it, or time passes.
  void WaitForThreads(absl::Duration until) {
    if (daemon_ == nullptr) {  // the daemon's parts end
      if (threads_.CanTurn()) return threads_.Turn();
      return kernel_.AdvanceTo(std::min(until, threads_.due()));
    }
    if (daemon_->HistoryTurn()) return;
    if (threads_.CanTurn()) return threads_.Turn();
    if (!daemon_->stops()) return;
    for (const auto& reader : readers_) {
      if (reader->Turn(daemon_.get())) return;
    }
    absl::Duration next = std::min(until, threads_.due());
    for (const auto& reader : readers_) {
      if (reader->next() > kernel_.monotonic()) next = std::min(next, reader->next());
    }
    kernel_.AdvanceTo(std::max(next, kernel_.monotonic() + absl::Microseconds(1)));
  }

  void Declare(Life* life, size_t index) {
    // A client that asks once more for what is open gets that, by whatever it names the VM.
    const bool again = life->intents[index].asked < kernel_.monotonic();
    if (daemon_ == nullptr || (again && !IsOpen(*life, index))) return;
    const std::string id = absl::StrCat("intent-", life->number, "-", index);
    IntentRequest request{.vm_name = again ? "" : life->listed_as,
                          .run_id = life->run_id,
                          .intent_id = absl::StrCat(id, again ? "-again" : ""),
                          .actor = "somebody",
                          .reason = "maintenance",
                          .ttl = life->intents[index].ttl,
                          .request_id = id};
    if (again) request.uuid = ParseUuid(UuidOf(*life));
    const auto done = [=, this](const absl::StatusOr<v1::Intent>& intent) {
      if (kernel_.dead() || (again && !IsOpen(*life, index))) return;
      const bool is_lost = absl::IsNotFound(intent.status()) && life->handed_to == number_;
      if (again && (is_lost || (intent.ok() && intent->intent_id() != id))) {
        story_.Fail(life->name, ": who declares ", id, " again gets another, or none");
      }
      // The caller is refused while it is not durable, as the intent may be lost.
      if (again || !intent.ok() || !daemon_->log().state().published_durable) return;
      story_.Log(life->name, "the intent is declared");
      story_.Reach("intent declared");
      life->intents[index].answered = kernel_.monotonic();
      life->intents[index].counter_refused =
          host_.unopened().contains(Kernel::OomCounterOf(life->process->cgroup));
    };
    daemon_->watcher().DeclareIntent(std::move(request), done);
  }

  // Returns whether an intent that was answered is open, and will be for some time.
  bool IsOpen(const Life& life, size_t index) const {
    const Declared& intent = life.intents[index];
    return intent.answered < kernel_.monotonic() && !intent.withdrawn && !life.process_gone &&
           intent.asked + intent.ttl > kernel_.monotonic() + absl::Hours(1) &&
           index + 1 == life.intents.size() && !judge_.Forgets(intent);
  }

  void Withdraw(Life* life, size_t index) {
    if (daemon_ == nullptr) return;
    life->intents[index].asked_daemon = number_;
    life->intents[index].asked_daemon_at = kernel_.monotonic();
    const auto done = [=, this](const absl::Status& status) {
      life->intents[index].asked_daemon = 0;
      // The caller is refused while it is not durable, as a restart may bring the intent back.
      if (!status.ok() || kernel_.dead() || !daemon_->log().state().published_durable) return;
      story_.Reach("intent withdrawn");
      life->intents[index].withdrawn_at = kernel_.monotonic();
    };
    daemon_->watcher().WithdrawIntent(absl::StrCat("intent-", life->number, "-", index), done);
  }

  enum class Who { kLoop, kPump, kWriter, kHistory, kThreads, kQemu, kReader, kLister, kWorld };

  // Gives a turn to one of those that have something to do; else time passes.
  void Step() {
    if (++steps_ > kMaxSteps) return story_.Fail("the simulation does not come to its end");
    if (daemon_ == nullptr && kernel_.monotonic() >= restart_at_) return StartDaemon();
    std::vector<Who>& who = who_;
    who.clear();
    if (daemon_ != nullptr) {
      if (daemon_->LoopIsDue() && kernel_.monotonic() >= loop_stalls_until_) {
        who.push_back(Who::kLoop);
      }
      if (daemon_->PumpIsDue()) who.push_back(Who::kPump);
      if (daemon_->writer_due() <= kernel_.monotonic() && !disk_waits()) {
        who.push_back(Who::kWriter);
      }
      if (threads_.CanTurn()) who.push_back(Who::kThreads);
      if (try_readers_) {
        if (!disk_waits()) who.push_back(Who::kHistory);
        if (!readers_.empty()) who.push_back(Who::kReader);
        if (!listers_.empty()) who.push_back(Who::kLister);
      }
    }
    if (try_qemu_) who.push_back(Who::kQemu);
    if (world_.next() <= kernel_.monotonic()) who.push_back(Who::kWorld);
    if (who.empty()) return Wait();
    bool did = true;
    switch (random_.Pick(who)) {
      case Who::kLoop:
        daemon_->LoopTurn();
        judge_.AfterLoop(*daemon_);
        if (stops_at_question_ && !kernel_.dead() && world_.IsAskedInVain()) {
          stops_at_question_ = false;
          story_.Reach("a stop while a QEMU that hangs has been asked");
          StopDaemon();
          break;
        }
        if (stops_in_line_ && !kernel_.dead() && world_.HasHalfALine()) {
          stops_in_line_ = false;
          story_.Reach("a stop within a line");
          kernel_.set_rest_is_late(true);
          StopDaemon();
          kernel_.set_rest_is_late(false);
          break;
        }
        libvirtd_.AfterLoopTurn(!kernel_.dead() && daemon_->has_read_libvirt());
        if (random_.OneIn(loop_stalls_one_in_)) {
          loop_stalls_until_ =
              kernel_.monotonic() + random_.Between(absl::Milliseconds(1), kLoopStalls);
        }
        break;
      case Who::kPump:
        daemon_->PumpTurn();
        judge_.AfterPump(daemon_.get(), number_);
        break;
      case Who::kWriter:
        daemon_->WriterTurn();
        judge_.AfterWriter(*daemon_);
        if (random_.OneIn(writer_stalls_one_in_)) {
          writer_stalls_until_ =
              kernel_.monotonic() + random_.Between(absl::Milliseconds(1), absl::Seconds(10));
        }
        host_.AfterPump();
        break;
      case Who::kHistory:
        did = daemon_->HistoryTurn();
        if (did) story_.Reach("history read");
        break;
      case Who::kThreads:
        threads_.Turn();
        break;
      case Who::kReader:
        did = random_.Pick(readers_)->Turn(daemon_.get());
        break;
      case Who::kLister:
        did = random_.Pick(listers_)->Turn(daemon_.get());
        break;
      case Who::kQemu:
        did = try_qemu_ = world_.QemuTurn();
        break;
      case Who::kWorld:
        world_.RunDue();
        break;
    }
    EndDaemonIfDue();
    if (did) {
      try_readers_ = try_qemu_ = true;
      idle_ = 0;
      kernel_.AdvanceTo(kernel_.monotonic() + absl::Microseconds(random_.Between(1, 200)));
    } else if (++idle_ > 12) {
      try_readers_ = false;
    }
  }

  // Nothing is written or read until then.
  absl::Duration disk_answers_at() const {
    return std::max(writer_stalls_until_, host_.disk_hangs_until());
  }
  bool disk_waits() const { return kernel_.monotonic() < disk_answers_at(); }

  void EndDaemonIfDue() {
    if (daemon_ != nullptr && kernel_.dead()) Bury();
  }

  // Gives a turn to those of whom it is not known before whether they have something to do. Returns
  // whether one had.
  bool DoWhatIsLeft() {
    if (daemon_ == nullptr) return false;
    if (!disk_waits() && daemon_->HistoryTurn()) return true;
    return std::any_of(readers_.begin(), readers_.end(),
                       [this](const auto& reader) { return reader->Turn(daemon_.get()); });
  }

  void Wait() {
    if (DoWhatIsLeft()) return EndDaemonIfDue();
    if (daemon_ != nullptr) {
      judge_.CheckStates(*daemon_);
      judge_.CheckStopped(*daemon_);
      for (const auto& reader : readers_) {
        reader->CheckAtRest(daemon_->log(), disk_waits());
      }
    }
    absl::Duration next = world_.next();
    if (daemon_ != nullptr) {
      next = std::min({next, std::max(kernel_.loop_due(), loop_stalls_until_), threads_.due()});
      if (daemon_->LoopIsDue()) next = std::min(next, loop_stalls_until_);
      next = std::min(next, daemon_->pump_due());
      next = std::min(next, std::max(daemon_->writer_due(), disk_answers_at()));
      // What waits to be read, too.
      if (disk_waits()) next = std::min(next, disk_answers_at());
      for (const auto& reader : readers_) {
        if (reader->next() > kernel_.monotonic()) next = std::min(next, reader->next());
      }
      for (const auto& lister : listers_) {
        if (lister->next() > kernel_.monotonic()) next = std::min(next, lister->next());
      }
    } else {
      next = std::min(next, restart_at_);
    }
    if (next == absl::InfiniteDuration()) {
      story_.Fail("nothing will ever happen again");
      return;
    }
    kernel_.AdvanceTo(std::max(next, kernel_.monotonic() + absl::Microseconds(1)));
    try_readers_ = try_qemu_ = true;
    idle_ = 0;
  }

  // Settles after everything has happened, except that a libvirtd may still end and start, and the
  // daemon: it comes to rest, and each reader has all there is.
  void Settle() {
    host_.Settle();
    settles_ = true;
    stops_at_question_ = stops_in_line_ = false;
    // A start replaces a journal whose damage was found by a daemon that runs.
    if (daemon_ != nullptr && !daemon_->has_journal()) StopDaemon();
    const absl::Duration begin = kernel_.monotonic();
    // A stop may still come: the daemon after it needs that time, too.
    const auto end = [&] { return std::max(begin, started_at_) + kSettles; };
    while ((kernel_.monotonic() < end() || daemon_ == nullptr) && !story_.failed()) {
      if (world_.next() == absl::InfiniteDuration()) world_.At(end(), [] {});
      Step();
    }
    if (story_.failed()) return;
    for (const auto& reader : readers_) reader->Hurry();
    for (int quiet = 0; quiet < 50; ++quiet) {
      bool any = daemon_->HistoryTurn();
      any = threads_.CanTurn() || any;
      threads_.Turn();
      for (const auto& reader : readers_) any = reader->Turn(daemon_.get()) || any;
      if (any && ++steps_ < kMaxSteps) quiet = 0;
    }
    for (const auto& reader : readers_) reader->CheckComplete();
    judge_.AtEnd(*daemon_);
  }

  Random random_;  // the schedule's
  Random kernel_random_;
  Random world_random_;
  Random reader_random_;
  Random fault_random_;
  Random thread_random_;
  Kernel kernel_;
  Threads threads_;
  Story story_;
  Random libvirt_random_;
  Libvirtd libvirtd_;
  const Daemon::Options options_;
  World world_;
  Judge judge_;
  Host host_;
  const bool hands_over_;  // a service manager stores what a daemon leaves that stops
  int64_t damages_;        // damages left
  HandoverStore store_;
  bool stops_in_line_ = false;      // a stop waits until a line is read in part
  bool stops_at_question_ = false;  // a stop waits until a QEMU that hangs is asked something
  bool settles_ = false;
  const uint64_t writer_stalls_one_in_;  // turns; a slow disk has often, and for seconds
  const uint64_t loop_stalls_one_in_;    // the same; a node without a free processor
  std::vector<std::unique_ptr<Reader>> readers_;
  std::vector<std::unique_ptr<Lister>> listers_;
  std::vector<Who> who_;  // used by Step alone
  std::unique_ptr<Daemon> daemon_;
  int number_ = 0;
  absl::Duration started_at_ = absl::ZeroDuration();  // the last start of a daemon
  absl::Duration restart_at_ = absl::ZeroDuration();
  absl::Duration writer_stalls_until_ = absl::ZeroDuration();
  absl::Duration loop_stalls_until_ = absl::ZeroDuration();
  bool try_readers_ = true;
  bool try_qemu_ = true;
  int idle_ = 0;
  int64_t steps_ = 0;
};

}  // namespace

Result Simulate(const Plan& plan) { return Simulation(plan).Run(); }

}  // namespace vmeventd::simulation
