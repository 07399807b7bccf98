#include "client/commands/merged.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <stop_token>
#include <thread>

#include "absl/strings/str_cat.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

using Item = EventMerger::Item;

}  // namespace

void EventMerger::Add(Item item, absl::Time now) {
  const size_t node = item.node;
  queues_[node].items.push_back({std::move(item), now});
}

Item EventMerger::Pop(size_t node) {
  Item item = std::move(queues_[node].items.front().item);
  queues_[node].items.pop_front();
  return item;
}

std::optional<size_t> EventMerger::First() const {
  std::optional<size_t> first;
  absl::Time first_time;
  for (size_t node = 0; node < queues_.size(); ++node) {
    if (queues_[node].items.empty()) continue;
    const auto& event = std::get<NodeEvent>(queues_[node].items.front().item.what).event;
    const absl::Time time = FromProto(event.observe_time());
    if (first && (order_.newest_first ? time <= first_time : time >= first_time)) continue;
    first = node;
    first_time = time;
  }
  return first;
}

bool EventMerger::AllHaveOne() const {
  return std::none_of(queues_.begin(), queues_.end(),
                      [](const Queue& queue) { return queue.items.empty() && !queue.ended; });
}

bool EventMerger::done() const {
  return std::all_of(queues_.begin(), queues_.end(),
                     [](const Queue& queue) { return queue.items.empty() && queue.ended; });
}

std::optional<Item> EventMerger::Take(absl::Time now) {
  for (size_t node = 0; node < queues_.size(); ++node) {
    const auto& items = queues_[node].items;
    // Time orders events only.
    if (!items.empty() && !std::holds_alternative<NodeEvent>(items.front().item.what)) {
      return Pop(node);
    }
  }
  const std::optional<size_t> first = First();
  if (!first) return std::nullopt;
  if (AllHaveOne()) return Pop(*first);
  if (order_.exact) return std::nullopt;
  if (queues_[*first].items.front().arrival + kWindow <= now) return Pop(*first);
  for (size_t node = 0; node < queues_.size(); ++node) {
    const auto& items = queues_[node].items;
    if (!items.empty() && items.front().arrival + kLongestWait <= now) return Pop(node);
  }
  return std::nullopt;
}

absl::Time EventMerger::NextTime() const {
  absl::Time next = absl::InfiniteFuture();
  for (const Queue& queue : queues_) {
    if (queue.items.empty()) continue;
    const Waiting& first = queue.items.front();
    if (!std::holds_alternative<NodeEvent>(first.item.what)) return absl::InfinitePast();
    next = std::min(next, first.arrival + kLongestWait);
  }
  if (next == absl::InfiniteFuture()) return next;
  if (AllHaveOne()) return absl::InfinitePast();
  if (order_.exact) return absl::InfiniteFuture();
  return std::min(next, queues_[*First()].items.front().arrival + kWindow);
}

namespace {

// Items of one node that were read and not merged; its thread reads no more until some are.
constexpr size_t kMaxWaiting = 2000;
// Limit of items that are taken together.
constexpr size_t kTakenTogether = 1000;

// Passes items from the nodes' threads to the one that consumes them.
class MergeQueue {
 public:
  MergeQueue(size_t nodes, EventMerger::Order order, std::function<absl::Time()> clock)
      : clock_(std::move(clock)), merger_(nodes, order) {}

  // Waits for room. False: no more is wanted.
  bool Add(Item item, const std::stop_token& stop) {
    std::unique_lock<std::mutex> lock(mutex_);
    const size_t node = item.node;
    if (!changed_.wait(lock, stop, [&] { return merger_.waiting(node) < kMaxWaiting; })) {
      return false;
    }
    merger_.Add(std::move(item), clock_());
    changed_.notify_all();
    return true;
  }

  // Ends the node's queue: nothing more comes.
  void End(size_t node) {
    const std::lock_guard<std::mutex> lock(mutex_);
    merger_.End(node);
    changed_.notify_all();
  }

  // Waits for items that are ready, and takes at most `most`. Empty: stopped, or all nodes have
  // ended.
  std::vector<Item> Take(size_t most, const std::stop_token& stop) {
    std::unique_lock<std::mutex> lock(mutex_);
    std::vector<Item> items;
    while (!stop.stop_requested()) {
      const absl::Time now = clock_();
      while (items.size() < most) {
        std::optional<Item> item = merger_.Take(now);
        if (!item) break;
        items.push_back(*std::move(item));
      }
      if (!items.empty() || merger_.done()) break;
      const absl::Time next = merger_.NextTime();
      const auto sooner = [&] { return merger_.NextTime() < next || merger_.done(); };
      if (next == absl::InfiniteFuture()) {
        changed_.wait(lock, stop, sooner);
      } else {
        changed_.wait_for(lock, stop, absl::ToChronoNanoseconds(next - now), sooner);
      }
    }
    changed_.notify_all();
    return items;
  }

 private:
  const std::function<absl::Time()> clock_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  EventMerger merger_;  // guarded by mutex_
};

}  // namespace

MergedLists::Answers MergedLists::AskAll(
    const std::function<std::optional<Failure>(size_t)>& ask) const {
  Answers answers;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    answers.push_back(std::async(std::launch::async, ask, i));
  }
  return answers;
}

std::optional<Failure> MergedLists::Report(Answers answers) const {
  std::optional<Failure> last;
  for (auto& answer : answers) {
    std::optional<Failure> failure = answer.get();
    if (!failure) continue;
    if (last) note_(last->sentence);
    last = std::move(failure);
  }
  return last;
}

