#include "client/commands/merged.h"

#include <algorithm>
#include <map>

#include "client/commands/daemon_source.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

// Limit of items that are taken together.
constexpr size_t kTakenTogether = 1000;

}  // namespace

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
    const auto* event = std::get_if<NodeEvent>(&waiting.item.what);
    if (event == nullptr) return node;  // time orders events only
    const absl::Time patience = waiting.arrival + kLongestWait;
    *next = std::min(*next, patience);
    if (!overdue && patience <= now) overdue = node;
    const absl::Time time = FromProto(event->event.observe_time());
    if (first && (order_.newest_first ? time <= first_time : time >= first_time)) continue;
    first = node;
    first_time = time;
  }
  if (!first || all_have_one) return first;
  if (order_.exact) {
    *next = absl::InfiniteFuture();
    return std::nullopt;
  }
  const absl::Time complete = queues_[*first].items.front().arrival + kWindow;
  *next = std::min(*next, complete);
  return complete <= now ? first : overdue;
}

bool EventMerger::IsDone() const {
  return std::all_of(queues_.begin(), queues_.end(),
                     [](const Queue& queue) { return queue.items.empty() && queue.ended; });
}

bool EventMerger::done() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return IsDone();
}

bool EventMerger::Add(Item item, const std::stop_token& stop) {
  std::unique_lock<std::mutex> lock(mutex_);
  std::deque<Waiting>& items = queues_[item.node].items;
  if (!changed_.wait(lock, stop, [&] { return items.size() < kMaxWaiting; })) return false;
  items.push_back({std::move(item), clock_()});
  changed_.notify_all();
  return true;
}

void EventMerger::End(size_t node) {
  const std::lock_guard<std::mutex> lock(mutex_);
  queues_[node].ended = true;
  changed_.notify_all();
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
    if (!items.empty() || IsDone() || now >= end) break;
    const auto sooner = [this, now, due] {
      absl::Time next;
      return Find(now, &next) || next < due || IsDone();
    };
    const absl::Time until = std::min(due, end);
    if (until == absl::InfiniteFuture()) {
      changed_.wait(lock, stop, sooner);
    } else {
      changed_.wait_for(lock, stop, absl::ToChronoNanoseconds(until - now), sooner);
    }
  }
  changed_.notify_all();
  return items;
}

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
  EventMerger merger(nodes_.size(), {.exact = true, .newest_first = command.reads_newest_first()});
  std::stop_source stop;
  Answers answers = AskAll([&](size_t i) {
    auto failure = nodes_[i].lists->ReadEvents(command, [&](NodeEvent event) {
      event.node.name = nodes_[i].name;
      return merger.Add({i, std::move(event)}, stop.get_token());
    });
    merger.End(i);
    return failure;
  });
  for (uint64_t left = command.most(); left > 0;) {
    std::vector<EventMerger::Item> items =
        merger.Take(std::min<uint64_t>(left, kTakenTogether), stop.get_token());
    if (items.empty()) break;
    left -= items.size();
    for (EventMerger::Item& item : items) {
      if (take(std::get<NodeEvent>(std::move(item.what)))) continue;
      left = 0;
      break;
    }
  }
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
      merger_(nodes_.size(), {}, env_.clock),
      codes_(nodes_.size(), ExitCode::kOk),
      on_stop_(env_.stop->token(), [this] { stop_.Stop(); }) {
  for (size_t node = 0; node < nodes_.size(); ++node) {
    threads_.emplace_back([this, node] { Follow(node); });
  }
}

MergedSource::~MergedSource() { stop_.Stop(); }

void MergedSource::Follow(size_t node) {
  const WatchedNode& watched = nodes_[node];
  DaemonSource source(watched.command, watched.address, {&stop_, env_.note});
  const auto add = [&](auto what) { return merger_.Add({node, std::move(what)}, stop_.token()); };
  for (bool wanted = true; wanted;) {
    Item item = source.Next(absl::InfiniteDuration());
    if (const auto* ended = std::get_if<Ended>(&item)) {
      codes_[node] = ended->code;
      break;
    }
    if (auto* events = std::get_if<NodeEvents>(&item)) {
      wanted = std::all_of(events->begin(), events->end(), [&](NodeEvent& event) {
        if (event.node.name.empty()) event.node.name = watched.name;
        event.resume_after.server = node;
        return add(std::move(event));
      });
      continue;
    }
    if (auto* vms = std::get_if<NodeVms>(&item)) {
      for (NodeVm& vm : *vms) vm.node.name = watched.name;
    }
    if (auto* position = std::get_if<ServerPosition>(&item)) position->server = node;
    wanted = add(std::move(item));
  }
  merger_.End(node);
}

Source::Item MergedSource::Next(absl::Duration timeout) {
  if (ready_.empty()) Deliver(merger_.Take(kTakenTogether, env_.stop->token(), timeout));
  if (!ready_.empty()) {
    Item item = std::move(ready_.front());
    ready_.pop_front();
    return item;
  }
  if (env_.stop->stopped()) return Ended{};
  if (!merger_.done()) return Nothing{};
  const auto failed = std::find_if(codes_.begin(), codes_.end(),
                                   [](ExitCode code) { return code != ExitCode::kOk; });
  return Ended{failed == codes_.end() ? ExitCode::kOk : *failed};
}

void MergedSource::Deliver(std::vector<EventMerger::Item> items) {
  NodeEvents events;
  std::map<size_t, ServerPosition> positions;
  for (EventMerger::Item& item : items) {
    if (auto* event = std::get_if<NodeEvent>(&item.what)) {
      // A position from before the event would move the reader back.
      positions.erase(item.node);
      events.push_back(std::move(*event));
    } else if (auto& other = std::get<Item>(item.what);
               std::holds_alternative<ServerPosition>(other)) {
      positions[item.node] = std::get<ServerPosition>(other);
    } else {
      ready_.push_back(std::move(other));
    }
  }
  if (!events.empty()) ready_.emplace_back(std::move(events));
  for (const auto& [node, position] : positions) ready_.emplace_back(position);
}

}  // namespace vmeventd::client
