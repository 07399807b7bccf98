#include "tests/simulation/simulation.h"

#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "spdlog/details/null_mutex.h"
#include "spdlog/sinks/base_sink.h"
#include "spdlog/spdlog.h"
#include "tests/simulation/daemon.h"
#include "tests/simulation/judge.h"
#include "tests/simulation/kernel.h"
#include "tests/simulation/random.h"
#include "tests/simulation/reader.h"
#include "tests/simulation/story.h"
#include "tests/simulation/world.h"

namespace vmeventd::simulation {
namespace {

Kernel::Features ChooseFeatures(Random* random) {
  Kernel::Features features;
  features.peer_pidfd = !random->OneIn(5);
  features.pidfs = features.peer_pidfd && !random->OneIn(4);
  features.pidfd_exit = features.pidfs && !random->OneIn(4);
  features.reads_zombies = !random->OneIn(4);
  return features;
}

Daemon::Options ChooseOptions(Random* random) {
  Daemon::Options options;
  if (random->OneIn(3)) options.ring_bytes = 4 << 10;
  if (random->OneIn(4)) options.retention_events = random->Between(20, 300);
  if (random->OneIn(6)) options.retention_age = absl::Minutes(random->Between(1, 60));
  return options;
}

// The daemon's log is a part of the story.
class StorySink : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  explicit StorySink(Story* story) : story_(story) {}

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    story_->Say("log", absl::string_view(message.payload.data(), message.payload.size()));
  }
  void flush_() override {}

  Story* const story_;
};

class Simulation {
 public:
  explicit Simulation(uint64_t seed)
      : random_(seed),
        kernel_(&random_, ChooseFeatures(&random_)),
        story_(&kernel_),
        options_(ChooseOptions(&random_)),
        world_(&kernel_, &random_, &story_,
               {.names = static_cast<int>(random_.Between(1, 6)),
                .lives = static_cast<int>(random_.Between(5, 40)),
                .calm = random_.OneIn(4)}),
        judge_(&kernel_, &world_, &story_),
        deaths_(random_.OneIn(3) ? 0 : random_.Between(1, 8)) {
    for (const char* directory :
         {"/", "/run", kWatchedDirectory, "/var", "/var/lib", kStateDirectory}) {
      kernel_.disk().Make(directory, S_IFDIR | 0755, kernel_.wall_ns());
    }
    kernel_.disk().Sync(kStateDirectory, nullptr);
    for (uint64_t i = random_.Below(4); i > 0; --i) {
      readers_.push_back(std::make_unique<Reader>(static_cast<int>(readers_.size()) + 1, &kernel_,
                                                  &random_, &story_, &judge_));
    }
    world_.set_intents([this](Life* life, size_t index) { Declare(life, index); },
                       [this](Life* life, size_t index) { Withdraw(life, index); });
  }

  Outcome Run() {
    spdlog::set_default_logger(
        std::make_shared<spdlog::logger>("simulation", std::make_shared<StorySink>(&story_)));
    while (!world_.over() && !story_.failed()) Step();
    if (!story_.failed()) Settle();
    Outcome outcome{story_.problem(), story_.lines(), story_.reached(), world_.lives().size()};
    daemon_.reset();
    return outcome;
  }

 private:
  static constexpr int kMaxIdle = 2'000'000;  // steps; a simulation has some ten thousand

