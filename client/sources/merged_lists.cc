#include "client/sources/merged_lists.h"

#include <cstddef>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>
#include <variant>

#include "absl/algorithm/container.h"
#include "absl/time/time.h"
#include "client/connect/failure.h"
#include "client/sources/ask_all.h"
#include "client/sources/event_merger.h"

namespace vmeventd::client {
namespace {

// Limit of items that are taken together.
constexpr size_t kReadTogether = 1000;

class MergedLists : public ListSource {
 public:
  MergedLists(std::vector<NodeLists> nodes, PrintSentence note)
      : nodes_(std::move(nodes)), note_(std::move(note)) {}

  std::optional<Failure> ReadEvents(const EventsCommand& command, const Take& take) override {
    constexpr absl::Duration kForever = absl::InfiniteDuration();
    EventMerger merger(nodes_.size(), {kForever, kForever, command.reads_newest_first()});
    std::stop_source stop;
    Failures failures(nodes_.size());
    // Asks all nodes at once: the merger waits for an event of each.
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
      for (EventMerger::Item& item : merger.Take(kReadTogether, stop.get_token())) {
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

}  // namespace

std::unique_ptr<ListSource> MergeLists(std::vector<NodeLists> nodes, PrintSentence note) {
  return std::make_unique<MergedLists>(std::move(nodes), std::move(note));
}

}  // namespace vmeventd::client
