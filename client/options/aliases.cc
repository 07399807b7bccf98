#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "client/options/option_reader.h"

namespace vmeventd::client {
namespace {

// Words that users of other programs type first, and the line that they stand for.
struct Alias {
  absl::string_view command;  // of an option; empty: any
  absl::string_view typed;    // one word, or two separated by a blank
  absl::string_view meant;
};

constexpr Alias kCommands[] = {
    {"", "crashes", "events --type stopped --class crash --newest-first"},
    {"", "tail", "events --last 10"},
    {"", "get vms", "vms"},
    {"", "get vm", "vms"},
    {"", "get events", "events"},
    {"", "get event", "events"},
    {"", "list", "vms"},
    {"", "show", "why"},
    {"", "inspect", "why"},
    {"", "dominfo", "why"},
    {"", "domstate", "why"},
    {"", "log", "events"},
    {"", "journal", "events"},
    {"", "follow", "watch"},
    {"", "monitor", "watch"},
    {"", "stats", "top"},
    {"", "describe vm", "why"},
};

constexpr Alias kOptions[] = {
    {"", "--no-color", "--color never"},
    {"", "--json", "-o json"},
    {"", "--yaml", "-o yaml"},
    {"", "--wide", "-o wide"},
    {"events", "-w", "--follow"},
    {"events", "--watch", "--follow"},
    {"events", "--tail", "--last"},
    {"events", "--lines", "--last"},
    {"events", "--reverse", "--newest-first"},
    {"events", "-S", "--since"},
    {"events", "-U", "--until"},
    {"events", "-u", "--vm"},
    {"events", "-A", ""},
    {"events", "-a", ""},
    {"events", "--all", ""},
    {"watch", "-f", ""},
    {"watch", "--follow", ""},
    {"vms", "-A", "--all"},
    {"vms", "--inactive", "--all"},
    {"top", "-b", "--once"},
    {"top", "--no-stream", "--once"},
    {"", "--no-colour", "--color never"},
};

// Returns whether the word after `word` is its value.
bool TakesNext(const CLI::App& app, const CLI::App* command, const std::string& word) {
  const auto takes = [&](const std::string& name) {
    for (const CLI::App* one : {command, &app}) {
      const CLI::Option* option = one == nullptr ? nullptr : one->get_option_no_throw(name);
      if (option != nullptr) return option->get_expected_min() > 0;
    }
    return false;
  };
  if (absl::StartsWith(word, "--") || word.size() < 2 || word[0] != '-') return takes(word);
  // The first letter that takes a value takes the rest of the word, if there is any.
  for (size_t at = 1; at < word.size(); ++at) {
    if (takes(absl::StrCat("-", word.substr(at, 1)))) return at + 1 == word.size();
  }
  return false;
}

void AppendWords(absl::string_view text, std::vector<std::string>* words) {
  for (const absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    words->emplace_back(word);
  }
}

}  // namespace

std::vector<std::string> WithoutAliases(const CLI::App& app,
                                        const std::vector<std::string>& arguments) {
  std::vector<std::string> words;
  const CLI::App* command = nullptr;
  for (size_t at = 0; at < arguments.size(); ++at) {
    const std::string& word = arguments[at];
    if (word == "--") {
      words.insert(words.end(), arguments.begin() + static_cast<ptrdiff_t>(at), arguments.end());
      break;
    }
    if (absl::StartsWith(word, "-")) {
      const std::string name = word.substr(0, word.find('='));
      const auto alias = std::find_if(std::begin(kOptions), std::end(kOptions), [&](const auto& a) {
        return a.typed == name &&
               (a.command.empty() || (command != nullptr && command->get_name() == a.command));
      });
      // "--tail=20" is "--last=20", and "--json=x" stays wrong.
      const bool known =
          alias != std::end(kOptions) && (name == word || !absl::StrContains(alias->meant, ' '));
      if (known) {
        AppendWords(absl::StrCat(alias->meant, word.substr(name.size())), &words);
      } else {
        words.push_back(word);
      }
      const bool has_value =
          !(known && alias->meant.empty()) && TakesNext(app, command, words.back());
      if (has_value && at + 1 < arguments.size()) words.push_back(arguments[++at]);
      continue;
    }
    if (command != nullptr) {
      words.push_back(word);
      const auto actions =
          command->get_subcommands([&word](const CLI::App* one) { return one->check_name(word); });
      if (!actions.empty()) command = actions.front();
      continue;
    }
    const std::string two =
        at + 1 < arguments.size() ? absl::StrCat(word, " ", arguments[at + 1]) : word;
    const auto alias = std::find_if(std::begin(kCommands), std::end(kCommands), [&](const auto& a) {
      return a.typed == word || a.typed == two;
    });
    const size_t begin = words.size();
    if (alias == std::end(kCommands)) {
      words.push_back(word);
    } else {
      AppendWords(alias->meant, &words);
      if (alias->typed == two && two != word) ++at;
    }
    const auto found =
        app.get_subcommands([&](const CLI::App* one) { return one->check_name(words[begin]); });
    command = found.empty() ? &app : found.front();
  }
  return words;
}

}  // namespace vmeventd::client
