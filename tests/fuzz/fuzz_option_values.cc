// Any text on the client's command line is a value or an error; a printed time is parsed as the
// same time.

#include <cstdlib>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/algorithm/container.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "client/options/option_reader.h"
#include "client/output/time_text.h"

void Fuzz_option_values(absl::string_view input) {
  namespace client = vmeventd::client;
  const std::string text(input);
  const absl::Time now = absl::FromUnixSeconds(1'795'157'000);
  const absl::TimeZone zone = absl::UTCTimeZone();

  const auto time = client::ParseTimeText(text, now, zone);
  if (time.ok()) {
    // In milliseconds, which is all that LocalTimeText shows.
    const std::string shown = client::LocalTimeText(*time, zone);
    const auto again = client::ParseTimeText(shown, now, zone);
    if (!again.ok() || client::LocalTimeText(*again, zone) != shown) std::abort();
    if (client::FromProto(client::ToProto(*time)) != *time) std::abort();
  }
  const auto duration = client::ParseDurationText(text);
  if (duration.ok() && client::DurationText(*duration).empty()) std::abort();

  client::OptionContext context;
  context.now = now;
  context.zone = zone;
  // Made once: it takes a hundred times as long as to parse a line with it.
  static CLI::App& app = *[] {
    auto* made = new CLI::App;
    client::Define(made);
    return made;
  }();
  // The options of one command with these texts; `read` gets none that CLI11 refuses.
  const auto give = [&](const char* command, const std::vector<std::string>& options,
                        const std::vector<std::string>& texts, const auto& read) {
    std::vector<std::string> reversed;
    for (const std::string& option : options) {
      for (const std::string& one : texts) reversed.insert(reversed.end(), {one, option});
    }
    reversed.emplace_back(command);
    try {
      app.parse(reversed);
    } catch (const CLI::ParseError&) {
      return;
    }
    client::OptionReader reader(app, context);
    read(reader);
  };
  const std::vector<std::string> words = absl::StrSplit(text, ' ');
  const std::vector<absl::string_view> names = absl::StrSplit(text, absl::ByAnyChar(" ,"));
  give("watch", {"--vm"}, words, [&](client::OptionReader& options) {
    const auto filter = options.Filter();
    const auto is_there = [&](absl::string_view name) {
      return name.empty() || absl::c_linear_search(filter.vm_names(), name);
    };
    if (options.status().ok() && !absl::c_all_of(names, is_there)) std::abort();
  });
  const auto filter = [](client::OptionReader& options) { (void)options.Filter(); };
  give("watch", {"--type"}, words, filter);
  give("watch", {"--class", "--cause"}, words, filter);
  give("watch", {"--source", "--uuid", "--run", "--label"}, words, filter);
  give("vms", {"--state"}, words, [](client::OptionReader& options) { (void)options.States(); });
  give("watch", {"--count"}, {text},
       [](client::OptionReader& options) { (void)options.Count("--count"); });
  give("watch", {"--exec"}, {text},
       [](client::OptionReader& options) { (void)options.Word("--exec"); });
  give("watch", {"--from"}, {text}, [](client::OptionReader& options) { (void)options.Start(); });
  give("watch", {"--from", "--journal"}, {words.front()},
       [](client::OptionReader& options) { (void)options.Start(); });
}
