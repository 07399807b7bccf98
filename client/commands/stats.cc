#include "client/commands/stats.h"

#include <cstdint>
#include <map>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"
#include "client/commands/print.h"
#include "client/output/node_count.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

std::optional<Failure> RunList(const StatsCommand& command, ListSource* source, absl::TimeZone zone,
                               Formatter* formatter, Output* output, std::string* empty) {
  NodeCounts all;
  auto failure = source->CountEvents(command, zone, &all);
  std::map<std::string, uint64_t> sums;
  for (const NodeCount& one : all) {
    sums[command.by_node ? one.node.full_name() : one.key] += one.events;
  }
  NodeCounts counts;
  for (const auto& [key, events] : sums) counts.push_back({key.empty() ? "-" : key, events});
  // Times stay in their order; other keys are sorted by their number of events.
  if (command.by < v1::COUNT_KEY_DAY || command.by_node) {
    absl::c_stable_sort(counts,
                        [](const NodeCount& a, const NodeCount& b) { return a.events > b.events; });
  }
  if (counts.empty()) *empty = "no events match";
  if (failure && counts.empty()) return failure;
  const std::string by =
      command.by_node
          ? "node"
          : absl::AsciiStrToLower(absl::StripPrefix(v1::CountKey_Name(command.by), "COUNT_KEY_"));
  const bool of_ends = absl::c_all_of(command.events.request.filter().types(),
                                      [](int type) { return type == v1::EVENT_TYPE_STOPPED; });
  const auto printed = PrintText(
      formatter->FormatCounts(by, of_ends ? "ends" : "events", counts, command.csv), output);
  return printed ? printed : failure;
}

}  // namespace vmeventd::client
