#include "server/rpc/request_checks.h"

#include <algorithm>
#include <initializer_list>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/patterns.h"
#include "base/text.h"
#include "base/uuid.h"
#include "server/events/event_codec.h"
#include "server/events/event_matcher.h"

namespace vmeventd {
namespace {

using Texts = google::protobuf::RepeatedPtrField<std::string>;

constexpr int64_t kFirstSecond = -62135596800;         // 0001-01-01T00:00:00Z
constexpr int64_t kLastSecond = 253402300799;          // 9999-12-31T23:59:59Z
constexpr int64_t kMaxDurationSeconds = 315576000000;  // limit in duration.proto
constexpr int32_t kMaxNanos = 999999999;

absl::Status Invalid(const std::string& field, const std::string& value, const std::string& rule) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", value, " ", rule));
}

absl::Status FirstError(std::initializer_list<absl::Status> checks) {
  for (const absl::Status& status : checks) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// Checks a value that names something and may be empty.
absl::Status CheckLength(const std::string& field, const std::string& value, size_t max_bytes) {
  if (value.size() <= max_bytes) return absl::OkStatus();
  return Invalid(field, Quote(value),
                 absl::StrCat("is too long, at most ", max_bytes, " bytes are allowed"));
}

absl::Status CheckName(const std::string& field, const std::string& name) {
  if (name.empty()) return Invalid(field, "\"\"", "must not be empty");
  return CheckLength(field, name, kMaxNameBytes);
}

// Checks the number of entries, then each of them by `check`, which gets its field.
template <typename Entries, typename Check>
absl::Status CheckEach(const std::string& field, const Entries& entries, int most,
                       const Check& check) {
  if (entries.size() > most) {
    return Invalid(field, absl::StrCat(entries.size(), " entries"),
                   absl::StrCat("are too many, at most ", most, " are allowed"));
  }
  for (int i = 0; i < entries.size(); ++i) {
    absl::Status status = check(absl::StrCat(field, "[", i, "]"), entries[i]);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckGlobs(const std::string& field, const Texts& names, int max_globs) {
  const auto globs = std::count_if(names.begin(), names.end(), IsGlob);
  if (globs <= max_globs) return absl::OkStatus();
  return Invalid(field, absl::StrCat(globs, " entries with a wildcard"),
                 absl::StrCat("are too many, at most ", max_globs, " are allowed"));
}

absl::Status CheckNames(const std::string& field, const Texts& names, int max_globs = kMaxGlobs) {
  absl::Status status = CheckEach(field, names, kMaxListEntries, CheckName);
  if (!status.ok()) return status;
  if (status = CheckGlobs(field, names, max_globs); !status.ok()) return status;
  size_t bytes = 0;
  for (const std::string& name : names) bytes += name.size();
  if (bytes > kMaxPatternBytes) {
    return Invalid(field, absl::StrCat(bytes, " bytes together"),
                   absl::StrCat("are too long, at most ", kMaxPatternBytes, " are allowed"));
  }
  return absl::OkStatus();
}

absl::Status CheckUuid(const std::string& field, const std::string& text) {
  if (ParseUuid(text).has_value()) return absl::OkStatus();
  return Invalid(field, Quote(text), "is no UUID: write 550e8400-e29b-41d4-a716-446655440000");
}

absl::Status CheckLabel(const std::string& field, const std::string& label) {
  absl::Status status = CheckLength(field, label, kMaxNameBytes);
  if (!status.ok()) return status;
  const absl::StatusOr<LabelSelector> selector = LabelSelector::Parse(label);
  if (selector.ok()) return absl::OkStatus();
  return Invalid(field, Quote(label), std::string(selector.status().message()));
}

// `is_valid` is the enum's generated check; 0 is UNSPECIFIED in every enum.
absl::Status CheckEnums(const std::string& field,
                        const google::protobuf::RepeatedField<int>& values, bool (*is_valid)(int),
                        const std::string& type) {
  return CheckEach(field, values, kMaxListEntries, [&](const std::string& element, int value) {
    if (value == 0) return Invalid(element, "0", "(UNSPECIFIED) is not allowed");
    if (is_valid(value)) return absl::OkStatus();
    return Invalid(element, absl::StrCat(value), absl::StrCat("is not a known ", type));
  });
}

absl::Status CheckFilter(const std::string& field, const v1::EventFilter& filter) {
  return FirstError(
      {CheckNames(field + ".vm_names", filter.vm_names()),
       CheckEnums(field + ".types", filter.types(), v1::EventType_IsValid, "EventType"),
       CheckEnums(field + ".classes", filter.classes(), v1::ShutdownClass_IsValid, "ShutdownClass"),
       CheckNames(field + ".sources", filter.sources()),
       CheckEach(field + ".uuids", filter.uuids(), kMaxListEntries, CheckUuid),
       CheckEach(field + ".labels", filter.labels(), kMaxSelectors, CheckLabel),
       CheckEnums(field + ".causes", filter.causes(), v1::ShutdownCause_IsValid, "ShutdownCause"),
       // A wildcard in the id of a run is none.
       CheckNames(field + ".run_ids", filter.run_ids(), kMaxListEntries)});
}

// Checks `filter` and `any_of`, whose patterns with a wildcard count together.
template <typename Request>
absl::Status CheckFilters(const Request& request) {
  absl::Status status = CheckFilter("filter", request.filter());
  if (status.ok()) status = CheckEach("any_of", request.any_of(), kMaxAnyOf, CheckFilter);
  if (!status.ok()) return status;
  Texts names = request.filter().vm_names();
  Texts sources = request.filter().sources();
  for (const v1::EventFilter& filter : request.any_of()) {
    names.MergeFrom(filter.vm_names());
    sources.MergeFrom(filter.sources());
  }
  return FirstError({CheckGlobs("any_of.vm_names", names, kMaxGlobs),
                     CheckGlobs("any_of.sources", sources, kMaxGlobs)});
}

// Checks what names a VM: by its name, its UUID or both.
absl::Status CheckVm(const std::string& field, const std::string& name, const std::string& run_id,
                     const std::string& uuid) {
  absl::Status status = absl::OkStatus();
  if (!name.empty() || uuid.empty()) status = CheckName(field, name);
  if (status.ok() && !uuid.empty()) status = CheckUuid("uuid", uuid);
  return status.ok() ? CheckLength("run_id", run_id, kMaxNameBytes) : status;
}

absl::StatusOr<absl::Time> CheckTime(const std::string& field,
                                     const google::protobuf::Timestamp& time) {
  if (time.seconds() < kFirstSecond || time.seconds() > kLastSecond) {
    return Invalid(field + ".seconds", absl::StrCat(time.seconds()),
                   "is not in the years 0001 to 9999");
  }
  if (time.nanos() < 0 || time.nanos() > kMaxNanos) {
    return Invalid(field + ".nanos", absl::StrCat(time.nanos()),
                   absl::StrCat("is not in 0 to ", kMaxNanos));
  }
  return FromTimestamp(time);
}

std::string ValueOf(const google::protobuf::Duration& duration) {
  return absl::StrCat(duration.seconds(), " s ", duration.nanos(), " ns");
}

absl::StatusOr<absl::Duration> CheckDuration(const std::string& field,
                                             const google::protobuf::Duration& duration) {
  if (duration.seconds() < -kMaxDurationSeconds || duration.seconds() > kMaxDurationSeconds ||
      duration.nanos() < -kMaxNanos || duration.nanos() > kMaxNanos ||
      (duration.seconds() > 0 && duration.nanos() < 0) ||
      (duration.seconds() < 0 && duration.nanos() > 0)) {
    return Invalid(field, ValueOf(duration),
                   "is not a valid Duration: at most 315576000000 s either way, nanos within "
                   "999999999 either way and of the same sign");
  }
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

absl::StatusOr<std::optional<absl::Duration>> CheckProgressInterval(
    const v1::WatchEventsRequest& request) {
  if (!request.has_progress_interval()) return std::nullopt;
  const absl::StatusOr<absl::Duration> interval =
      CheckDuration("progress_interval", request.progress_interval());
  if (!interval.ok()) return interval.status();
  if (*interval == absl::ZeroDuration()) return std::nullopt;
  if (*interval < absl::Seconds(1)) {
    return Invalid("progress_interval", ValueOf(request.progress_interval()),
                   "must be 0 (the default) or at least 1 s");
  }
  return *interval;
}

// Returns whether a UTF-8 text contains a control character (C0, DEL, C1) or a line separator.
bool HoldsControl(absl::string_view text) {
  for (; !text.empty(); text.remove_prefix(1)) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(text[0]))) return true;
    const auto next = text.size() < 2 ? 0 : static_cast<unsigned char>(text[1]);
    if (text[0] == '\xc2' && next >= 0x80 && next <= 0x9f) return true;  // C1, for example U+0085
    if (absl::StartsWith(text, "\u2028") || absl::StartsWith(text, "\u2029")) return true;
  }
  return false;
}

// Checks a text for people. Line breaks and other control characters could forge log lines.
absl::Status CheckText(const std::string& field, const std::string& text, size_t max_bytes) {
  if (absl::StripAsciiWhitespace(text).empty()) {
    return Invalid(field, Quote(text), "must not be empty: people read it");
  }
  if (text.size() > max_bytes) {
    return Invalid(field, absl::StrCat(text.size(), " bytes"),
                   absl::StrCat("are too long, at most ", max_bytes, " bytes are allowed"));
  }
  if (HoldsControl(text)) {
    return Invalid(field, Quote(text), "must not contain line breaks or other control characters");
  }
  return absl::OkStatus();
}

absl::StatusOr<absl::Duration> CheckTtl(const v1::DeclareIntentRequest& request) {
  const absl::StatusOr<absl::Duration> ttl = CheckDuration("ttl", request.ttl());
  if (!ttl.ok()) return ttl.status();
  if (*ttl == absl::ZeroDuration()) return kDefaultIntentTtl;
  if (*ttl < absl::ZeroDuration() || *ttl > kMaxIntentTtl) {
    return Invalid("ttl", ValueOf(request.ttl()),
                   "is not in 0 (the default, 10 minutes) to 24 hours");
  }
  return *ttl;
}

absl::StatusOr<WatchStart> CheckStart(const v1::WatchEventsRequest& request) {
  using Case = v1::WatchEventsRequest::StartCase;
  if (request.start_case() == Case::kAfterSequence) {
    if (request.journal_id().empty()) {
      return Invalid("journal_id", "\"\"",
                     "is required with after_sequence: it names the journal of the sequence");
    }
    return AfterSequence{request.after_sequence(), request.journal_id()};
  }
  if (!request.journal_id().empty()) {
    return Invalid("journal_id", Quote(request.journal_id()),
                   "is allowed only with after_sequence");
  }
  switch (request.start_case()) {
    case Case::kSince: {
      const absl::StatusOr<absl::Time> since = CheckTime("since", request.since());
      if (!since.ok()) return since.status();
      return Since{*since};
    }
    case Case::kFromOldest:
      if (!request.from_oldest()) {
        return Invalid("from_oldest", "false", "must be true or not set");
      }
      return FromOldest{};
    case Case::kSnapshot:
      if (!request.snapshot()) return Invalid("snapshot", "false", "must be true or not set");
      return FromSnapshot{};
    default:
      return FromNow{};
  }
}

absl::StatusOr<int> CheckPageSize(int32_t page_size) {
  if (page_size < 0) {
    return Invalid("page_size", absl::StrCat(page_size),
                   absl::StrCat("must be 0 (the default, ", kDefaultPageSize, ") or more"));
  }
  return page_size == 0 ? kDefaultPageSize : std::min(page_size, kMaxPageSize);
}

}  // namespace

absl::StatusOr<WatchRequest> CheckWatchEvents(const v1::WatchEventsRequest& request) {
  absl::Status status = CheckFilters(request);
  if (status.ok()) status = CheckLength("journal_id", request.journal_id(), kMaxNameBytes);
  if (!status.ok()) return status;
  const absl::StatusOr<WatchStart> start = CheckStart(request);
  if (!start.ok()) return start.status();
  const absl::StatusOr<std::optional<absl::Duration>> interval = CheckProgressInterval(request);
  if (!interval.ok()) return interval.status();
  return WatchRequest{*start, *interval, request.durable_only()};
}

absl::StatusOr<StreamPage> CheckListStreams(const v1::ListStreamsRequest& request) {
  const absl::StatusOr<int> page_size = CheckPageSize(request.page_size());
  if (!page_size.ok()) return page_size.status();
  StreamPage page{.size = *page_size};
  if (!request.page_token().empty() &&
      !absl::SimpleHexAtoi(request.page_token(), &page.after.emplace())) {
    return Invalid("page_token", Quote(request.page_token()), "is not a token of ListStreams");
  }
  return page;
}

absl::StatusOr<ListBounds> CheckListEvents(const v1::ListEventsRequest& request) {
  if (absl::Status status = CheckFilters(request); !status.ok()) return status;
  ListBounds bounds;
  if (request.has_start_time()) {
    const absl::StatusOr<absl::Time> start = CheckTime("start_time", request.start_time());
    if (!start.ok()) return start.status();
    bounds.start = *start;
  }
  if (request.has_end_time()) {
    const absl::StatusOr<absl::Time> end = CheckTime("end_time", request.end_time());
    if (!end.ok()) return end.status();
    bounds.end = *end;
  }
  if (bounds.start >= bounds.end) {
    return Invalid(
        "start_time", absl::FormatTime(absl::RFC3339_full, bounds.start, absl::UTCTimeZone()),
        absl::StrCat("must be before end_time, ",
                     absl::FormatTime(absl::RFC3339_full, bounds.end, absl::UTCTimeZone())));
  }
  const absl::StatusOr<int> page_size = CheckPageSize(request.page_size());
  if (!page_size.ok()) return page_size.status();
  bounds.page_size = *page_size;
  absl::Status status = CheckLength("page_token", request.page_token(), kMaxPageTokenBytes);
  if (!status.ok()) return status;
  return bounds;
}

absl::StatusOr<int> CheckListVms(const v1::ListVmsRequest& request) {
  const absl::Status status =
      FirstError({CheckNames("vm_names", request.vm_names()),
                  CheckEnums("states", request.states(), v1::VmState_IsValid, "VmState"),
                  CheckNames("sources", request.sources()),
                  CheckEach("uuids", request.uuids(), kMaxListEntries, CheckUuid),
                  CheckEach("labels", request.labels(), kMaxSelectors, CheckLabel),
                  CheckLength("page_token", request.page_token(), kMaxPageTokenBytes)});
  if (!status.ok()) return status;
  return CheckPageSize(request.page_size());
}

absl::StatusOr<IntentRequest> CheckDeclareIntent(const v1::DeclareIntentRequest& request) {
  absl::Status status = CheckVm("vm_name", request.vm_name(), request.run_id(), request.uuid());
  if (status.ok()) status = CheckText("actor", request.actor(), kMaxActorBytes);
  if (status.ok()) status = CheckText("reason", request.reason(), kMaxReasonBytes);
  if (!status.ok()) return status;
  const absl::StatusOr<absl::Duration> ttl = CheckTtl(request);
  if (!ttl.ok()) return ttl.status();
  if (!request.request_id().empty()) {
    status = CheckText("request_id", request.request_id(), kMaxRequestIdBytes);
    if (!status.ok()) return status;
  }
  return IntentRequest{.vm_name = request.vm_name(),
                       .run_id = request.run_id(),
                       .intent_id = "",
                       .actor = request.actor(),
                       .reason = request.reason(),
                       .ttl = *ttl,
                       .request_id = request.request_id(),
                       .uuid = ParseUuid(request.uuid())};
}

absl::Status CheckRequestProgress(const v1::RequestProgressRequest& request) {
  return CheckName("stream_id", request.stream_id());
}

absl::Status CheckWithdrawIntent(const v1::WithdrawIntentRequest& request) {
  return CheckName("intent_id", request.intent_id());
}

absl::Status CheckGetVm(const v1::GetVmRequest& request) {
  return CheckVm("name", request.name(), request.run_id(), request.uuid());
}

}  // namespace vmeventd
