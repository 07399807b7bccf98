#include <algorithm>
#include <cstdint>
#include <map>
#include <thread>
#include <utility>

#include "absl/algorithm/container.h"
#include "client/commands/commands.h"
#include "client/output/time_text.h"

namespace vmeventd::client {

std::optional<size_t> EventMerger::Find(absl::Time now, absl::Time* next) const {
  std::optional<size_t> first;    // the node whose event comes first
  std::optional<size_t> overdue;  // one whose event has waited for long enough
  absl::Time first_time;
  bool all_have_one = true;
  *next = absl::InfiniteFuture();
  for (size_t node = 0; node < queues_.size(); ++node) {
    const Queue& queue = queues_[node];
    if (queue.items.empty()) {
      all_have_one = all_have_one && queue.ended;
      continue;
    }
    const Waiting& waiting = queue.items.front();
    const auto* events = std::get_if<NodeEvents>(&waiting.item.what);
    if (events == nullptr) return node;  // time orders events only
    const absl::Time patience = waiting.arrival + order_.longest_wait;
    *next = std::min(*next, patience);
    if (!overdue && patience <= now) overdue = node;
    const absl::Time time = FromProto(events->front().event.observe_time());
    if (first && (order_.newest_first ? time <= first_time : time >= first_time)) continue;
    first = node;
    first_time = time;
  }
  if (!first || all_have_one) return first;
  const absl::Time complete = queues_[*first].items.front().arrival + order_.window;
  *next = std::min(*next, complete);
  return complete <= now ? first : overdue;
}

bool EventMerger::Add(Item item, const std::stop_token& stop) {
  std::unique_lock<std::mutex> lock(mutex_);
  Queue& queue = queues_[item.node];
  if (!changed_.wait(lock, stop, [&] { return queue.items.size() < kMaxWaiting; })) return false;
  queue.ended = std::holds_alternative<Source::Ended>(item.what);
  queue.items.push_back({std::move(item), clock_()});
  changed_.notify_all();
  return true;
}

std::vector<EventMerger::Item> EventMerger::Take(size_t max, const std::stop_token& stop,
                                                 absl::Duration timeout) {
  std::unique_lock<std::mutex> lock(mutex_);
  const absl::Time end = clock_() + timeout;
  std::vector<Item> items;
  while (!stop.stop_requested()) {
    const absl::Time now = clock_();
    absl::Time due;
    while (items.size() < max) {
      const std::optional<size_t> node = Find(now, &due);
      if (!node) break;
      items.push_back(std::move(queues_[*node].items.front().item));
      queues_[*node].items.pop_front();
    }
    if (!items.empty() || now >= end) break;
    const auto sooner = [this, now, due] {
      absl::Time next;
      return Find(now, &next) || next < due;
    };
    const absl::Duration wait = std::min(std::min(due, end) - now, absl::Hours(1));
    changed_.wait_for(lock, stop, absl::ToChronoNanoseconds(wait), sooner);
  }
  changed_.notify_all();
  return items;
}

namespace {

// Limit of items that are taken together.
constexpr size_t kTakenTogether = 1000;

class MergedLists : public ListSource {
 public:
  MergedLists(std::vector<NodeLists> nodes, PrintSentence note)
      : nodes_(std::move(nodes)), note_(std::move(note)) {}

  std::optional<Failure> ReadEvents(const EventsCommand& command, const Take& take) override {
    constexpr absl::Duration kForever = absl::InfiniteDuration();
    EventMerger merger(nodes_.size(), {kForever, kForever, command.reads_newest_first()});
    std::stop_source stop;
    Failures failures(nodes_.size());
    // All at once: the merger waits for an event of each.
    std::jthread asking([&] {
      const auto ask = [&](size_t i) {
        failures[i] = nodes_[i].lists->ReadEvents(command, [&](NodeEvent event) {
          event.node.name = nodes_[i].name;
          return merger.Add({i, NodeEvents{std::move(event)}}, stop.get_token());
        });
        merger.Add({i, Source::Ended{}}, stop.get_token());
      };
      AskAll(nodes_.size(), ask, nodes_.size());
    });
    bool wanted = true;
    for (size_t reading = nodes_.size(); wanted && reading > 0;) {
      for (EventMerger::Item& item : merger.Take(kTakenTogether, stop.get_token())) {
        auto* const events = std::get_if<NodeEvents>(&item.what);
        if (events == nullptr) --reading;
        if (events != nullptr) wanted = wanted && take(std::move(events->front()));
      }
    }
    stop.request_stop();
    asking.join();
    return ReportFailures(failures, note_);
  }

  std::optional<Failure> ReadVms(const v1::EventFilter& filter, bool stopped_too,
                                 NodeVms* vms) override {
    auto failure = Collect(vms, [&](ListSource* lists, NodeVms* answer) {
      return lists->ReadVms(filter, stopped_too, answer);
    });
    absl::c_stable_sort(*vms, [](const NodeVm& a, const NodeVm& b) {
      return a.vm.ref().name() < b.vm.ref().name();
    });
    return failure;
  }

  std::optional<Failure> CountEvents(const StatsCommand& command, absl::TimeZone zone,
                                     NodeCounts* counts) override {
    return Collect(counts, [&](ListSource* lists, NodeCounts* answer) {
      return lists->CountEvents(command, zone, answer);
    });
  }

