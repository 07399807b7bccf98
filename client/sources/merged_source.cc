#include "client/sources/merged_source.h"

#include <algorithm>
#include <cstddef>
#include <deque>
#include <map>
#include <stop_token>
#include <thread>
#include <utility>
#include <variant>

#include "client/connect/failure.h"
#include "client/output/node_event.h"
#include "client/output/node_vm.h"
#include "client/output/watch_position.h"
#include "client/sources/daemon_source.h"
#include "client/sources/event_merger.h"

namespace vmeventd::client {
namespace {

// Limit of items that are taken together.
constexpr size_t kTakenTogether = 1000;

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
  StopSource stop_;  // stops the nodes' sources
  EventMerger merger_;
  std::deque<Item> ready_;
  size_t reading_;                 // number of nodes that have not ended
  ExitCode code_ = ExitCode::kOk;  // code of the first node that failed
  const std::stop_callback<std::function<void()>> on_stop_;
  std::vector<std::jthread> threads_;
};

}  // namespace

std::unique_ptr<Source> WatchNodes(std::vector<WatchedNode> nodes, StopSource* stop,
                                   PrintSentence note, std::function<absl::Time()> clock) {
  return std::make_unique<MergedSource>(std::move(nodes), stop, std::move(note), std::move(clock));
}

}  // namespace vmeventd::client
