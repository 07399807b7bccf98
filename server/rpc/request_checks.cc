#include "server/rpc/request_checks.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/duration_text.h"
#include "base/glob.h"
#include "base/label_selector.h"
#include "base/quote.h"
#include "base/uuid.h"
#include "server/eventlog/stream_start.h"
#include "server/events/event_matcher.h"
#include "watcher/core/proto_time.h"

namespace vmeventd {
namespace {

using Texts = google::protobuf::RepeatedPtrField<std::string>;

constexpr int64_t kFirstSecond = -62135596800;         // 0001-01-01T00:00:00Z
constexpr int64_t kLastSecond = 253402300799;          // 9999-12-31T23:59:59Z
constexpr int64_t kMaxDurationSeconds = 315576000000;  // limit in duration.proto
constexpr int32_t kMaxNanos = 999999999;

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

// Checks the fields of one request, and stores the first error.
class Checker {
 public:
  const absl::Status& status() const { return status_; }
  bool ok() const { return status_.ok(); }
  // Returns `value`, or the error.
  template <typename Value>
  absl::StatusOr<Value> Result(Value value) const {
    if (!ok()) return status_;
    return value;
  }

  // Stores the error of a field that breaks `rule`.
  void Refuse(const std::string& field, const std::string& value, const std::string& rule) {
    status_.Update(absl::InvalidArgumentError(absl::StrCat(field, ": ", value, " ", rule)));
  }

  // Checks a value that names something and may be empty.
  void Length(const std::string& field, const std::string& value, size_t max_bytes) {
    if (value.size() <= max_bytes) return;
    Refuse(field, Quote(value),
           absl::StrCat("is too long, at most ", max_bytes, " bytes are allowed"));
  }
  void Name(const std::string& field, const std::string& name) {
    if (name.empty()) Refuse(field, "\"\"", "must not be empty");
    Length(field, name, kMaxNameBytes);
  }
  void Uuid(const std::string& field, const std::string& text) {
    if (ParseUuid(text).has_value()) return;
    Refuse(field, Quote(text), "is not a UUID: write 550e8400-e29b-41d4-a716-446655440000");
  }
  void Label(const std::string& field, const std::string& label) {
    Length(field, label, kMaxNameBytes);
    const absl::StatusOr<LabelSelector> selector = LabelSelector::Parse(label);
    if (!selector.ok()) Refuse(field, Quote(label), std::string(selector.status().message()));
  }
  // Checks a text for people. Line breaks and other control characters could forge log lines.
  void Text(const std::string& field, const std::string& text, size_t max_bytes) {
    if (absl::StripAsciiWhitespace(text).empty()) {
      Refuse(field, Quote(text), "must not be empty: it is shown to people");
    } else if (AtMost(field, text.size(), " bytes", max_bytes) && HoldsControl(text)) {
      Refuse(field, Quote(text), "must not contain line breaks or other control characters");
    }
  }

  // Refuses more than `max` of what `unit` names.
  bool AtMost(const std::string& field, size_t value, const char* unit, size_t max) {
    if (value <= max) return true;
    Refuse(field, absl::StrCat(value, unit),
           absl::StrCat("are too many, at most ", max, " are allowed"));
    return false;
  }
  // Checks the number of entries, then each of them by `check`, which gets its field.
  template <typename Entries, typename Check>
  void Each(const std::string& field, const Entries& entries, size_t max, const Check& check) {
    if (!AtMost(field, static_cast<size_t>(entries.size()), " entries", max)) return;
    for (int i = 0; i < entries.size(); ++i) check(absl::StrCat(field, "[", i, "]"), entries[i]);
  }
  void Globs(const std::string& field, const Texts& names, size_t max_globs) {
    const auto globs = std::count_if(names.begin(), names.end(), IsGlob);
    AtMost(field, static_cast<size_t>(globs), " entries with a wildcard", max_globs);
  }
  void Names(const std::string& field, const Texts& names, size_t max_globs = kMaxGlobs) {
    Each(field, names, kMaxListEntries,
         [this](const auto& at, const auto& name) { Name(at, name); });
    Globs(field, names, max_globs);
    size_t bytes = 0;
    for (const std::string& name : names) bytes += name.size();
    AtMost(field, bytes, " bytes together", kMaxPatternBytes);
  }
  void Uuids(const std::string& field, const Texts& uuids) {
    Each(field, uuids, kMaxListEntries,
         [this](const auto& at, const auto& uuid) { Uuid(at, uuid); });
  }
  void Labels(const std::string& field, const Texts& labels) {
    Each(field, labels, kMaxSelectors, [this](const auto& at, const auto& one) { Label(at, one); });
  }
  // `is_valid` is the enum's generated check; 0 is UNSPECIFIED in every enum.
  void Enums(const std::string& field, const google::protobuf::RepeatedField<int>& values,
             bool (*is_valid)(int), const char* type) {
    Each(field, values, kMaxListEntries, [&](const std::string& at, int value) {
      if (value == 0) Refuse(at, "0", "(UNSPECIFIED) is not allowed");
      if (!is_valid(value)) Refuse(at, absl::StrCat(value), absl::StrCat("is not a known ", type));
    });
  }
  void Filter(const std::string& field, const v1::EventFilter& filter) {
    Names(field + ".vm_names", filter.vm_names());
    Enums(field + ".types", filter.types(), v1::EventType_IsValid, "EventType");
    Enums(field + ".classes", filter.classes(), v1::ShutdownClass_IsValid, "ShutdownClass");
    Names(field + ".sources", filter.sources());
    Uuids(field + ".uuids", filter.uuids());
    Labels(field + ".labels", filter.labels());
    Enums(field + ".causes", filter.causes(), v1::ShutdownCause_IsValid, "ShutdownCause");
    // The id of a run is not a pattern: wildcards in it are not limited.
    Names(field + ".run_ids", filter.run_ids(), kMaxListEntries);
  }
  // Checks what names a VM: by its name, its UUID or both.
  void Vm(const std::string& field, const std::string& name, const std::string& run_id,
          const std::string& uuid) {
    if (!name.empty() || uuid.empty()) Name(field, name);
    if (!uuid.empty()) Uuid("uuid", uuid);
    Length("run_id", run_id, kMaxNameBytes);
  }

