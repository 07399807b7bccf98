#include "client/options/common.h"

#include "absl/algorithm/container.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/cli/option.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

// Ends the help of --since.
constexpr char kTimeForms[] =
    ", such as 1h, \"a week ago\", noon, 8pm, monday, \"yesterday 14:00\", boot or 2026-07-01";

}  // namespace

CLI::App* AddCommand(CLI::App* parent, const char* name, const char* help) {
  // --server and -o may also follow the command.
  return parent->add_subcommand(name, help)->fallthrough();
}

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
  // CLI11 takes the options in the order of their definitions: --since is read.
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

namespace {

WatchStart ReadFrom(const OptionContext& context, const std::string& text) {
  if (absl::c_all_of(CheckText(text), absl::ascii_isdigit)) {
    FromSequence sequence;
    if (absl::SimpleAtoi(text, &sequence.sequence)) return sequence;
    Wrong(absl::StrCat("the sequence ", text, " is larger than any sequence"));
  }
  if (text == "now") return FromNow{};
  if (text == "oldest") return FromOldest{};
  if (text == "snapshot") return FromSnapshot{};
  return FromTime{ReadTime(context, text, "; or a sequence number, oldest or snapshot")};
}

}  // namespace

void AddStart(CLI::App* app, const char* from_help, const OptionContext* context,
              WatchStart* start) {
  const auto read = [=](const std::string& text) { *start = ReadFrom(*context, text); };
  CLI::Option* from = AddOption(app, "--from", "START", from_help, read);
  // CLI11 takes the options in the order of their definitions: --from is read.
  CLI::Option* journal =
      AddOption(app, "--journal", "ID",
                "the journal that the sequence number of --from belongs to (default the server's "
                "present one)",
                [=](const std::string& text) {
                  auto* sequence = std::get_if<FromSequence>(start);
                  if (sequence == nullptr) {
                    Wrong(absl::StrCat("needs ", context->dashes,
                                       "from with a sequence number, whose journal it names"));
                  }
                  sequence->journal_id = CheckText(text);
                });
  AddOption(app, "--since", "TIME",
            absl::StrCat("start with the first event at or after this time", kTimeForms).c_str(),
            [=](const std::string& text) { *start = FromTime{ReadTime(*context, text)}; })
      ->excludes(from)
      ->excludes(journal);
}

void AddNode(CLI::App* app, Reading* reading) {
  AddList(app, "--node", "GLOB", "only this node of a fleet, or CLUSTER/NODE; may be repeated",
          [=](const std::string& text) { reading->line.servers.nodes.push_back(CheckText(text)); });
}

std::vector<CLI::Option*> AddFollow(CLI::App* app, FollowCommand* command) {
  return {
      AddValue(app, "--timeout", "DURATION", "exit after this time, such as 5m", &command->timeout),
      AddFile(
          app, "--cursor-file",
          "save the position in this file, and continue from it; while the file does not exist, "
          "start as the other options specify",
          &command->cursor_file)};
}

}  // namespace vmeventd::client
