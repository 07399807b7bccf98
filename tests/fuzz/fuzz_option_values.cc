// Any text on the client's command line is a value or an error; a printed time is parsed as the
// same time.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "client/options/option_values.h"
#include "client/output/time_text.h"

extern "C" int Fuzz_option_values(const uint8_t* data, size_t size) {
  namespace client = vmeventd::client;
  const std::string text(reinterpret_cast<const char*>(data), size);
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

  const std::vector<std::string> words = absl::StrSplit(text, ' ');
  const auto filter = client::ParseFilter({.vms = words});
  const std::vector<absl::string_view> names = absl::StrSplit(text, absl::ByAnyChar(" ,"));
  if (filter.ok() && filter->vm_names_size() != static_cast<int>(names.size())) std::abort();
  (void)client::ParseFilter({.types = words});
  (void)client::ParseFilter({.classes = words, .causes = words});
  (void)client::ParseFilter({.sources = words, .uuids = words, .runs = words, .labels = words});
  (void)client::ParseStates(words);
  (void)client::ParseCount("--count", true, text);
  (void)client::ParseWatchStart(words.front(), words.back(), now, zone);
  client::CheckText("--actor", text).IgnoreError();
  return 0;
}
