#include "client/commands/label_hint.h"

#include <iterator>
#include <set>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "base/label_selector.h"
#include "base/spelling.h"
#include "client/commands/some_of.h"
#include "client/output/node_vm.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {

std::string ExplainLabels(const v1::EventFilter& filter, ListSource* source) {
  std::vector<std::string> wanted;
  for (const std::string& text : filter.labels()) {
    const auto selector = LabelSelector::Parse(text);
    if (selector.ok()) absl::c_copy(selector->wanted_keys(), std::back_inserter(wanted));
  }
  if (wanted.empty()) return "";
  NodeVms all;
  static_cast<void>(source->ReadVms({}, /*stopped_too=*/true, &all));  // only for a hint
  if (all.empty()) return "";
  std::set<std::string> known;
  for (const NodeVm& one : all) {
    for (const auto& [key, value] : one.vm.ref().labels()) known.insert(key);
  }
  const auto unknown =
      absl::c_find_if(wanted, [&known](const std::string& key) { return !known.contains(key); });
  if (unknown == wanted.end()) return "";
  const std::string none =
      absl::StrCat("; no VM has a label \"", EscapeForTerminal(*unknown), "\"");
  if (known.empty()) return absl::StrCat(none, ", or any other");
  return absl::StrCat(none, DidYouMean({NearestName(*unknown, {known.begin(), known.end()})}),
                      "; the labels are ", SomeOf(known));
}

}  // namespace vmeventd::client
