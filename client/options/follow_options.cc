#include "client/options/follow_options.h"

#include <string>
#include <variant>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/cli/option.h"
#include "client/cli/option_error.h"
#include "client/cli/option_text.h"
#include "client/options/option_context.h"
#include "client/options/time_options.h"

namespace vmeventd::client {

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
  // CLI11 processes options in the order of their definitions, so --from is parsed already.
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
