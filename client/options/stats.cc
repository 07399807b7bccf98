#include <memory>
#include <optional>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/time/time.h"
#include "client/cli/option.h"
#include "client/cli/option_text.h"
#include "client/options/add_command.h"
#include "client/options/commands.h"
#include "client/options/filter.h"
#include "client/options/reading.h"
#include "client/options/time_options.h"
#include "client/sources/stats_command.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

void AddStats(CLI::App* program, Reading* reading) {
  struct Times {
    std::optional<absl::Time> since;
    std::optional<absl::Time> until;
  };
  const auto times = std::make_shared<Times>();
  const auto check = [=](StatsCommand* stats) {
    stats->events.SetTimes(times->since, times->until);
    v1::EventFilter* const filter = stats->events.request.mutable_filter();
    if (filter->types().empty()) filter->add_types(v1::EVENT_TYPE_STOPPED);
    stats->csv = reading->line.format == OutputFormat::kCsv;
  };
  const auto [app, stats] =
      Add<StatsCommand>(program, reading, "stats", "Count the ends of VMs", check);
  AddTimes(app, reading, "only events at or after this time", "only events before this time",
           &times->since, &times->until);
  AddOption(app, "--by", "KEY",
            "who, vm, class, cause, type, day, hour, minute or node (default who)",
            [to = stats](const std::string& text) {
              // The values before "node" are those of CountKey.
              const int key = ReadChoice("KEY", text) + 1;
              to->by_node = !v1::CountKey_IsValid(key);
              if (!to->by_node) to->by = static_cast<v1::CountKey>(key);
            });
  AddNames(app, stats->events.request.mutable_filter());
  AddFilter(app, stats->events.request.mutable_filter());
}

}  // namespace vmeventd::client