  std::optional<Failure> ReadReports(const ReportQuestion& question,
                                     NodeReports* reports) override {
    return Collect(reports, [&](ListSource* lists, NodeReports* answer) {
      return lists->ReadReports(question, answer);
    });
  }

 private:
  using Failures = std::vector<std::optional<Failure>>;

  static void Name(const std::string& node, NodeVm* vm) { vm->node.name = node; }
  static void Name(const std::string& node, NodeCount* count) { count->node.name = node; }
  static void Name(const std::string& node, NodeReport* report) {
    report->node.name = node;
    for (NodeVm& vm : report->vms) vm.node.name = node;
    for (NodeEvent& end : report->ends) end.node.name = node;
  }

  // Asks all nodes, and appends what they answer, named, in the order of the nodes.
  template <typename List, typename Ask>
  std::optional<Failure> Collect(List* all, const Ask& ask) {
    std::vector<List> answers(nodes_.size());
    Failures failures(nodes_.size());
    AskAll(nodes_.size(), [&](size_t i) { failures[i] = ask(nodes_[i].lists.get(), &answers[i]); });
    for (size_t i = 0; i < nodes_.size(); ++i) {
      for (auto& item : answers[i]) {
        Name(nodes_[i].name, &item);
        all->push_back(std::move(item));
      }
    }
    return ReportFailures(failures, note_);
  }

  const std::vector<NodeLists> nodes_;
  const PrintSentence note_;
};

class MergedSource : public Source {
 public:
  MergedSource(std::vector<WatchedNode> nodes, StopSource* stop, PrintSentence note,
               std::function<absl::Time()> clock)
      : nodes_(std::move(nodes)),
        note_(std::move(note)),
        merger_(nodes_.size(), {}, std::move(clock)),
        reading_(nodes_.size()),
        on_stop_(stop->token(), [this] { stop_.Stop(); }) {
    for (size_t node = 0; node < nodes_.size(); ++node) {
      threads_.emplace_back([this, node] { Follow(node); });
    }
  }
  ~MergedSource() override { stop_.Stop(); }

  Item Next(absl::Duration timeout) override {
    if (ready_.empty() && reading_ > 0) {
      Deliver(merger_.Take(kTakenTogether, stop_.token(), timeout));
    }
    if (ready_.empty()) {
      if (stop_.stopped()) return Ended{};
      return reading_ == 0 ? Item(Ended{code_}) : Nothing{};
    }
    Item item = std::move(ready_.front());
    ready_.pop_front();
    return item;
  }

  std::string loss() override { return ""; }

 private:
  // Passes what the node delivers to the merger, on its thread.
  void Follow(size_t node) {
    const WatchedNode& watched = nodes_[node];
    const auto source = WatchDaemon(watched.command, watched.address, {&stop_, note_});
    const auto add = [&](Item what) { return merger_.Add({node, std::move(what)}, stop_.token()); };
    for (bool wanted = true; wanted;) {
      Item item = source->Next(absl::InfiniteDuration());
      wanted = !std::holds_alternative<Ended>(item);
      if (auto* events = std::get_if<NodeEvents>(&item)) {
        wanted = std::all_of(events->begin(), events->end(), [&](NodeEvent& event) {
          if (event.node.name.empty()) event.node.name = watched.name;
          event.resume_after.server = node;
          return add(NodeEvents{std::move(event)});
        });
        continue;
      }
      if (auto* vms = std::get_if<NodeVms>(&item)) {
        for (NodeVm& vm : *vms) vm.node.name = watched.name;
      }
      if (auto* position = std::get_if<ServerPosition>(&item)) position->server = node;
      wanted = add(std::move(item)) && wanted;
    }
  }

  // Passes what was taken from the merger to `ready_`.
  void Deliver(std::vector<EventMerger::Item> items) {
    NodeEvents events;
    std::map<size_t, ServerPosition> positions;
    for (EventMerger::Item& item : items) {
      if (auto* event = std::get_if<NodeEvents>(&item.what)) {
        // A position from before the event would move the reader back.
        positions.erase(item.node);
        events.push_back(std::move(event->front()));
      } else if (const auto* position = std::get_if<ServerPosition>(&item.what)) {
        positions[item.node] = *position;
      } else if (const auto* ended = std::get_if<Ended>(&item.what)) {
        --reading_;
        if (code_ == ExitCode::kOk) code_ = ended->code;
      } else {
        ready_.push_back(std::move(item.what));
      }
    }
    if (!events.empty()) ready_.emplace_back(std::move(events));
    for (const auto& [node, position] : positions) ready_.emplace_back(position);
  }

  const std::vector<WatchedNode> nodes_;
  const PrintSentence note_;
  StopSource stop_;  // of the nodes' sources
  EventMerger merger_;
  std::deque<Item> ready_;
  size_t reading_;                 // number of nodes that have not ended
  ExitCode code_ = ExitCode::kOk;  // of the first node that failed
  const std::stop_callback<std::function<void()>> on_stop_;
  std::vector<std::jthread> threads_;
};

}  // namespace

std::unique_ptr<ListSource> MergeLists(std::vector<NodeLists> nodes, PrintSentence note) {
  return std::make_unique<MergedLists>(std::move(nodes), std::move(note));
}

std::unique_ptr<Source> WatchNodes(std::vector<WatchedNode> nodes, StopSource* stop,
                                   PrintSentence note, std::function<absl::Time()> clock) {
  return std::make_unique<MergedSource>(std::move(nodes), stop, std::move(note), std::move(clock));
}

}  // namespace vmeventd::client