std::optional<Failure> MergedLists::ReadEvents(const EventsCommand& command, const Take& take) {
  MergeQueue queue(nodes_.size(), {.exact = true, .newest_first = command.reads_newest_first()},
                   SteadyNow);
  std::stop_source stop;
  Answers answers = AskAll([&](size_t i) {
    const auto add = [&](NodeEvent& event) {
      event.node.name = nodes_[i].name;
      return queue.Add({i, std::move(event)}, stop.get_token());
    };
    auto failure = nodes_[i].lists->ReadEvents(
        command, [&add](NodeEvents* page) { return std::all_of(page->begin(), page->end(), add); });
    queue.End(i);
    return failure;
  });
  EventBatches batches(take);
  for (uint64_t left = command.most(); left > 0;) {
    std::vector<Item> items =
        queue.Take(std::min<uint64_t>(left, kTakenTogether), stop.get_token());
    if (items.empty()) break;
    left -= items.size();
    for (Item& item : items) {
      if (!batches.Add(std::get<NodeEvent>(std::move(item.what)))) left = 0;
    }
  }
  batches.Flush();
  stop.request_stop();
  return Report(std::move(answers));
}

std::optional<Failure> MergedLists::ReadVms(const VmsCommand& command, NodeVms* vms) {
  std::vector<NodeVms> answers(nodes_.size());
  std::optional<Failure> failure =
      Report(AskAll([&](size_t i) { return nodes_[i].lists->ReadVms(command, &answers[i]); }));
  for (size_t i = 0; i < nodes_.size(); ++i) {
    for (NodeVm& vm : answers[i]) vm.node.name = nodes_[i].name;
    Append(&answers[i], vms);
  }
  std::stable_sort(vms->begin(), vms->end(), [](const NodeVm& a, const NodeVm& b) {
    return a.vm.ref().name() < b.vm.ref().name();
  });
  return failure;
}

namespace {

// Takes the deliveries of one node's watch, on its thread.
class QueueSink : public WatchSink {
 public:
  QueueSink(MergeQueue* queue, size_t index, const std::string& name, std::stop_token stop)
      : queue_(queue), index_(index), name_(name), stop_(std::move(stop)) {}

  bool OnOpen() override { return true; }
  bool OnVms(const NodeVms& vms) override {
    NodeVms named = vms;
    for (NodeVm& vm : named) vm.node.name = name_;
    return queue_->Add({index_, std::move(named)}, stop_);
  }
  bool OnEvents(NodeEvents events) override {
    return std::all_of(events.begin(), events.end(), [this](NodeEvent& event) {
      if (event.node.name.empty()) event.node.name = name_;
      event.resume_after.server = index_;
      return queue_->Add({index_, std::move(event)}, stop_);
    });
  }
  bool OnPosition(const ServerPosition& position) override {
    return queue_->Add({index_, position.position}, stop_);
  }
  bool one_by_one() const override { return false; }

 private:
  MergeQueue* const queue_;
  const size_t index_;
  const std::string& name_;  // the server's name, for a watch that does not identify its events
  const std::stop_token stop_;
};

bool Deliver(std::vector<Item> items, WatchSink* sink) {
  NodeEvents events;
  std::map<size_t, WatchPosition> positions;
  for (Item& item : items) {
    if (const auto* vms = std::get_if<NodeVms>(&item.what)) {
      if (!sink->OnVms(*vms)) return false;
    } else if (const auto* position = std::get_if<WatchPosition>(&item.what)) {
      positions[item.node] = *position;
    } else {
      auto& event = std::get<NodeEvent>(item.what);
      positions[item.node] = event.resume_after.position;
      events.push_back(std::move(event));
    }
  }
  if (!events.empty() && !sink->OnEvents(std::move(events))) return false;
  return std::all_of(positions.begin(), positions.end(), [sink](const auto& entry) {
    return sink->OnPosition({entry.first, entry.second});
  });
}

// Delivers what is ready until the watch is stopped or all nodes have ended. False: the sink ended
// it.
bool DeliverAll(MergeQueue* queue, const std::stop_token& stop, WatchSink* sink) {
  const size_t most = sink->one_by_one() ? 1 : kTakenTogether;
  while (true) {
    std::vector<Item> items = queue->Take(most, stop);
    if (items.empty()) return true;
    if (!Deliver(std::move(items), sink)) return false;
  }
}

}  // namespace

ExitCode MergedWatch::Run(WatchSink* sink) {
  MergeQueue queue(nodes_.size(), {}, env_.clock);
  std::vector<StopSource> stops(nodes_.size());
  const auto stop_all = [&stops] {
    for (StopSource& stop : stops) stop.Stop();
  };
  const std::stop_callback on_stop(env_.stop->token(), stop_all);
  std::vector<ExitCode> codes(nodes_.size(), ExitCode::kOk);
  std::vector<std::thread> threads;
  threads.reserve(nodes_.size());
  for (size_t i = 0; i < nodes_.size(); ++i) {
    threads.emplace_back([&, i] {
      QueueSink node_sink(&queue, i, nodes_[i].name, stops[i].token());
      codes[i] =
          WatchLoop(nodes_[i].command, nodes_[i].address, &stops[i], env_.note).Run(&node_sink);
      queue.End(i);
    });
  }
  const bool all_ended = DeliverAll(&queue, env_.stop->token(), sink) && !env_.stop->stopped();
  stop_all();
  for (std::thread& thread : threads) thread.join();
  const auto failed =
      std::find_if(codes.begin(), codes.end(), [](ExitCode code) { return code != ExitCode::kOk; });
  return all_ended && failed != codes.end() ? *failed : ExitCode::kOk;
}

}  // namespace vmeventd::client
