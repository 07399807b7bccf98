#include "client/options/option_reader.h"

#include <algorithm>
#include <array>

#include "CLI/CLI.hpp"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/patterns.h"
#include "base/text.h"
#include "base/uuid.h"
#include "client/output/event_text.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

bool IsNumber(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
}

// Returns whether it looks like the rest of a time that stands without quotes: 12:00:00, hour, ago.
bool IsPartOfTime(absl::string_view word) {
  static constexpr std::array kWords = {"ago", "s",       "sec",  "seconds", "m",
                                        "min", "minutes", "h",    "hour",    "hours",
                                        "d",   "day",     "days", "week",    "weeks"};
  if (std::find(kWords.begin(), kWords.end(), word) != kWords.end()) return true;
  return absl::StrContains(word, ':') && std::all_of(word.begin(), word.end(), [](char c) {
           return absl::ascii_isdigit(c) || c == ':' || c == '.';
         });
}

}  // namespace

OptionReader::OptionReader(const CLI::App& program, const OptionContext& context)
    : context_(context), apps_({&program}) {
  for (auto below = program.get_subcommands(); !below.empty();
       below = below.front()->get_subcommands()) {
    apps_.insert(apps_.begin(), below.front());
  }
  if (apps_.size() > 1) command_ = apps_[apps_.size() - 2]->get_name();
  if (apps_.size() > 2) action_ = apps_.front()->get_name();
  if (Flag("--utc")) context_.zone = absl::UTCTimeZone();
}

bool OptionReader::Check(const absl::Status& status) {
  status_.Update(status);
  return status.ok();
}

const CLI::Option* OptionReader::Find(const std::string& name) const {
  for (const CLI::App* app : apps_) {
    if (const CLI::Option* option = app->get_option_no_throw(name)) return option;
  }
  return nullptr;
}

bool OptionReader::Flag(const std::string& name) {
  try {
    return Has(name) && Find(name)->as<bool>();
  } catch (const CLI::ConversionError& error) {  // such as --wait=maybe
    Wrong(error.what());
    return false;
  }
}

std::vector<std::string> OptionReader::Texts(const std::string& name) const {
  const CLI::Option* option = Find(name);
  std::vector<std::string> texts =
      option == nullptr ? std::vector<std::string>() : option->results();
  for (std::string& text : texts) {
    // See ParseCommandLine.
    if (absl::StartsWith(text, "[") && absl::EndsWith(text, absl::string_view("]\0", 2))) {
      text.pop_back();
    }
  }
  return texts;
}

std::string OptionReader::Text(const std::string& name) const {
  const std::vector<std::string> texts = Texts(name);
  return texts.empty() ? "" : texts.back();
}

std::string OptionReader::TextWith(const std::string& name, absl::string_view cure) {
  if (Has(name) && Text(name).empty()) {
    Wrong(absl::StrCat(name, ": the text is empty", cure.empty() ? "" : "; ", cure));
  }
  return Text(name);
}

bool OptionReader::IsWord(absl::string_view option, absl::string_view text) {
  if (text.empty()) {
    Wrong(absl::StrCat(option, ": the text is empty; give one"));
  } else if (!IsValidUtf8(text)) {
    Wrong(absl::StrCat(option, ": \"", text,
                       "\" is not UTF-8; write the name as `vmevents vms -o json` shows it"));
  }
  return !text.empty() && IsValidUtf8(text);
}

std::string OptionReader::Word(const std::string& name) {
  if (Has(name)) IsWord(name, Text(name));
  return Text(name);
}

std::optional<uint64_t> OptionReader::Count(const std::string& name) {
  if (!Has(name)) return std::nullopt;
  const std::string text = Text(name);
  uint64_t number = 0;
  if (!IsNumber(text) || !absl::SimpleAtoi(text, &number) || number == 0) {
    Wrong(absl::StrCat(name, ": \"", text, "\" is not a number of events; give one of at least 1"));
  }
  return number;
}

