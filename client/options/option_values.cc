#include "client/options/option_values.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/label_selector.h"
#include "base/quote.h"
#include "base/utf8.h"
#include "base/uuid.h"
#include "client/options/hints.h"
#include "client/output/enum_names.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

bool IsNumber(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
}

absl::Status Wrong(absl::string_view option, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(option, ": ", what));
}

// Calls `add` with each parsed name of the comma-separated `texts`.
template <typename Parse, typename Add>
absl::Status ForEachName(absl::string_view option, const std::vector<std::string>& texts,
                         Parse parse, Add add) {
  for (const std::string& text : texts) {
    for (const absl::string_view name : absl::StrSplit(text, ',')) {
      const auto value = parse(name);
      if (!value.ok()) {
        // One name is more help than the list of all, which may be long.
        const std::string hint = HintForValue(std::string(option), name);
        const absl::string_view fault = value.status().message();
        return Wrong(option, hint.empty()
                                 ? fault
                                 : absl::StrCat(fault.substr(0, fault.find("; use one of")), hint));
      }
      add(*value);
    }
  }
  return absl::OkStatus();
}

// Adds each of the comma-separated `texts`.
absl::Status ForEachText(absl::string_view option, const std::vector<std::string>& texts,
                         google::protobuf::RepeatedPtrField<std::string>* values) {
  for (const std::string& text : texts) {
    for (const absl::string_view value : absl::StrSplit(text, ',')) {
      absl::Status checked = CheckText(option, value);
      if (!checked.ok()) return checked;
      values->Add(std::string(value));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<WatchStart> ParseFrom(const std::string& from, absl::Time now, absl::TimeZone zone) {
  if (from.empty() || from == "now") return FromNow{};
  if (from == "oldest") return FromOldest{};
  if (from == "snapshot") return FromSnapshot{};
  if (IsNumber(from)) {
    uint64_t sequence = 0;
    if (absl::SimpleAtoi(from, &sequence)) return FromSequence{sequence, ""};
    return Wrong("--from", absl::StrCat("the sequence ", from, " is larger than any sequence"));
  }
  const absl::StatusOr<absl::Time> time = ParseTimeText(from, now, zone);
  if (!time.ok()) {
    const std::string hint = HintForValue("--from", from);
    if (!hint.empty()) return Wrong("--from", absl::StrCat(Quote(from), " is no start", hint));
    return Wrong("--from", absl::StrCat(time.status().message(),
                                        "; or a sequence number, oldest or snapshot"));
  }
  return FromTime{*time};
}

}  // namespace

absl::StatusOr<WatchStart> ParseWatchStart(const std::string& from, const std::string& journal,
                                           absl::Time now, absl::TimeZone zone) {
  absl::StatusOr<WatchStart> start = ParseFrom(from, now, zone);
  if (!start.ok() || journal.empty()) return start;
  auto* sequence = std::get_if<FromSequence>(&*start);
  if (sequence == nullptr) {
    return Wrong("--journal", "names the journal of a sequence; use it with --from SEQUENCE");
  }
  const absl::Status text = CheckText("--journal", journal);
  if (!text.ok()) return text;
  sequence->journal_id = journal;
  return start;
}

absl::StatusOr<std::optional<uint64_t>> ParseCount(absl::string_view option, bool given,
                                                   absl::string_view text) {
  if (!given) return std::optional<uint64_t>();
  uint64_t number = 0;
  if (!IsNumber(text) || !absl::SimpleAtoi(text, &number) || number == 0) {
    return Wrong(option,
                 absl::StrCat("\"", text, "\" is not a number of events; give one of at least 1"));
  }
  return std::optional<uint64_t>(number);
}

absl::StatusOr<std::optional<absl::Time>> ParseTimeOption(absl::string_view option, bool given,
                                                          absl::string_view text, absl::Time now,
                                                          absl::TimeZone zone) {
  if (!given) return std::optional<absl::Time>();
  const absl::StatusOr<absl::Time> time = ParseTimeText(text, now, zone);
  if (!time.ok()) return Wrong(option, time.status().message());
  return std::optional<absl::Time>(*time);
}

absl::StatusOr<v1::EventFilter> ParseFilter(const FilterTexts& texts) {
  v1::EventFilter filter;
  absl::Status status = ForEachText("--vm", texts.vms, filter.mutable_vm_names());
  if (status.ok()) status = ForEachText("--uuid", texts.uuids, filter.mutable_uuids());
  if (status.ok()) status = ForEachText("--run", texts.runs, filter.mutable_run_ids());
  if (!status.ok()) return status;
  for (const std::string& uuid : filter.uuids()) {
    if (ParseUuid(uuid).has_value()) continue;
    return Wrong("--uuid", absl::StrCat("\"", uuid,
                                        "\" is no UUID; write it as "
                                        "550e8400-e29b-41d4-a716-446655440000"));
  }
  for (const std::string& label : texts.labels) {
    status = CheckText("--label", label);
    if (!status.ok()) return status;
    const absl::StatusOr<LabelSelector> selector = LabelSelector::Parse(label);
    if (!selector.ok()) {
      return Wrong("--label", absl::StrCat("\"", label, "\" ", selector.status().message()));
    }
    filter.add_labels(label);
  }
  for (const std::string& source : texts.sources) {
    status = CheckText("--source", source);
    if (!status.ok()) return status;
    filter.add_sources(source);
  }
  status = ForEachName("--type", texts.types, ParseEventType,
                       [&filter](v1::EventType type) { filter.add_types(type); });
  if (!status.ok()) return status;
  status = ForEachName("--class", texts.classes, ParseShutdownClass,
                       [&filter](v1::ShutdownClass one) { filter.add_classes(one); });
  if (!status.ok()) return status;
  status = ForEachName("--cause", texts.causes, ParseShutdownCause,
                       [&filter](v1::ShutdownCause cause) { filter.add_causes(cause); });
  if (!status.ok()) return status;
  return filter;
}

absl::StatusOr<std::vector<v1::VmState>> ParseStates(const std::vector<std::string>& states) {
  std::vector<v1::VmState> parsed;
  const absl::Status status = ForEachName(
      "--state", states, ParseVmState, [&parsed](v1::VmState state) { parsed.push_back(state); });
  if (!status.ok()) return status;
  return parsed;
}

absl::Status CheckText(absl::string_view option, absl::string_view text) {
  if (text.empty()) return Wrong(option, "the text is empty; give one");
  if (!IsValidUtf8(text)) {
    return Wrong(option, absl::StrCat("\"", text,
                                      "\" is not UTF-8; write the name as "
                                      "`vmevents vms -o json` shows it"));
  }
  return absl::OkStatus();
}

}  // namespace vmeventd::client
