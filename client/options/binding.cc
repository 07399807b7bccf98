#include "client/options/binding.h"

#include <algorithm>

#include "absl/algorithm/container.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/patterns.h"
#include "base/text.h"
#include "base/uuid.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

// The width of a help text.
constexpr size_t kHelpWidth = 80;
constexpr size_t kHelpColumn = 30;  // column at which CLI11 begins an option's description

// CLI11 breaks no lines.
std::string Wrapped(const char* help) {
  return absl::StrJoin(WrapText(help, kHelpWidth - kHelpColumn), "\n");
}

// The name of "-o,--output" in sentences.
std::string LongName(absl::string_view names) {
  return std::string(names.substr(names.rfind(',') + 1));
}

// See ParseCommandLine.
std::string WithoutMark(std::string text) {
  if (absl::StartsWith(text, "[") && absl::EndsWith(text, absl::string_view("]\0", 2))) {
    text.pop_back();
  }
  return text;
}

CLI::Option* Add(CLI::App* app, const std::string& names, const std::string& help,
                 const Take& take) {
  return app->add_option(
      names,
      [take](const CLI::results_t& texts) {
        for (const std::string& text : texts) take(WithoutMark(text));
        return true;
      },
      help);
}

absl::StatusOr<absl::Time> ParseTime(const CLI::App& app, const TimeBase& base,
                                     const std::string& text) {
  const auto parse = [&base](const std::string& one) {
    return ParseTimeText(one, base.now, base.zone);
  };
  // The rest of a time without quotes, as in "--since 1 hour ago", stands among the names.
  constexpr size_t kMaxWords = 3;
  std::vector<std::string> words = TextsOf(app, "NAME");
  for (words.resize(std::min(words.size(), kMaxWords)); !words.empty(); words.pop_back()) {
    const std::string rest = absl::StrJoin(words, " ");
    const std::string whole = absl::StrCat(text, " ", rest);
    if (!parse(whole).ok() && !parse(rest).ok()) continue;
    Wrong(absl::StrCat("\"", words[0], "\" is next to a time; put the time into quotes: '", whole,
                       "'; a VM of that name is chosen with --vm"));
  }
  return parse(text);
}

}  // namespace

bool IsNumber(absl::string_view text) {
  return !text.empty() && absl::c_all_of(text, absl::ascii_isdigit);
}

std::vector<std::string> TextsOf(const CLI::App& app, const std::string& name) {
  const CLI::Option* option = app.get_option_no_throw(name);
  std::vector<std::string> texts;
  if (option == nullptr) return texts;
  for (const std::string& text : option->results()) texts.push_back(WithoutMark(text));
  return texts;
}

std::string TextOf(const CLI::App& app, const std::string& name) {
  const std::vector<std::string> texts = TextsOf(app, name);
  return texts.empty() ? "" : texts.back();
}

std::string JoinWords(const std::vector<std::string>& words, absl::string_view before_last) {
  if (words.size() == 1) return words[0];
  return absl::StrCat(absl::StrJoin(words.begin(), words.end() - 1, ", "), before_last,
                      words.back());
}

const std::string& CheckWord(absl::string_view option, const std::string& text) {
  if (text.empty()) Wrong(absl::StrCat(option, ": the text is empty; give one"));
  if (!IsValidUtf8(text)) {
    Wrong(absl::StrCat(option, ": \"", text,
                       "\" is not UTF-8; write the name as `vmevents vms -o json` shows it"));
  }
  return text;
}