std::optional<uint64_t> OptionReader::CountTo(const std::string& name, uint64_t most,
                                              absl::string_view cure) {
  const std::optional<uint64_t> count = Count(name);
  if (count && *count > most) {
    Wrong(absl::StrCat(name, ": ", *count, " is too large; give at most ", most, cure));
  }
  return count;
}

std::optional<absl::Time> OptionReader::Time(const std::string& name) {
  if (!Has(name)) return std::nullopt;
  const auto time = ParseTimeText(Text(name), context_.now, context_.zone);
  if (time.ok()) return *time;
  Wrong(absl::StrCat(name, ": ", time.status().message()));
  return std::nullopt;
}

void OptionReader::Duration(const std::string& name, absl::Duration* duration) {
  if (!Has(name)) return;
  const absl::StatusOr<absl::Duration> parsed = ParseDurationText(Text(name));
  if (!parsed.ok()) return Wrong(absl::StrCat(name, ": ", parsed.status().message()));
  *duration = *parsed;
}

void OptionReader::Choice(const std::string& name, absl::string_view noun, size_t* index) {
  if (!Has(name)) return;
  const std::string text = Text(name);
  const std::vector<std::string> values = ValuesOf(name);
  const auto found = std::find(values.begin(), values.end(), text);
  if (found != values.end()) {
    *index = static_cast<size_t>(found - values.begin());
    return;
  }
  Wrong(absl::StrCat(name == "--output" ? "-o" : name, ": \"", text, "\" is not ", noun, "; use ",
                     absl::StrJoin(values.begin(), values.end() - 1, ", "), " or ", values.back(),
                     HintForValue(name, text)));
}

TlsOptions OptionReader::Tls() const {
  return {Text("--tls-ca"), Text("--tls-cert"), Text("--tls-key"), Text("--tls-server-name")};
}

WatchStart OptionReader::From() {
  const std::string from = Text("--from");
  if (from.empty() || from == "now") return FromNow{};
  if (from == "oldest") return FromOldest{};
  if (from == "snapshot") return FromSnapshot{};
  if (IsNumber(from)) {
    FromSequence sequence;
    if (!absl::SimpleAtoi(from, &sequence.sequence)) {
      Wrong(absl::StrCat("--from: the sequence ", from, " is larger than any sequence"));
    }
    return sequence;
  }
  const absl::StatusOr<absl::Time> time = ParseTimeText(from, context_.now, context_.zone);
  if (time.ok()) return FromTime{*time};
  const std::string hint = HintForValue("--from", from);
  Wrong(hint.empty() ? absl::StrCat("--from: ", time.status().message(),
                                    "; or a sequence number, oldest or snapshot")
                     : absl::StrCat("--from: ", Quote(from), " is no start", hint));
  return FromNow{};
}

WatchStart OptionReader::Start() {
  TextWith("--from", "give a sequence number, oldest, snapshot or a time");
  TextWith("--journal", "`vmevents info` shows the journal's id");
  if (Has("--since")) {
    if (Has("--from") || Has("--journal")) {
      Wrong("--since: --from says where to begin as well; use one of them");
    }
    return FromTime{Time("--since").value_or(context_.now)};
  }
  WatchStart start = From();
  if (!Has("--journal")) return start;
  if (auto* sequence = std::get_if<FromSequence>(&start)) {
    sequence->journal_id = Word("--journal");
  } else {
    Wrong("--journal: names the journal of a sequence; use it with --from SEQUENCE");
  }
  return start;
}

std::vector<std::string> OptionReader::Words(const std::string& name) {
  std::vector<std::string> words;
  for (const std::string& text : Texts(name)) {
    for (const absl::string_view word : absl::StrSplit(text, ',')) words.emplace_back(word);
  }
  return words;
}

