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

namespace vmeventd::client {
namespace {

// The events of one node that may wait; its watch reads no more until some are consumed.
constexpr size_t kMostWaiting = 10'000;
// Limit of items that are taken together.
constexpr int kTakenTogether = 1000;

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

// Takes the deliveries of one node's watch, on its thread.
class MergedWatch::QueueSink : public WatchSink {
 public:
  QueueSink(Queue* queue, size_t node, std::stop_token stop)
      : queue_(queue), node_(node), stop_(std::move(stop)) {}

  bool OnOpen() override { return true; }
  bool OnVms(const Formatter::Vms& vms, const Formatter::Nodes& /*nodes*/) override {
    return Add({.vms = vms});
  }
  bool OnEvents(WatchedEvents events) override {
    for (int i = 0; i < events.events.size(); ++i) {
      EventMerger::Item item;
      item.event.emplace().Swap(&events.events[i]);
      if (!events.nodes.empty()) item.from = std::move(events.nodes[static_cast<size_t>(i)]);
      item.position = std::move(events.resume_after[static_cast<size_t>(i)].position);
      if (!Add(std::move(item))) return false;
    }
    return true;
  }
  bool OnPosition(const ServerPosition& position) override {
    return Add({.position = position.position});
  }
  bool one_by_one() const override { return false; }

 private:
  bool Add(EventMerger::Item item) {
    item.node = node_;
    return queue_->Add(std::move(item), stop_);
  }

  Queue* const queue_;
  const size_t node_;
  const std::stop_token stop_;
};

MergedWatch::MergedWatch(std::vector<WatchedNode> nodes, Environment environment)
    : nodes_(std::move(nodes)),
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
  environment.stop = stop;
  environment.note = env_.note;
  environment.resolve = StoppableResolver(env_.resolve, stop->token());
  environment.wait = [stop](absl::Duration duration) { return stop->WaitFor(duration); };
  const ExitCode code = WatchLoop(nodes_[index].command, std::move(environment)).Run(&sink);
  queue_->NodeEnded();
  return code;
}

ExitCode MergedWatch::Run(WatchSink* sink) {
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
  const bool all_ended = DeliverReady(sink) && !env_.stop->stopped();
  stop_all();
  for (std::thread& thread : threads) thread.join();
  const auto failed =
      std::find_if(codes.begin(), codes.end(), [](ExitCode code) { return code != ExitCode::kOk; });
  return all_ended && failed != codes.end() ? *failed : ExitCode::kOk;
}

bool MergedWatch::DeliverReady(WatchSink* sink) {
  const int most = sink->one_by_one() ? 1 : kTakenTogether;
  while (true) {
    std::vector<EventMerger::Item> items = queue_->Take(most, env_.stop->token());
    if (items.empty()) return true;
    if (!Deliver(std::move(items), sink)) return false;
  }
}

bool MergedWatch::Deliver(std::vector<EventMerger::Item> items, WatchSink* sink) const {
  WatchedEvents events;
  std::map<size_t, WatchPosition> positions;
  for (EventMerger::Item& item : items) {
    const MessageNode node = {nodes_[item.node].name};
    if (item.vms &&
        !sink->OnVms(*item.vms, Formatter::Nodes(static_cast<size_t>(item.vms->size()), node))) {
      return false;
    }
    if (item.position) positions[item.node] = *item.position;
    if (!item.event) continue;
    events.events.Add()->Swap(&*item.event);
    events.nodes.push_back(item.from ? *std::move(item.from) : node);
    events.resume_after.push_back({item.node, *std::move(item.position)});
  }
  if (!events.events.empty() && !sink->OnEvents(std::move(events))) return false;
  return std::all_of(positions.begin(), positions.end(), [sink](const auto& entry) {
    return sink->OnPosition({entry.first, entry.second});
  });
}

}  // namespace vmeventd::client