  absl::Time Time(const std::string& field, const google::protobuf::Timestamp& time) {
    if (time.seconds() < kFirstSecond || time.seconds() > kLastSecond) {
      Refuse(field + ".seconds", absl::StrCat(time.seconds()), "is not in the years 0001 to 9999");
    } else if (time.nanos() < 0 || time.nanos() > kMaxNanos) {
      Refuse(field + ".nanos", absl::StrCat(time.nanos()),
             absl::StrCat("is not in 0 to ", kMaxNanos));
    } else {
      return FromTimestamp(time);
    }
    return absl::UnixEpoch();
  }
  // Checks that a duration is 0, which means `standard`, or in [min, max]; `rule` describes that.
  absl::Duration Duration(const std::string& field, const google::protobuf::Duration& duration,
                          absl::Duration standard, absl::Duration min, absl::Duration max,
                          const char* rule) {
    const std::string text = absl::StrCat(duration.seconds(), " s ", duration.nanos(), " ns");
    if (duration.seconds() < -kMaxDurationSeconds || duration.seconds() > kMaxDurationSeconds ||
        duration.nanos() < -kMaxNanos || duration.nanos() > kMaxNanos ||
        (duration.seconds() > 0 && duration.nanos() < 0) ||
        (duration.seconds() < 0 && duration.nanos() > 0)) {
      Refuse(field, text,
             "is not a valid Duration: at most 315576000000 s either way, nanos within 999999999 "
             "either way and of the same sign");
      return standard;
    }
    const absl::Duration out =
        absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
    if (out == absl::ZeroDuration()) return standard;
    if (out < min || out > max) Refuse(field, PrintDuration(out), rule);
    return out;
  }
  int PageSize(int32_t page_size) {
    if (page_size < 0) {
      Refuse("page_size", absl::StrCat(page_size),
             absl::StrCat("must be 0 (the default, ", kDefaultPageSize, ") or more"));
    }
    return page_size == 0 ? kDefaultPageSize : std::min(page_size, kMaxPageSize);
  }
  // Checks what selects the events of a list or of a count.
  void List(const v1::ListEventsRequest& request) {
    Filter("filter", request.filter());
    absl::Time start = absl::InfinitePast();
    absl::Time end = absl::InfiniteFuture();
    if (request.has_start_time()) start = Time("start_time", request.start_time());
    if (request.has_end_time()) end = Time("end_time", request.end_time());
    if (start >= end) {
      const auto text = [](absl::Time time) {
        return absl::FormatTime(absl::RFC3339_full, time, absl::UTCTimeZone());
      };
      Refuse("start_time", text(start), absl::StrCat("must be before end_time, ", text(end)));
    }
  }
  WatchStart Start(const v1::WatchEventsRequest& request) {
    using Case = v1::WatchEventsRequest::StartCase;
    Length("journal_id", request.journal_id(), kMaxNameBytes);
    const bool after = request.start_case() == Case::kAfterSequence;
    if (after && request.journal_id().empty()) {
      Refuse("journal_id", "\"\"",
             "is required with after_sequence: it names the journal of the sequence");
    }
    if (!after && !request.journal_id().empty()) {
      Refuse("journal_id", Quote(request.journal_id()), "is allowed only with after_sequence");
    }
    if (request.snapshot_stopped() && request.start_case() != Case::kSnapshot) {
      Refuse("snapshot_stopped", "true", "is allowed only with snapshot");
    }
    switch (request.start_case()) {
      case Case::kAfterSequence:
        return AfterSequence{request.after_sequence(), request.journal_id()};
      case Case::kSince:
        return Since{Time("since", request.since())};
      case Case::kFromOldest:
        if (!request.from_oldest()) Refuse("from_oldest", "false", "must be true or not set");
        return Since{absl::InfinitePast()};
      case Case::kSnapshot:
        if (!request.snapshot()) Refuse("snapshot", "false", "must be true or not set");
        return FromSnapshot{request.snapshot_stopped()};
      default:
        return FromNow{};
    }
  }