CLI::Option* AddOption(CLI::App* app, const char* names, const char* value_name, const char* help,
                       const Take& take) {
  return Add(app, names, Wrapped(help), take)
      ->type_name(value_name)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

CLI::Option* AddList(CLI::App* app, const char* names, const char* value_name, const char* help,
                     const Take& take) {
  return Add(app, names, Wrapped(help), take)
      ->type_name(value_name)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->expected(CLI::detail::expected_max_vector_size)
      ->allow_extra_args(false);
}

CLI::Option* AddWord(CLI::App* app, const char* names, const char* value_name, const char* help,
                     std::string* word) {
  return AddOption(app, names, value_name, help,
                   [=](const std::string& text) { *word = CheckWord(LongName(names), text); });
}

CLI::Option* AddArgument(CLI::App* app, const char* name, const char* help, const Take& take) {
  return Add(app, name, help, take)->type_name("");
}

CLI::Option* AddArguments(CLI::App* app, const char* name, const char* help, const Take& take) {
  return AddArgument(app, name, help, take)->expected(CLI::detail::expected_max_vector_size);
}

CLI::Option* AddFlag(CLI::App* app, const char* names, const char* help, bool* flag, bool value) {
  return app->add_flag_callback(
      names, [=] { *flag = value; }, Wrapped(help));
}

void AddPair(CLI::App* app, const char* cert_name, const char* cert_help, const char* key_name,
             TlsOptions* tls) {
  CLI::Option* cert = AddFile(app, cert_name, cert_help, &tls->cert_file);
  cert->needs(
      AddFile(app, key_name, "that certificate's private key, PEM", &tls->key_file)->needs(cert));
}

void Read(absl::string_view names, const std::string& text, std::string* value) {
  if (text.empty()) Wrong(absl::StrCat(LongName(names), ": the text is empty; give one"));
  *value = text;
}

void Read(absl::string_view names, const std::string& text, uint64_t* value) {
  if (IsNumber(text) && absl::SimpleAtoi(text, value) && *value > 0) return;
  Wrong(absl::StrCat(LongName(names), ": \"", text,
                     "\" is not a number of events; give one of at least 1"));
}

void Read(absl::string_view names, const std::string& text, absl::Duration* value) {
  const absl::StatusOr<absl::Duration> parsed = ParseDurationText(text);
  if (!parsed.ok()) Wrong(absl::StrCat(names, ": ", parsed.status().message()));
  *value = *parsed;
}

void Read(absl::string_view names, const std::string& text, int* index) {
  const std::string name = LongName(names);
  const std::vector<std::string> values = ValuesOf(name);
  const auto found = absl::c_find(values, absl::AsciiStrToLower(text));
  if (found == values.end()) {
    Wrong(absl::StrCat(name == "--output" ? "-o" : name, ": \"", text,
                       "\" is not one of its values; use ", JoinWords(values, " or "),
                       HintForValue(name, text)));
  }
  *index = static_cast<int>(found - values.begin());
}

CLI::Option* AddTime(CLI::App* app, const char* names, const char* help, const TimeBase* base,
                     std::optional<absl::Time>* time) {
  return AddOption(app, names, "TIME", help, [=](const std::string& text) {
    const absl::StatusOr<absl::Time> parsed = ParseTime(*app, *base, text);
    if (!parsed.ok()) Wrong(absl::StrCat(names, ": ", parsed.status().message()));
    *time = *parsed;
  });
}

int ParseName(const google::protobuf::EnumDescriptor& names, const std::string& option,
              const std::string& word) {
  const absl::StatusOr<int> value = ParseEnumName(names, word);
  if (value.ok()) return *value;
  // A single name helps more than the list of all, which may be long.
  const std::string hint = HintForValue(option, word);
  const absl::string_view fault = value.status().message();
  Wrong(absl::StrCat(option, ": ",
                     hint.empty() ? fault : fault.substr(0, fault.find("; use one of")), hint));
}

void AddStart(CLI::App* app, const char* from_help) {
  const auto add = [app](const char* name, const char* value, const char* help) {
    return AddOption(app, name, value, help,
                     [=](const std::string& text) { CheckWord(name, text); });
  };
  CLI::Option* from = add("--from", "START", from_help);
  CLI::Option* journal = add(
      "--journal", "ID", "the journal of that sequence number; default the server's present one");
  add("--since", "TIME", "begin with the events at or after this time")
      ->excludes(from)
      ->excludes(journal);
}

WatchStart ReadStart(const CLI::App& app, const TimeBase& base) {
  const std::string from = TextOf(app, "--from");
  const std::string journal = TextOf(app, "--journal");
  if (IsGiven(app, "--since")) {
    const absl::StatusOr<absl::Time> time = ParseTime(app, base, TextOf(app, "--since"));
    if (!time.ok()) Wrong(absl::StrCat("--since: ", time.status().message()));
    return FromTime{*time};
  }
  if (IsNumber(from)) {
    FromSequence sequence;
    if (!absl::SimpleAtoi(from, &sequence.sequence)) {
      Wrong(absl::StrCat("--from: the sequence ", from, " is larger than any sequence"));
    }
    sequence.journal_id = journal;
    return sequence;
  }
  if (!journal.empty()) {
    Wrong("--journal: names the journal of a sequence; use it with --from SEQUENCE");
  }
  if (from.empty() || from == "now") return FromNow{};
  if (from == "oldest") return FromOldest{};
  if (from == "snapshot") return FromSnapshot{};
  const absl::StatusOr<absl::Time> time = ParseTime(app, base, from);
  if (time.ok()) return FromTime{*time};
  const std::string hint = HintForValue("--from", from);
  Wrong(hint.empty() ? absl::StrCat("--from: ", time.status().message(),
                                    "; or a sequence number, oldest or snapshot")
                     : absl::StrCat("--from: ", Quote(from), " is not a start", hint));
}

void AddVmName(std::string text, v1::EventFilter* filter) {
  CheckWord("NAME", text);
  if (absl::StartsWith(text, "vm/") && text.size() > 3) text.erase(0, 3);  // as for kubectl
  filter->add_vm_names(std::move(text));
}

void AddVm(CLI::App* app, v1::EventFilter* filter) {
  AddList(app, "--vm", "GLOB", "only VMs of such names, separated by commas; may be repeated",
          [=](const std::string& text) {
            for (const absl::string_view one : absl::StrSplit(text, ',')) {
              AddVmName(CheckWord("--vm", std::string(one)), filter);
            }
          });
  AddList(
      app, "--uuid", "UUID", "only VMs of such UUIDs, separated by commas; may be repeated",
      [=](const std::string& text) {
        for (const absl::string_view uuid : absl::StrSplit(text, ',')) {
          filter->add_uuids(CheckWord("--uuid", std::string(uuid)));
          if (ParseUuid(uuid).has_value()) continue;
          Wrong(absl::StrCat("--uuid: \"", uuid,
                             "\" is not a UUID; write it as 550e8400-e29b-41d4-a716-446655440000"));
        }
      });
  AddList(app, "-l,--label", "SELECTOR",
          "only VMs with such labels, as app=web,tier!=db; may be repeated",
          [=](const std::string& text) {
            filter->add_labels(CheckWord("--label", text));
            const absl::Status selector = LabelSelector::Parse(text).status();
            if (!selector.ok()) {
              Wrong(absl::StrCat("--label: \"", text, "\" ", selector.message()));
            }
          });
}

void AddNames(CLI::App* app, v1::EventFilter* filter) {
  AddVm(app, filter);
  AddArguments(app, "NAME", "only VMs of such names or globs, or of a UUID",
               [=](const std::string& text) { AddVmName(text, filter); });
}

void AddRun(CLI::App* app, const char* help, v1::EventFilter* filter) {
  AddList(app, "--run", "RUN_ID", help, [=](const std::string& text) {
    for (const absl::string_view run : absl::StrSplit(text, ',')) {
      filter->add_run_ids(CheckWord("--run", std::string(run)));
    }
  });
}

void AddEnds(CLI::App* app, v1::EventFilter* filter) {
  AddList(app, "--source", "GLOB", "only VMs from such a source, as 'libvirt:*'; may be repeated",
          [=](const std::string& text) { filter->add_sources(CheckWord("--source", text)); });
  AddNamesOf<v1::ShutdownClass>(app, "--class", "CLASS",
                                "only ends by user, admin, crash or unknown; may be repeated",
                                [=](v1::ShutdownClass one) { filter->add_classes(one); });
  AddNamesOf<v1::ShutdownCause>(
      app, "--cause", "CAUSE",
      "only ends of this cause, as guest-panic or host-kill; may be repeated",
      [=](v1::ShutdownCause cause) { filter->add_causes(cause); });
  AddRun(app, "only this run of a VM; may be repeated", filter);
}

void AddFilter(CLI::App* app, v1::EventFilter* filter) {
  AddNamesOf<v1::EventType>(app, "--type", "TYPE",
                            "only events of this type, as started or stopped; may be repeated",
                            [=](v1::EventType type) { filter->add_types(type); });
  AddEnds(app, filter);
}

}  // namespace vmeventd::client
