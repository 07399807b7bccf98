#include "client/options/binding.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/patterns.h"
#include "base/text.h"
#include "base/uuid.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

CLI::Option* Add(CLI::App* app, const std::string& names, const char* value_name, const char* help,
                 const Take& take) {
  const auto take_one = [take](std::string& text) {
    if (absl::EndsWith(text, absl::string_view("]\0", 2))) text.pop_back();  // as of Parse()
    take(text);
    return std::string();
  };
  return app->add_option(names, CLI::callback_t(), help)
      ->transform(CLI::Validator(take_one, ""))
      ->type_name(names[0] == '-' ? value_name : "");
}

// Digits alone, at least one.
bool IsNumber(absl::string_view text) {
  return !text.empty() && absl::c_all_of(text, absl::ascii_isdigit);
}

// `others` names what else the option takes.
absl::Time ReadTime(const OptionContext& context, const std::string& text,
                    absl::string_view others = "") {
  const absl::StatusOr<absl::Time> time = ParseTimeText(text, context.now, context.zone);
  if (!time.ok()) Wrong(absl::StrCat(time.status().message(), others));
  return *time;
}

WatchStart ReadFrom(const OptionContext& context, const std::string& text) {
  if (IsNumber(CheckText(text))) {
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

void Parse(CLI::App* app, std::vector<std::string> arguments) {
  if (!arguments.empty() && arguments[0] == "get") arguments.erase(arguments.begin());  // kubectl
  bool has_options = true;
  for (std::string& word : arguments) {
    has_options = has_options && word != "--";
    if (has_options && (word == "-la" || word == "-al")) word = "--all";  // as of ls
    // "-20", as of tail.
    if (has_options && word[0] == '-' && IsNumber(word.substr(1))) word.insert(1, "-last=");
    // CLI11 takes "[a,b]" for a list where several values may stand: a NUL, which no argument has,
    // marks it as one value.
    if (absl::StartsWith(word, "[") && absl::EndsWith(word, "]")) word.push_back('\0');
  }
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes the last first
  app->parse(std::move(arguments));
}

const std::string& CheckText(const std::string& text) {
  if (text.empty()) Wrong("the text is empty; give one");
  if (!IsValidUtf8(text)) {
    Wrong(absl::StrCat("\"", text,
                       "\" is not UTF-8; write a name as `vmevents vms -o json` shows it"));
  }
  return text;
}

CLI::Option* AddOption(CLI::App* app, const std::string& names, const char* value_name,
                       const char* help, const Take& take) {
  return Add(app, names, value_name, help, take)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

CLI::Option* AddList(CLI::App* app, const std::string& names, const char* value_name,
                     const char* help, const Take& take) {
  return Add(app, names, value_name, help, take)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->expected(CLI::detail::expected_max_vector_size)
      ->allow_extra_args(names[0] != '-');
}

void ReadText(const std::string& text, std::string* value) { *value = CheckText(text); }

void ReadText(const std::string& text, uint64_t* value) {
  if (IsNumber(text) && absl::SimpleAtoi(text, value) && *value > 0) return;
  Wrong(absl::StrCat("\"", text, "\" is not a number of events; give one of at least 1"));
}

void ReadText(const std::string& text, absl::Duration* value) {
  *value = Need(ParseDurationText(text));
}

int ReadChoice(const char* value_name, absl::string_view text) {
  absl::ConsumePrefix(&text, "=");  // "-o=json", as of kubectl
  const std::vector<std::string> values = ValuesOf(value_name);
  const auto found = absl::c_find(values, absl::AsciiStrToLower(text));
  if (found == values.end()) {
    Wrong(absl::StrCat("\"", text, "\" is not one of its values: ", absl::StrJoin(values, ", "),
                       HintForValue(value_name, text)));
  }
  return static_cast<int>(found - values.begin());
}

void AddPair(CLI::App* app, const char* cert_name, const char* cert_help, const char* key_name,
             TlsOptions* tls) {
  CLI::Option* cert = AddFile(app, cert_name, cert_help, &tls->cert_file);
  cert->needs(
      AddFile(app, key_name, "that certificate's private key, PEM", &tls->key_file)->needs(cert));
}

CLI::Option* AddTime(CLI::App* app, const char* names, const char* help,
                     const OptionContext* context, std::optional<absl::Time>* time) {
  return AddOption(app, names, "TIME", help,
                   [=](const std::string& text) { *time = ReadTime(*context, text); });
}

void AddNamesOf(CLI::App* app, const char* option, const char* value_name, const char* help,
                const google::protobuf::EnumDescriptor* names,
                const std::function<void(int value)>& add) {
  const auto take = [=](const std::string& word) {
    const absl::StatusOr<int> value = ParseEnumName(*names, word);
    if (value.ok()) return add(*value);
    // A single name helps more than the list of all, which may be long.
    const std::string hint = HintForValue(value_name, word);
    const absl::string_view fault = value.status().message();
    Wrong(absl::StrCat(hint.empty() ? fault : fault.substr(0, fault.find("; use one of")), hint));
  };
  AddList(app, option, value_name, help, take)->delimiter(',');
}

void AddVmName(std::string text, v1::EventFilter* filter) {
  CheckText(text);
  if (absl::StartsWith(text, "vm/") && text.size() > 3) text.erase(0, 3);  // as for kubectl
  filter->add_vm_names(std::move(text));
}

void AddVm(CLI::App* app, v1::EventFilter* filter) {
  AddList(app, "--vm", "GLOB", "only VMs of such names, separated by commas; may be repeated",
          [=](const std::string& text) {
            constexpr size_t kMaxName = 255;  // of a file, and so of a VM; longer texts are lists
            const bool list = absl::StrContains(CheckText(text), ',');
            if (!list || text.size() <= kMaxName) AddVmName(text, filter);
            if (!list) return;
            for (const absl::string_view one : absl::StrSplit(text, ',', absl::SkipEmpty())) {
              AddVmName(std::string(one), filter);
            }
          });
  AddList(app, "--uuid", "UUID", "only VMs of such UUIDs, separated by commas; may be repeated",
          [=](const std::string& uuid) {
            filter->add_uuids(CheckText(uuid));
            if (ParseUuid(uuid).has_value()) return;
            Wrong(absl::StrCat("\"", uuid,
                               "\" is not a UUID; write it as "
                               "550e8400-e29b-41d4-a716-446655440000"));
          })
      ->delimiter(',');
  AddList(app, "-l,--label", "SELECTOR",
          "only VMs with such labels, as app=web,tier!=db; may be repeated",
          [=](const std::string& text) {
            filter->add_labels(CheckText(text));
            const absl::Status selector = LabelSelector::Parse(text).status();
            if (!selector.ok()) Wrong(absl::StrCat("\"", text, "\" ", selector.message()));
          });
}

void AddNames(CLI::App* app, v1::EventFilter* filter) {
  AddVm(app, filter);
  AddList(app, "NAME", "", "only VMs of such names or globs, or of a UUID",
          [=](const std::string& text) { AddVmName(text, filter); });
}

void AddRun(CLI::App* app, v1::EventFilter* filter) {
  AddList(app, "--run", "RUN_ID", "only this run of a VM; may be repeated",
          [=](const std::string& run) { filter->add_run_ids(CheckText(run)); })
      ->delimiter(',');
}

void AddEnds(CLI::App* app, v1::EventFilter* filter) {
  AddList(app, "--source", "GLOB", "only VMs from such a source, as 'libvirt:*'; may be repeated",
          [=](const std::string& text) { filter->add_sources(CheckText(text)); });
  AddNamesOf(app, "--class", "CLASS", "only ends by user, admin, crash or unknown; may be repeated",
             v1::ShutdownClass_descriptor(),
             [=](int value) { filter->mutable_classes()->Add(value); });
  AddNamesOf(app, "--cause", "CAUSE",
             "only ends of this cause, as guest-panic or host-kill; may be repeated",
             v1::ShutdownCause_descriptor(),
             [=](int value) { filter->mutable_causes()->Add(value); });
  AddRun(app, filter);
}

void AddFilter(CLI::App* app, v1::EventFilter* filter) {
  AddNamesOf(app, "--type", "TYPE",
             "only events of this type, as started or stopped; may be repeated",
             v1::EventType_descriptor(), [=](int value) { filter->mutable_types()->Add(value); });
  AddEnds(app, filter);
}

void AddStart(CLI::App* app, const char* from_help, const OptionContext* context,
              WatchStart* start) {
  const auto read = [=](const std::string& text) { *start = ReadFrom(*context, text); };
  CLI::Option* from = AddOption(app, "--from", "START", from_help, read);
  // CLI11 takes the options in the order of their definitions: --from is read.
  CLI::Option* journal =
      AddOption(app, "--journal", "ID",
                "the journal of that sequence number; default the server's present one",
                [=](const std::string& text) {
                  auto* sequence = std::get_if<FromSequence>(start);
                  if (sequence == nullptr) Wrong("needs --from SEQUENCE, whose journal it names");
                  sequence->journal_id = CheckText(text);
                });
  AddOption(app, "--since", "TIME", "begin with the events at or after this time",
            [=](const std::string& text) { *start = FromTime{ReadTime(*context, text)}; })
      ->excludes(from)
      ->excludes(journal);
}

}  // namespace vmeventd::client