 private:
  absl::Status status_;
};

}  // namespace

absl::StatusOr<WatchRequest> CheckWatchEvents(const v1::WatchEventsRequest& request) {
  Checker check;
  check.Filter("filter", request.filter());
  WatchRequest out{check.Start(request), std::nullopt, request.durable_only()};
  const absl::Duration interval = check.Duration(
      "progress_interval", request.progress_interval(), absl::ZeroDuration(), absl::Seconds(1),
      absl::InfiniteDuration(), "must be 0 (the default) or at least 1 s");
  if (interval != absl::ZeroDuration()) out.progress_interval = interval;
  return check.Result(out);
}

absl::StatusOr<StreamPage> CheckListStreams(const v1::ListStreamsRequest& request) {
  Checker check;
  const StreamPage page{check.PageSize(request.page_size()), request.page_token()};
  if (uint64_t id = 0; !page.after.empty() && !absl::SimpleHexAtoi(page.after, &id)) {
    check.Refuse("page_token", Quote(request.page_token()), "is not a token of ListStreams");
  }
  return check.Result(page);
}

absl::StatusOr<v1::ListEventsRequest> CheckListEvents(v1::ListEventsRequest request) {
  Checker check;
  check.List(request);
  request.set_page_size(check.PageSize(request.page_size()));
  check.Length("page_token", request.page_token(), kMaxPageTokenBytes);
  return check.Result(std::move(request));
}

absl::StatusOr<v1::ListEventsRequest> CheckCountEvents(const v1::CountEventsRequest& request) {
  Checker check;
  v1::ListEventsRequest list;
  *list.mutable_filter() = request.filter();
  if (request.has_start_time()) *list.mutable_start_time() = request.start_time();
  if (request.has_end_time()) *list.mutable_end_time() = request.end_time();
  check.List(list);
  if (request.by() == v1::COUNT_KEY_UNSPECIFIED || !v1::CountKey_IsValid(request.by())) {
    check.Refuse("by", absl::StrCat(static_cast<int>(request.by())), "is not a known CountKey");
  }
  constexpr int64_t kDay = 24 * 60 * 60;
  if (request.utc_offset().seconds() < -kDay || request.utc_offset().seconds() > kDay) {
    check.Refuse("utc_offset", absl::StrCat(request.utc_offset().seconds(), " s"),
                 "must be at most 24 h either way");
  }
  check.Length("page_token", request.page_token(), kMaxPageTokenBytes);
  return check.Result(std::move(list));
}

absl::StatusOr<int> CheckListVms(const v1::ListVmsRequest& request) {
  Checker check;
  check.Names("vm_names", request.vm_names());
  check.Enums("states", request.states(), v1::VmState_IsValid, "VmState");
  check.Names("sources", request.sources());
  check.Uuids("uuids", request.uuids());
  check.Labels("labels", request.labels());
  check.Length("page_token", request.page_token(), kMaxPageTokenBytes);
  return check.Result(check.PageSize(request.page_size()));
}

absl::StatusOr<IntentRequest> CheckDeclareIntent(const v1::DeclareIntentRequest& request) {
  Checker check;
  check.Vm("vm_name", request.vm_name(), request.run_id(), request.uuid());
  check.Text("actor", request.actor(), kMaxActorBytes);
  check.Text("reason", request.reason(), kMaxReasonBytes);
  const absl::Duration ttl =
      check.Duration("ttl", request.ttl(), kDefaultIntentTtl, absl::ZeroDuration(), kMaxIntentTtl,
                     "must be positive and at most 24h, or 0 for the default of 10m");
  if (!request.request_id().empty()) {
    check.Text("request_id", request.request_id(), kMaxRequestIdBytes);
  }
  absl::Time started_before = absl::InfiniteFuture();
  if (request.has_started_before()) {
    started_before = check.Time("started_before", request.started_before());
  }
  return check.Result(IntentRequest{.vm_name = request.vm_name(),
                                    .run_id = request.run_id(),
                                    .intent_id = "",
                                    .actor = request.actor(),
                                    .reason = request.reason(),
                                    .ttl = ttl,
                                    .request_id = request.request_id(),
                                    .uuid = ParseUuid(request.uuid()),
                                    .started_before = started_before});
}

absl::Status CheckName(const std::string& field, const std::string& name) {
  Checker check;
  check.Name(field, name);
  return check.status();
}

absl::Status CheckGetVm(const v1::GetVmRequest& request) {
  Checker check;
  check.Vm("vm_name", request.vm_name(), request.run_id(), request.uuid());
  return check.status();
}

}  // namespace vmeventd