std::vector<std::string> OptionReader::VmNames(const std::string& name) const {
  constexpr size_t kMaxName = 255;  // of a file, and so of a VM; longer texts are lists
  std::vector<std::string> names;
  for (const std::string& text : Texts(name)) {
    const bool list = absl::StrContains(text, ',');
    if (!list || text.size() <= kMaxName) names.push_back(text);
    if (!list) continue;
    for (const absl::string_view one : absl::StrSplit(text, ',', absl::SkipEmpty())) {
      names.emplace_back(one);
    }
  }
  return names;
}

namespace {

// The name of the type that tables show as `word`; otherwise the word.
template <typename Enum>
std::string FullName(const std::string& word) {
  if constexpr (std::is_same_v<Enum, v1::EventType>) {
    const std::string upper = absl::StrReplaceAll(absl::AsciiStrToUpper(word), {{"-", "_"}});
    for (int type = 1; type <= v1::EventType_MAX; ++type) {  // 0 is unspecified
      const auto one = static_cast<v1::EventType>(type);
      if (TableName(one) == upper) return ShortName(one);
    }
  }
  return word;
}

}  // namespace

template <typename Enum>
std::vector<Enum> OptionReader::Names(const std::string& name) {
  std::vector<Enum> values;
  for (const std::string& word : Words(name)) {
    const auto value =
        ParseEnumName(*google::protobuf::GetEnumDescriptor<Enum>(), FullName<Enum>(word));
    if (value.ok()) {
      values.push_back(static_cast<Enum>(*value));
      continue;
    }
    // A single name helps more than the list of all, which may be long.
    const std::string hint = HintForValue(name, word);
    const absl::string_view fault = value.status().message();
    Wrong(absl::StrCat(name, ": ",
                       hint.empty() ? fault : fault.substr(0, fault.find("; use one of")), hint));
  }
  return values;
}

v1::EventFilter OptionReader::Filter() {
  const std::vector<std::string> names = Texts("NAME");
  for (const std::string& time : {Text("--since"), Text("--until"), Text("--from")}) {
    if (time.empty() || names.empty() || !IsPartOfTime(names[0])) continue;
    Wrong(absl::StrCat("\"", names[0], "\" stands beside a time; put the time into quotes: '", time,
                       " ", absl::StrJoin(names, " "), "'; a VM of that name is chosen with --vm"));
  }
  v1::EventFilter filter;
  const auto add = [this](const std::string& name, const std::vector<std::string>& words,
                          google::protobuf::RepeatedPtrField<std::string>* values) {
    for (const std::string& word : words) {
      if (IsWord(name, word)) values->Add(std::string(word));
    }
  };
  add("--vm", VmNames("--vm"), filter.mutable_vm_names());
  add("--vm", VmNames("NAME"), filter.mutable_vm_names());
  add("--uuid", Words("--uuid"), filter.mutable_uuids());
  add("--run", Words("--run"), filter.mutable_run_ids());
  add("--label", Texts("--label"), filter.mutable_labels());
  add("--source", Texts("--source"), filter.mutable_sources());
  for (const std::string& uuid : filter.uuids()) {
    if (ParseUuid(uuid).has_value()) continue;
    Wrong(absl::StrCat("--uuid: \"", uuid,
                       "\" is no UUID; write it as 550e8400-e29b-41d4-a716-446655440000"));
  }
  for (const std::string& label : filter.labels()) {
    const absl::StatusOr<LabelSelector> selector = LabelSelector::Parse(label);
    if (selector.ok()) continue;
    Wrong(absl::StrCat("--label: \"", label, "\" ", selector.status().message()));
  }
  for (const v1::EventType type : Names<v1::EventType>("--type")) filter.add_types(type);
  for (const v1::ShutdownClass one : Names<v1::ShutdownClass>("--class")) filter.add_classes(one);
  for (const v1::ShutdownCause cause : Names<v1::ShutdownCause>("--cause"))
    filter.add_causes(cause);
  return filter;
}

std::vector<v1::VmState> OptionReader::States() { return Names<v1::VmState>("--state"); }

}  // namespace vmeventd::client
