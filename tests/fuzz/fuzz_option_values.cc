// Any text on the client's command line is a value or an error; a printed time is parsed as the
// same time.

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/algorithm/container.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "client/options/binding.h"
#include "client/output/time_text.h"

void Fuzz_option_values(absl::string_view input) {
  namespace client = vmeventd::client;
  namespace v1 = vmeventd::v1;
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

  struct Line {
    client::OptionContext context;
    v1::EventFilter filter;
    std::vector<int> states;
    std::optional<uint64_t> count;
    std::string word;
    client::WatchStart start;
    CLI::App app;
  };
  // Made once: it takes a hundred times as long as to parse a line with it.
  static Line& line = *[&] {
    auto* made = new Line;
    made->context.now = now;
    made->context.zone = zone;
    client::AddNames(&made->app, &made->filter);
    client::AddFilter(&made->app, &made->filter);
    client::AddNamesOf(&made->app, "--state", "STATE", "", v1::VmState_descriptor(),
                       [made](int one) { made->states.push_back(one); });
    client::AddValue(&made->app, "--count", "N", "", &made->count);
    client::AddValue(&made->app, "--exec", "COMMAND", "", &made->word);
    client::AddStart(&made->app, "", &made->context, &made->start);
    return made;
  }();
  // Gives each of the options each of the texts. False: some are wrong.
  const auto give = [&](const std::vector<std::string>& options,
                        const std::vector<std::string>& texts) {
    std::vector<std::string> reversed;
    for (const std::string& option : options) {
      for (const std::string& one : texts) reversed.insert(reversed.end(), {one, option});
    }
    line.filter.Clear();
    line.states.clear();
    try {
      line.app.parse(reversed);
      return true;
    } catch (const CLI::ParseError&) {
      return false;
    }
  };
  const std::vector<std::string> words = absl::StrSplit(text, ' ');
  const std::vector<absl::string_view> names = absl::StrSplit(text, absl::ByAnyChar(" ,"));
  const auto is_there = [](absl::string_view name) {
    return name.empty() || absl::c_linear_search(line.filter.vm_names(), name);
  };
  if (give({"--vm"}, words) && !absl::c_all_of(names, is_there)) std::abort();
  give({"--type"}, words);
  give({"--class", "--cause"}, words);
  give({"--source", "--uuid", "--run", "--label"}, words);
  give({"--state"}, words);
  give({"--count"}, {text});
  give({"--exec"}, {text});
  give({"--from"}, {text});
  give({"--from", "--journal"}, {words.front()});
}
