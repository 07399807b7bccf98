#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/commands/commands.h"
#include "client/output/node_event.h"

// `why`: how VMs ended last, also where they run again.

namespace vmeventd::client {

struct WhyCommand {
  v1::EventFilter filter;  // selects at least one VM; no types
  bool markdown = false;   // for a ticket
};

// Collects the ends and the runs of VMs. A name has one story, wherever its runs were, unless
// several VMs of that name live: then each of them has its own. Pure.
class StoryCollector {
 public:
  explicit StoryCollector(absl::Time now) : now_(now) {}

  // Takes each run that is known.
  void AddRun(NodeVm run);
  // Takes a STOPPED; others are left out. The newest comes first, or they come in any order.
  void AddEnd(NodeEvent end);
  // By name.
  VmStories Take() const;

 private:
  struct Key {
    std::string name, cluster, node, source;
    auto operator<=>(const Key&) const = default;
  };
  VmStory* StoryOf(const v1::VmRef& vm, const MessageNode& node);

  const absl::Time now_;
  std::map<Key, VmStory> stories_;
};

// The failure of a list that ran: a name or a glob of the filter that no VM has and no event of the
// journal names. `where` as of RunWhy().
std::optional<Failure> CheckNames(const v1::EventFilter& filter, absl::string_view where,
                                  ListSource* source);

// The names of the filter that no story has, globs included.
std::vector<std::string> UnknownNames(const v1::EventFilter& filter, const VmStories& stories);

// Prints the story of each VM. NOT_FOUND's code if a name has none; `where` completes "is known" of
// that sentence, such as " in the fleet".
std::optional<Failure> RunWhy(const WhyCommand& command, absl::string_view where,
                              ListSource* source, Formatter* formatter, Output* output,
                              absl::Time now);

}  // namespace vmeventd::client
