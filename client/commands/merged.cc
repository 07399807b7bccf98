#include "client/commands/merged.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <stop_token>

#include "client/commands/daemon_source.h"
#include "client/output/time_text.h"

namespace vmeventd::client {

void EventMerger::Add(Item item, absl::Time now) {
  const size_t node = item.node;
  queues_[node].items.push_back({std::move(item), now});
}

EventMerger::Item EventMerger::Pop(size_t node) {
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

std::optional<EventMerger::Item> EventMerger::Take(absl::Time now) {
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

}  // namespace

// Passes items from the nodes' threads to the one that consumes them.
class MergeQueue {
 public:
  using Item = EventMerger::Item;

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

  // Waits for items that are ready, and takes at most `most`. Empty: stopped, all nodes have ended,
  // or none came within `timeout`.
  std::vector<Item> Take(size_t most, const std::stop_token& stop,
                         absl::Duration timeout = absl::InfiniteDuration()) {
    std::unique_lock<std::mutex> lock(mutex_);
    const absl::Time end = clock_() + timeout;
    std::vector<Item> items;
    while (!stop.stop_requested()) {
      const absl::Time now = clock_();
      while (items.size() < most) {
        std::optional<Item> item = merger_.Take(now);
        if (!item) break;
        items.push_back(*std::move(item));
      }
      if (!items.empty() || merger_.done() || now >= end) break;
      const absl::Time due = merger_.NextTime();
      const auto sooner = [&] { return merger_.NextTime() < due || merger_.done(); };
      const absl::Time next = std::min(due, end);
      if (next == absl::InfiniteFuture()) {
        changed_.wait(lock, stop, sooner);
      } else {
        changed_.wait_for(lock, stop, absl::ToChronoNanoseconds(next - now), sooner);
      }
    }
    changed_.notify_all();
    return items;
  }

  // Returns whether all nodes have ended and all items are taken.
  bool done() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return merger_.done();
  }

 private:
  const std::function<absl::Time()> clock_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  EventMerger merger_;  // guarded by mutex_
};

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
    std::vector<EventMerger::Item> items =
        queue.Take(std::min<uint64_t>(left, kTakenTogether), stop.get_token());
    if (items.empty()) break;
    left -= items.size();
    for (EventMerger::Item& item : items) {
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

MergedSource::MergedSource(std::vector<WatchedNode> nodes, Environment environment)
    : nodes_(std::move(nodes)),
      env_(std::move(environment)),
      queue_(std::make_unique<MergeQueue>(nodes_.size(), EventMerger::Order{}, env_.clock)),
      codes_(nodes_.size(), ExitCode::kOk),
      on_stop_(env_.stop->token(), [this] { stop_.Stop(); }) {
  for (size_t node = 0; node < nodes_.size(); ++node) {
    threads_.emplace_back([this, node] { Follow(node); });
  }
}

MergedSource::~MergedSource() { stop_.Stop(); }

void MergedSource::Follow(size_t node) {
  const WatchedNode& watched = nodes_[node];
  DaemonSource source(watched.command, watched.address, &stop_, env_.note);
  const auto add = [&](auto what) { return queue_->Add({node, std::move(what)}, stop_.token()); };
  for (bool wanted = true; wanted;) {
    Item item = source.Next(absl::InfiniteDuration());
    if (const auto* ended = std::get_if<Ended>(&item)) {
      codes_[node] = ended->code;
      break;
    }
    if (auto* vms = std::get_if<NodeVms>(&item)) {
      for (NodeVm& vm : *vms) vm.node.name = watched.name;
      wanted = add(std::move(*vms));
    } else if (auto* events = std::get_if<NodeEvents>(&item)) {
      wanted = std::all_of(events->begin(), events->end(), [&](NodeEvent& event) {
        if (event.node.name.empty()) event.node.name = watched.name;
        event.resume_after.server = node;
        return add(std::move(event));
      });
    } else if (const auto* position = std::get_if<ServerPosition>(&item)) {
      wanted = add(position->position);
    } else if (std::holds_alternative<Opened>(item)) {
      wanted = add(Opened{});
    }
  }
  queue_->End(node);
}

Source::Item MergedSource::Next(absl::Duration timeout) {
  if (ready_.empty()) Deliver(queue_->Take(kTakenTogether, env_.stop->token(), timeout));
  if (!ready_.empty()) {
    Item item = std::move(ready_.front());
    ready_.pop_front();
    return item;
  }
  if (env_.stop->stopped()) return Ended{};
  if (!queue_->done()) return Nothing{};
  const auto failed = std::find_if(codes_.begin(), codes_.end(),
                                   [](ExitCode code) { return code != ExitCode::kOk; });
  return Ended{failed == codes_.end() ? ExitCode::kOk : *failed};
}

void MergedSource::Deliver(std::vector<EventMerger::Item> items) {
  NodeEvents events;
  std::map<size_t, WatchPosition> positions;
  for (EventMerger::Item& item : items) {
    if (auto* vms = std::get_if<NodeVms>(&item.what)) {
      ready_.emplace_back(std::move(*vms));
    } else if (std::holds_alternative<Opened>(item.what)) {
      ready_.emplace_back(Opened{});
    } else if (const auto* position = std::get_if<WatchPosition>(&item.what)) {
      positions[item.node] = *position;
    } else {
      // A position from before the event would move the reader back.
      positions.erase(item.node);
      events.push_back(std::get<NodeEvent>(std::move(item.what)));
    }
  }
  if (!events.empty()) ready_.emplace_back(std::move(events));
  for (const auto& [node, position] : positions) {
    ready_.emplace_back(ServerPosition{node, position});
  }
}

}  // namespace vmeventd::client
