#include "client/options/time_options.h"

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/option.h"
#include "client/cli/option_error.h"
#include "client/options/option_context.h"
#include "client/output/time_text.h"

namespace vmeventd::client {

absl::Time ReadTime(const OptionContext& context, const std::string& text,
                    absl::string_view others) {
  if (text == "boot" && context.boot > absl::InfinitePast()) return context.boot;
  const absl::StatusOr<absl::Time> time = ParseTimeText(text, context.now, context.zone);
  if (!time.ok()) Wrong(absl::StrCat(time.status().message(), others));
  return *time;
}

CLI::Option* AddTimes(CLI::App* app, Reading* reading, const char* since_help,
                      const char* until_help, std::optional<absl::Time>* since,
                      std::optional<absl::Time>* until) {
  AddOption(app, "--since", "TIME", absl::StrCat(since_help, kTimeForms).c_str(),
            [=](const std::string& text) { *since = ReadTime(reading->context, text); });
  // CLI11 processes options in the order of their definitions, so --since is parsed already.
  const auto read_until = [=](const std::string& text) {
    const bool is_relative = absl::StartsWith(text, "+");
    if (is_relative && !*since) {
      Wrong(absl::StrCat("\"", text, "\" is relative to ", reading->context.dashes,
                         "since, which is not given"));
    }
    *until = is_relative ? Need(ParseTimeAfter(text, **since)) : ReadTime(reading->context, text);
  };
  return AddOption(app, "--until", "TIME",
                   absl::StrCat(until_help, "; +10m is after --since").c_str(), read_until);
}

void CheckTimes(const OptionContext& context, std::optional<absl::Time> since,
                std::optional<absl::Time> until) {
  if (!since || !until || *since < *until) return;
  Wrong(absl::StrCat(context.dashes, "since is not before ", context.dashes,
                     "until, so no event can match; a time without a date is one of today"));
}

}  // namespace vmeventd::client
