#include "client/commands/merged_lists.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
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

}  // namespace vmeventd::client
