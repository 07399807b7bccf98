// Any text on the client's command line is a value or an error; a printed time is parsed as the
// same time.

#include <cstdlib>
#include <string>
#include <variant>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/algorithm/container.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "client/options/parser.h"
#include "client/options/reading.h"
#include "client/output/time_text.h"
#include "watcher/core/proto_time.h"

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
    if (vmeventd::FromTimestamp(vmeventd::ToTimestamp(*time)) != *time) std::abort();
  }
  const auto duration = client::ParseDurationText(text);
  if (duration.ok() && client::DurationText(*duration).empty()) std::abort();

  struct Line {
    client::Reading reading;
    CLI::App app{};
  };
  // Made once: it takes a hundred times as long as to parse a line with it.
  static Line& line = *[&] {
    auto* made = new Line{.reading = {.context = {.now = now, .zone = zone}}};
    client::Define(&made->app, &made->reading, /*sinks=*/{});
    return made;
  }();
  // Gives each of the options of the command each of the texts. False: some are wrong.
  const auto give = [&](const char* command, const std::vector<std::string>& options,
                        const std::vector<std::string>& texts) {
    std::vector<std::string> reversed;
    for (const std::string& option : options) {
      for (const std::string& one : texts) reversed.insert(reversed.end(), {one, option});
    }
    line.reading.line.command = client::InfoCommand();  // without the values of an earlier text
    try {
      line.app.get_subcommand(command)->parse(reversed);
      return true;
    } catch (const CLI::ParseError&) {
      return false;
    }
  };
  const std::vector<std::string> words = absl::StrSplit(text, ' ');
  const std::vector<absl::string_view> names = absl::StrSplit(text, absl::ByAnyChar(" ,"));
  const auto is_there = [](absl::string_view name) {
    const auto& watch = std::get<client::FollowCommand>(line.reading.line.command).watch;
    const auto& found = watch.filter.vm_names();
    return name.empty() || absl::c_linear_search(found, name) ||
           absl::c_linear_search(found, absl::StripPrefix(name, "vm/"));
  };
  if (give("watch", {"--vm"}, words) && !absl::c_all_of(names, is_there)) std::abort();
  give("watch", {"--type"}, words);
  give("watch", {"--class", "--cause"}, words);
  give("watch", {"--source", "--uuid", "--run", "--label"}, words);
  give("vms", {"--state"}, words);
  give("watch", {"--count"}, {text});
  give("watch", {"--cursor-file"}, {text});
  give("watch", {"--from"}, {text});
  give("watch", {"--from", "--journal"}, {words.front()});
}
