#include "client/options/hints.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/nearest_name.h"

namespace vmeventd::client {
namespace {

using Pair = std::pair<absl::string_view, absl::string_view>;

// Names in other programs, and what they are here.
constexpr Pair kCommandWords[] = {{"get", "vms"},
                                  {"list", "vms"},
                                  {"ls", "vms"},
                                  {"ps", "vms"},
                                  {"logs", "events"},
                                  {"log", "events"},
                                  {"history", "events"},
                                  {"event", "events"},
                                  {"tail", "events -f"},
                                  {"follow", "watch"},
                                  {"monitor", "watch"},
                                  {"describe", "vm NAME"},
                                  {"show", "vm NAME"},
                                  {"inspect", "vm NAME"},
                                  {"dominfo", "vm NAME"},
                                  {"domstate", "vm NAME"},
                                  {"domjobinfo", "vm NAME"},
                                  {"why", "vm NAME"},
                                  {"status", "info"},
                                  {"ping", "health"},
                                  {"check", "doctor"},
                                  {"nodes", "fleet"},
                                  {"config", "context"},
                                  {"contexts", "context list"},
                                  {"intents", "intent list"},
                                  {"declare", "intent declare"},
                                  {"withdraw", "intent withdraw"}};
constexpr Pair kOptionWords[] = {{"--lines", "-n"},
                                 {"--tail", "-n"},
                                 {"--reverse", "--newest-first"},
                                 {"-S", "--since"},
                                 {"--since-time", "--since"},
                                 {"-U", "--until"},
                                 {"--grep", "--type"},
                                 {"-g", "--type"},
                                 {"-p", "--class"},
                                 {"--priority", "--class"},
                                 {"-u", "--vm"},
                                 {"--unit", "--vm"},
                                 {"--domain", "--vm"},
                                 {"-l", "--vm"},
                                 {"--selector", "--vm"},
                                 {"--field-selector", "--vm"},
                                 {"-A", "--all"},
                                 {"-a", "--all"},
                                 {"--all-namespaces", "--all"},
                                 {"--inactive", "--all"},
                                 {"-c", "--server"},
                                 {"--connect", "--server"},
                                 {"-H", "--server"},
                                 {"--host", "--server"},
                                 {"-M", "--server"},
                                 {"--kubeconfig", "--context"},
                                 {"--cluster", "--context"},
                                 {"--format", "-o"},
                                 {"--template", "-o"},
                                 {"-w", "watch"},
                                 {"--watch", "watch"},
                                 {"--after-cursor", "--cursor-file"},
                                 {"--cursor", "--cursor-file"},
                                 {"--previous", "--run"},
                                 {"-b", "--since"},
                                 {"--boot", "--since"}};

void AddOptions(const CLI::App& app, std::vector<std::string>* names) {
  for (const CLI::Option* option : app.get_options()) {
    if (!option->nonpositional()) continue;
    const std::vector<std::string> own = absl::StrSplit(option->get_name(false, true), ',');
    names->insert(names->end(), own.begin(), own.end());
  }
}

}  // namespace

std::string HintFor(const CLI::App& command, absl::string_view typed) {
  typed = typed.substr(0, typed.find('='));
  const bool is_option = absl::StartsWith(typed, "-");
  const CLI::App* const parent = command.get_parent();
  std::vector<std::string> names;
  if (is_option) {
    AddOptions(command, &names);
    if (parent != nullptr) AddOptions(*parent, &names);
  } else {
    for (const CLI::App* one : command.get_subcommands({})) names.push_back(one->get_name());
  }
  const auto is_here = [&](absl::string_view name) {
    return !absl::StartsWith(name, "-") || std::count(names.begin(), names.end(), name) > 0;
  };
  const Pair* const begin = is_option ? std::begin(kOptionWords) : std::begin(kCommandWords);
  const Pair* const end = is_option ? std::end(kOptionWords) : std::end(kCommandWords);
  const Pair* const known = std::find_if(
      begin, end, [&](const Pair& pair) { return pair.first == typed && is_here(pair.second); });
  if (known != end && (is_option || parent == nullptr)) {
    return absl::StrCat("; did you mean ", known->second, "?");
  }
  const std::string nearest = NearestName(typed, names);
  return nearest.empty() ? "" : absl::StrCat("; did you mean ", nearest, "?");
}

}  // namespace vmeventd::client
