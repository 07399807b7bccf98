#include "client/commands/merged_watch.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>

#include "client/commands/event_merger.h"

namespace vmeventd::client {
namespace {

// The events of one node that may wait; its watch reads no more until some are consumed.
constexpr size_t kMostWaiting = 10'000;
// How many are consumed together.
constexpr int kConsumedTogether = 1000;

}  // namespace

// Passes items from the nodes' threads to the one that consumes them.
class MergedWatch::Queue {
 public:
  Queue(size_t nodes, std::function<absl::Time()> clock)
      : clock_(std::move(clock)), merger_(nodes), running_(nodes) {}

  // Waits for room. False: the watch ends.
  bool Add(EventMerger::Item item, const std::stop_token& stop) {
    std::unique_lock<std::mutex> lock(mutex_);
    const size_t node = item.node;
    if (!changed_.wait(lock, stop, [&] { return merger_.waiting(node) < kMostWaiting; })) {
      return false;
    }
    merger_.Add(std::move(item), clock_());
    changed_.notify_all();
    return true;
  }

  void NodeEnded() {
    const std::lock_guard<std::mutex> lock(mutex_);
    --running_;
    changed_.notify_all();
  }

  // Waits for items that are ready, and takes at most `most`. Empty: stopped, or all nodes have
  // ended.
  std::vector<EventMerger::Item> Take(int most, const std::stop_token& stop) {
    std::unique_lock<std::mutex> lock(mutex_);
    std::vector<EventMerger::Item> items;
    while (!stop.stop_requested()) {
      const absl::Time now = running_ == 0 ? absl::InfiniteFuture() : clock_();
      while (static_cast<int>(items.size()) < most) {
        std::optional<EventMerger::Item> item = merger_.Take(now);
        if (!item) break;
        items.push_back(*std::move(item));
      }
      if (!items.empty() || running_ == 0) break;
      const absl::Time next = merger_.NextTime();
      const uint64_t seen = running_;
      if (next == absl::InfiniteFuture()) {
        changed_.wait(lock, stop, [&] {
          return merger_.NextTime() != absl::InfiniteFuture() || running_ != seen;
        });
      } else {
        changed_.wait_for(lock, stop, absl::ToChronoNanoseconds(next - now),
                          [&] { return merger_.NextTime() < next || running_ != seen; });
      }
    }
    changed_.notify_all();
    return items;
  }

 private:
  const std::function<absl::Time()> clock_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  EventMerger merger_;  // under mutex_
  size_t running_;      // under mutex_
};

// What the watch of one node delivers, on its thread.
class MergedWatch::QueueSink : public WatchSink {
 public:
  QueueSink(Queue* queue, size_t node, std::stop_token stop)
      : queue_(queue), node_(node), stop_(std::move(stop)) {}

  absl::Status OnOpen() override { return absl::OkStatus(); }

  absl::Status OnVms(const google::protobuf::RepeatedPtrField<v1::Vm>& vms) override {
    EventMerger::Item item;
    item.vms = vms;
    return Add(std::move(item));
  }

  absl::Status OnEvents(WatchedEvents events) override {
    for (int i = 0; i < events.events.size(); ++i) {
      EventMerger::Item item;
      item.event.emplace();
      item.event->Swap(&events.events[i]);
      if (!events.journal_id.empty()) {
        item.position = {events.resume_after[static_cast<size_t>(i)], events.journal_id};
      }
      absl::Status status = Add(std::move(item));
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status OnPosition(const WatchPosition& position) override {
    EventMerger::Item item;
    item.position = position;
    return Add(std::move(item));
  }

 private:
  absl::Status Add(EventMerger::Item item) {
    item.node = node_;
    if (queue_->Add(std::move(item), stop_)) return absl::OkStatus();
    return absl::CancelledError("the watch ends");
  }

  Queue* const queue_;
  const size_t node_;
  const std::stop_token stop_;
};

MergedWatch::MergedWatch(std::vector<WatchedNode> nodes, std::optional<uint64_t> count,
                         Environment environment)
    : nodes_(std::move(nodes)),
      count_(count),
      env_(std::move(environment)),
      queue_(std::make_unique<Queue>(nodes_.size(), env_.clock)) {
  for (size_t i = 0; i < nodes_.size(); ++i) stops_.push_back(std::make_unique<StopSource>());
}

MergedWatch::~MergedWatch() = default;

ExitCode MergedWatch::RunNode(size_t index) {
  StopSource* const stop = stops_[index].get();
  QueueSink sink(queue_.get(), index, stop->token());
  WatchLoop::Environment environment;
  environment.address = nodes_[index].address;
  environment.sink = &sink;
  environment.stop = stop;
  environment.note = env_.note;
  environment.resolve = StoppableResolver(env_.resolve, stop->token());
  environment.wait = [stop](absl::Duration duration) { return stop->WaitFor(duration); };
  const ExitCode code = WatchLoop(nodes_[index].command, std::move(environment)).Run();
  queue_->NodeEnded();
  return code;
}

ExitCode MergedWatch::Run() {
  const auto stop_all = [this] {
    for (const auto& stop : stops_) stop->Stop();
  };
  const std::stop_callback on_stop(env_.stop->token(), stop_all);
  std::vector<ExitCode> codes(nodes_.size(), ExitCode::kOk);
  std::vector<std::thread> threads;
  threads.reserve(nodes_.size());
  for (size_t i = 0; i < nodes_.size(); ++i) {
    threads.emplace_back([this, i, &codes] { codes[i] = RunNode(i); });
  }
  const absl::Status status = ConsumeReady();
  stop_all();
  for (std::thread& thread : threads) thread.join();
  if (!status.ok() && !absl::IsCancelled(status)) {
    env_.note(std::string(status.message()));
    return ExitCode::kFailed;
  }
  if (count_ && counted_ >= *count_) return ExitCode::kOk;
  if (status.ok() && !env_.stop->stopped()) {
    // All nodes have failed.
    for (const ExitCode code : codes) {
      if (code != ExitCode::kOk) return code;
    }
  }
  return count_ ? ExitCode::kInterrupted : ExitCode::kOk;
}

absl::Status MergedWatch::ConsumeReady() {
  while (!count_ || counted_ < *count_) {
    std::vector<EventMerger::Item> items =
        queue_->Take(env_.consumer->one_by_one() ? 1 : kConsumedTogether, env_.stop->token());
    if (items.empty()) return absl::OkStatus();
    Formatter::Events events;
    Formatter::Nodes names;
    std::map<size_t, WatchPosition> positions;
    for (EventMerger::Item& item : items) {
      if (item.vms) {
        const Formatter::Nodes of_vms(static_cast<size_t>(item.vms->size()),
                                      MessageNode{nodes_[item.node].name});
        absl::Status status = env_.consumer->ConsumeVms(*item.vms, of_vms);
        if (!status.ok()) return status;
      }
      if (item.event) {
        if (count_ && counted_ == *count_) break;
        if (Counts(*item.event, nodes_[item.node].command.counts_gaps)) ++counted_;
        events.Add()->Swap(&*item.event);
        names.push_back({nodes_[item.node].name});
      }
      if (item.position) positions[item.node] = *item.position;
    }
    if (!events.empty()) {
      if (!std::exchange(begun_, true)) {
        absl::Status status = env_.consumer->Begin();
        if (!status.ok()) return status;
      }
      absl::Status status = env_.consumer->Consume(events, names);
      if (!status.ok()) return status;
    }
    if (env_.cursor == nullptr) continue;
    for (const auto& [node, position] : positions) {
      absl::Status status = env_.cursor->Save(nodes_[node].server, position);
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace vmeventd::client