  void StartDaemon() {
    ++number_;
    story_.Say("daemon", absl::StrCat("starts, for the ", number_, ". time"));
    world_.set_daemon(number_);
    if (deaths_ > 0) {
      // Anywhere: soon, or after a while.
      kernel_.KillAfter(static_cast<uint64_t>(random_.OneIn(3) ? random_.Between(1, 400)
                                                               : random_.Between(400, 40'000)));
    }
    absl::StatusOr<std::unique_ptr<Daemon>> daemon = Daemon::Start(&kernel_, options_);
    if (kernel_.dead()) {
      if (daemon.ok()) daemon_ = *std::move(daemon);
      return Bury();
    }
    if (!daemon.ok()) {
      story_.Fail(absl::StrCat("the daemon does not start: ", daemon.status().message()));
      return;
    }
    daemon_ = *std::move(daemon);
    judge_.AfterStart(daemon_.get(), number_);
  }

  // The daemon is dead.
  void Bury() {
    story_.Say("daemon", absl::StrCat("is killed in ", kernel_.killed_in()));
    story_.Reach("kill");
    world_.set_daemon(0);
    for (const auto& reader : readers_) reader->Disconnect();
    daemon_.reset();
    kernel_.BuryDaemon();
    --deaths_;
    restart_at_ = kernel_.monotonic() +
                  random_.Between(absl::ZeroDuration(),
                                  random_.OneIn(3) ? absl::Minutes(2) : absl::Seconds(2));
  }

  void Declare(Life* life, size_t index) {
    if (daemon_ == nullptr) return;
    IntentRequest request{.vm_name = life->name,
                          .run_id = life->run_id,
                          .intent_id = absl::StrCat("intent-", life->number, "-", index),
                          .actor = "somebody",
                          .reason = "maintenance",
                          .ttl = life->intents[index].ttl};
    daemon_->watcher().DeclareIntent(std::move(request),
                                     [this, life, index](const absl::StatusOr<Intent>& intent) {
                                       if (!intent.ok() || kernel_.dead()) return;
                                       story_.Say(life->name, "the intent is declared");
                                       story_.Reach("intent declared");
                                       life->intents[index].answered = kernel_.monotonic();
                                     });
  }

  void Withdraw(Life* life, size_t index) {
    if (daemon_ == nullptr) return;
    daemon_->watcher().WithdrawIntent(absl::StrCat("intent-", life->number, "-", index),
                                      [](const absl::Status&) {});
  }

  // One turn of one of all who have something to do; or else time passes.
  void Step() {
    if (daemon_ == nullptr && kernel_.monotonic() >= restart_at_) return StartDaemon();
    enum class Who { kLoop, kPump, kHistory, kFanOut, kQemu, kReader, kWorld };
    std::vector<Who> who;
    if (daemon_ != nullptr) {
      if (daemon_->LoopIsDue()) who.push_back(Who::kLoop);
      if (daemon_->PumpIsDue() && kernel_.monotonic() >= pump_stalls_until_) {
        who.push_back(Who::kPump);
      }
      if (try_readers_) {
        who.push_back(Who::kHistory);
        who.push_back(Who::kFanOut);
        if (!readers_.empty()) who.push_back(Who::kReader);
      }
    }
    if (try_qemu_) who.push_back(Who::kQemu);
    if (world_.next() <= kernel_.monotonic()) who.push_back(Who::kWorld);
    if (who.empty()) return Wait();
    bool did = true;
    switch (random_.Pick(who)) {
      case Who::kLoop:
        daemon_->LoopTurn();
        break;
      case Who::kPump:
        daemon_->PumpTurn();
        judge_.AfterPump(daemon_.get(), number_);
        if (random_.OneIn(200)) {
          pump_stalls_until_ =
              kernel_.monotonic() + random_.Between(absl::Milliseconds(1), absl::Seconds(10));
        }
        break;
      case Who::kHistory:
        did = daemon_->HistoryTurn();
        break;
      case Who::kFanOut:
        did = daemon_->FanOutTurn();
        break;
      case Who::kReader:
        did = random_.Pick(readers_)->Turn(daemon_.get());
        break;
      case Who::kQemu:
        did = try_qemu_ = world_.QemuTurn();
        break;
      case Who::kWorld:
        world_.RunDue();
        break;
    }
    if (daemon_ != nullptr && kernel_.dead()) Bury();
    if (did) {
      try_readers_ = try_qemu_ = true;
      idle_ = 0;
      kernel_.AdvanceTo(kernel_.monotonic() + absl::Microseconds(random_.Between(1, 200)));
    } else if (++idle_ > 12) {
      try_readers_ = false;
    }
    if (++steps_ > kMaxIdle) story_.Fail("the simulation does not come to its end");
  }

  void Wait() {
    absl::Duration next = world_.next();
    if (daemon_ != nullptr) {
      next = std::min(next, daemon_->next());
      if (daemon_->PumpIsDue()) next = std::min(next, pump_stalls_until_);
      for (const auto& reader : readers_) {
        if (reader->next() > kernel_.monotonic()) next = std::min(next, reader->next());
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

  // Everything has happened: the daemon comes to rest, and each reader has all there is.
  void Settle() {
    deaths_ = 0;
    kernel_.KillAfter(0);
    const absl::Duration end = kernel_.monotonic() + absl::Minutes(2);
    while ((kernel_.monotonic() < end || daemon_ == nullptr) && !story_.failed()) {
      if (world_.next() == absl::InfiniteDuration()) world_.At(end, [] {});
      Step();
    }
    if (story_.failed()) return;
    for (const auto& reader : readers_) reader->Hurry();
    for (int quiet = 0; quiet < 50; ++quiet) {
      bool any = daemon_->HistoryTurn();
      any = daemon_->FanOutTurn() || any;
      for (const auto& reader : readers_) any = reader->Turn(daemon_.get()) || any;
      if (any && ++steps_ < kMaxIdle) quiet = 0;
    }
    for (const auto& reader : readers_) reader->CheckComplete();
    judge_.AtEnd(*daemon_);
  }

  Random random_;
  Kernel kernel_;
  Story story_;
  const Daemon::Options options_;
  World world_;
  Judge judge_;
  std::vector<std::unique_ptr<Reader>> readers_;
  std::unique_ptr<Daemon> daemon_;
  int number_ = 0;
  int64_t deaths_;
  absl::Duration restart_at_ = absl::ZeroDuration();
  absl::Duration pump_stalls_until_ = absl::ZeroDuration();
  bool try_readers_ = true;
  bool try_qemu_ = true;
  int idle_ = 0;
  int64_t steps_ = 0;
};

}  // namespace

Outcome Simulate(uint64_t seed) {
  Simulation simulation(seed);
  return simulation.Run();
}

}  // namespace vmeventd::simulation
