#include "client/commands/merged_lists.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <numeric>
#include <thread>
#include <utility>

#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

constexpr size_t kMostWaitingOfNode = 2000;  // events of one node that were read and not merged
constexpr int kPrintedTogether = 1000;       // events that are printed together

// The events of one node, from the thread that reads them.
class EventPipe {
 public:
  // Waits for room. False: nobody wants more.
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

// Runs `ask` for each node on a thread of its own.
class Askers {
 public:
  Askers(const std::vector<AskedNode>& nodes, const ListEnvironment& environment,
         const std::function<std::optional<Failure>(size_t)>& ask)
      : codes_(nodes.size(), ExitCode::kOk) {
    for (size_t i = 0; i < nodes.size(); ++i) {
      threads_.emplace_back([this, i, ask, note = environment.note] {
        const std::optional<Failure> failure = ask(i);
        if (!failure) return;
        note(failure->sentence);
        codes_[i] = failure->code;
      });
    }
  }
  // Of the last node that failed; waits for all.
  ExitCode Join() {
    for (std::thread& thread : threads_) thread.join();
    ExitCode code = ExitCode::kOk;
    for (const ExitCode one : codes_) {
      if (one != ExitCode::kOk) code = one;
    }
    return code;
  }

 private:
  std::vector<ExitCode> codes_;
  std::vector<std::thread> threads_;
};

// The events of all nodes in order.
class MergedEvents {
 public:
  MergedEvents(std::vector<std::unique_ptr<EventPipe>>* pipes, bool newest_first)
      : pipes_(*pipes), newest_first_(newest_first) {}

  // The node of the next event; none: there are no more.
  std::optional<size_t> Next() {
    std::optional<size_t> next;
    absl::Time next_time;
    for (size_t node = 0; node < pipes_.size(); ++node) {
      const v1::Event* event = pipes_[node]->First();
      if (event == nullptr) continue;
      const absl::Time time = FromProto(event->observe_time());
      if (next && (newest_first_ ? time <= next_time : time >= next_time)) continue;
      next = node;
      next_time = time;
    }
    return next;
  }

 private:
  std::vector<std::unique_ptr<EventPipe>>& pipes_;
  const bool newest_first_;
};

ExitCode Report(const absl::Status& printed, ExitCode code, const ListEnvironment& environment) {
  const std::optional<Failure> failure = FromPrint(printed);
  if (!failure) return code;
  environment.note(failure->sentence);
  return failure->code;
}

absl::Status Print(const ListEnvironment& environment, const absl::StatusOr<std::string>& text) {
  return text.ok() ? environment.output->Write(*text) : text.status();
}

// Prints the merged events, until the limit.
absl::Status PrintMerged(const EventsCommand& command, const std::vector<AskedNode>& nodes,
                         std::vector<std::unique_ptr<EventPipe>>* pipes,
                         const ListEnvironment& environment) {
  absl::Status printed = environment.output->Write(environment.formatter->EventHeading());
  MergedEvents merged(pipes, command.newest_first || command.last);
  uint64_t left = command.last.value_or(command.limit.value_or(UINT64_MAX));
  Formatter::Events events;
  Formatter::Nodes names;
  const auto flush = [&] {
    printed = Print(environment, environment.formatter->FormatEvents(events, names));
    events.Clear();
    names.clear();
  };
  while (printed.ok() && left > 0) {
    const std::optional<size_t> node = merged.Next();
    if (!node) break;
    *events.Add() = (*pipes)[*node]->Take();
    names.push_back({nodes[*node].name});
    --left;
    if (!command.last && events.size() == kPrintedTogether) flush();
  }
  if (!printed.ok()) return printed;
  if (command.last && !command.newest_first) {
    std::reverse(events.pointer_begin(), events.pointer_end());
    std::reverse(names.begin(), names.end());
  }
  flush();
  return printed;
}

}  // namespace

ExitCode RunMerged(const EventsCommand& command, const std::vector<AskedNode>& nodes,
                   const ListEnvironment& environment) {
  std::vector<std::unique_ptr<EventPipe>> pipes;
  for (size_t i = 0; i < nodes.size(); ++i) pipes.push_back(std::make_unique<EventPipe>());
  Askers askers(nodes, environment, [&](size_t i) {
    EventPipe* const pipe = pipes[i].get();
    auto failure = nodes[i].ask([&command, pipe](const CommandContext& context) {
      return ReadEvents(command, context,
                        [pipe](Formatter::Events* page) { return pipe->Add(page); });
    });
    pipe->End();
    return failure;
  });
  const absl::Status printed = PrintMerged(command, nodes, &pipes, environment);
  for (const auto& pipe : pipes) pipe->Abandon();
  return Report(printed, askers.Join(), environment);
}

ExitCode RunMerged(const VmsCommand& command, const std::vector<AskedNode>& nodes,
                   const ListEnvironment& environment) {
  std::vector<Formatter::Vms> answers(nodes.size());
  Askers askers(nodes, environment, [&](size_t i) {
    return nodes[i].ask(
        [&, i](const CommandContext& context) { return ReadVms(command, context, &answers[i]); });
  });
  const ExitCode code = askers.Join();
  std::vector<std::pair<v1::Vm*, size_t>> all;
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (v1::Vm& vm : answers[i]) all.emplace_back(&vm, i);
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
    return a.first->ref().name() < b.first->ref().name();
  });
  Formatter::Vms vms;
  Formatter::Nodes names;
  for (const auto& [vm, node] : all) {
    vms.Add()->Swap(vm);
    names.push_back({nodes[node].name});
  }
  return Report(Print(environment, environment.formatter->FormatVms(vms, names)), code,
                environment);
}

}  // namespace vmeventd::client
