#include "client/commands/merged.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/output/time_text.h"

namespace vmeventd::client {

void EventMerger::Add(Item item, absl::Time now) {
  const size_t node = item.node;
  queues_[node].push_back({std::move(item), now});
}

EventMerger::Item EventMerger::Pop(size_t node) {
  Item item = std::move(queues_[node].front().item);
  queues_[node].pop_front();
  return item;
}

std::optional<size_t> EventMerger::Oldest() const {
  std::optional<size_t> oldest;
  absl::Time oldest_time;
  for (size_t node = 0; node < queues_.size(); ++node) {
    if (queues_[node].empty()) continue;
    const absl::Time time = FromProto(queues_[node].front().item.event->observe_time());
    if (oldest && time >= oldest_time) continue;
    oldest = node;
    oldest_time = time;
  }
  return oldest;
}

bool EventMerger::AllHaveOne() const {
  return std::none_of(queues_.begin(), queues_.end(),
                      [](const auto& queue) { return queue.empty(); });
}

std::optional<EventMerger::Item> EventMerger::Take(absl::Time now) {
  for (size_t node = 0; node < queues_.size(); ++node) {
    // Only events are ordered by time.
    if (!queues_[node].empty() && !queues_[node].front().item.event) return Pop(node);
  }
  const std::optional<size_t> oldest = Oldest();
  if (!oldest) return std::nullopt;
  if (AllHaveOne() || queues_[*oldest].front().arrival + kWindow <= now) return Pop(*oldest);
  for (size_t node = 0; node < queues_.size(); ++node) {
    if (!queues_[node].empty() && queues_[node].front().arrival + kLongestWait <= now) {
      return Pop(node);
    }
  }
  return std::nullopt;
}

absl::Time EventMerger::NextTime() const {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& queue : queues_) {
    if (queue.empty()) continue;
    const Waiting& first = queue.front();
    if (!first.item.event) return absl::InfinitePast();
    next = std::min(next, first.arrival + kLongestWait);
  }
  if (next == absl::InfiniteFuture()) return next;
  if (AllHaveOne()) return absl::InfinitePast();
  return std::min(next, queues_[*Oldest()].front().arrival + kWindow);
}

namespace {

constexpr size_t kMostWaitingOfNode = 2000;  // events of one node that were read and not merged

// The events of one node, from the thread that reads them.
class EventPipe {
 public:
  // Waits for room. False: no more is wanted.
  bool Add(Formatter::Events* page) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return waiting_.size() < kMostWaitingOfNode || abandoned_; });
    for (v1::Event& event : *page) waiting_.emplace_back().Swap(&event);
    changed_.notify_all();
    return !abandoned_;
  }
  void End() {
    const std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }

  // The next event, or null after the last; waits for it.
  const v1::Event* First() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return !waiting_.empty() || ended_; });
    return waiting_.empty() ? nullptr : &waiting_.front();
  }
  v1::Event Take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    v1::Event event = std::move(waiting_.front());
    waiting_.pop_front();
    changed_.notify_all();
    return event;
  }
  void Abandon() {
    const std::lock_guard<std::mutex> lock(mutex_);
    abandoned_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::Event> waiting_;  // under mutex_, as the next two; references to it stay valid
  bool ended_ = false;
  bool abandoned_ = false;
};

using Pipes = std::vector<std::unique_ptr<EventPipe>>;

// Runs `ask` for each node on a thread of its own.
class Askers {
 public:
  Askers(size_t nodes, const std::function<std::optional<Failure>(size_t)>& ask)
      : failures_(nodes) {
    for (size_t i = 0; i < nodes; ++i) {
      threads_.emplace_back([this, i, ask] { failures_[i] = ask(i); });
    }
  }
  // Waits for all.
  std::vector<std::optional<Failure>> Join() {
    for (std::thread& thread : threads_) thread.join();
    return std::move(failures_);
  }

 private:
  std::vector<std::optional<Failure>> failures_;
  std::vector<std::thread> threads_;
};

// The node of the next event; none: there are no more.
std::optional<size_t> NextOf(const Pipes& pipes, bool newest_first) {
  std::optional<size_t> next;
  absl::Time next_time;
  for (size_t node = 0; node < pipes.size(); ++node) {
    const v1::Event* event = pipes[node]->First();
    if (event == nullptr) continue;
    const absl::Time time = FromProto(event->observe_time());
    if (next && (newest_first ? time <= next_time : time >= next_time)) continue;
    next = node;
    next_time = time;
  }
  return next;
}

}  // namespace

std::optional<Failure> MergedLists::Report(
    const std::vector<std::optional<Failure>>& failures) const {
  std::optional<Failure> last;
  for (const std::optional<Failure>& failure : failures) {
    if (!failure) continue;
    if (last) note_(last->sentence);
    last = failure;
  }
  return last;
}

std::optional<Failure> MergedLists::ReadEvents(const EventsCommand& command, const Take& take) {
  Pipes pipes;
  for (size_t i = 0; i < nodes_.size(); ++i) pipes.push_back(std::make_unique<EventPipe>());
  Askers askers(nodes_.size(), [&](size_t i) {
    EventPipe* const pipe = pipes[i].get();
    auto failure = nodes_[i].lists->ReadEvents(
        command, [pipe](EventList* page) { return pipe->Add(&page->events); });
    pipe->End();
    return failure;
  });
  EventBatches batches(take);
  for (uint64_t left = command.most(); left > 0; --left) {
    const std::optional<size_t> node = NextOf(pipes, command.reads_newest_first());
    if (!node || !batches.Add(pipes[*node]->Take(), {nodes_[*node].name})) break;
  }
  batches.Flush();
  for (const auto& pipe : pipes) pipe->Abandon();
  return Report(askers.Join());
}

std::optional<Failure> MergedLists::ReadAll(const Read& read, VmList* vms) const {
  std::vector<VmList> answers(nodes_.size());
  Askers askers(nodes_.size(), [&](size_t i) { return read(nodes_[i].lists.get(), &answers[i]); });
  const auto failures = askers.Join();
  std::vector<std::pair<v1::Vm*, size_t>> all;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    for (v1::Vm& vm : answers[i].vms) all.emplace_back(&vm, i);
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
    return a.first->ref().name() < b.first->ref().name();
  });
  for (const auto& [vm, node] : all) {
    vms->vms.Add()->Swap(vm);
    vms->nodes.push_back({nodes_[node].name});
  }
  return Report(failures);
}

std::optional<Failure> MergedLists::ReadVms(const VmsCommand& command, VmList* vms) {
  return ReadAll([&](ListSource* node, VmList* own) { return node->ReadVms(command, own); }, vms);
}

std::optional<Failure> MergedLists::ReadVm(const VmCommand& command, VmList* vm) {
  const auto read = [&](ListSource* node, VmList* own) {
    auto failure = node->ReadVm(command, own);
    // Another node has it.
    return failure && failure->code == ExitCode::kNotFound ? std::nullopt : failure;
  };
  if (auto failure = ReadAll(read, vm)) return failure;
  return ChooseVm(command, absl::StrCat(" on the ", nodes_.size(), " servers"), vm);
}

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
