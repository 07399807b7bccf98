#include "client/fleet/fleet_message.h"

#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/nats/subject.h"
#include "client/output/event_text.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "google/protobuf/util/json_util.h"
#include "google/protobuf/util/time_util.h"

namespace vmeventd::client {
namespace {

// The name of a token. Every publisher may choose it: nullopt also for a name that is not UTF-8, or
// has characters that a terminal obeys or does not show.
std::optional<std::string> NameOf(absl::string_view token) {
  std::optional<std::string> name = UnescapeToken(token);
  return name && EscapeForTerminal(*name) == *name ? name : std::nullopt;
}

// Returns whether JSON can express all of its times: in protobuf's encoding they are any numbers.
// protobuf's own check is its conversion, which prints a warning.
bool FitsJson(const google::protobuf::Message& message) {
  using google::protobuf::util::TimeUtil;
  constexpr int32_t kMaxNanos = 999'999'999;
  const auto within = [](int64_t value, int64_t least, int64_t max) {
    return least <= value && value <= max;
  };
  if (message.GetDescriptor() == google::protobuf::Timestamp::descriptor()) {
    const auto& time = static_cast<const google::protobuf::Timestamp&>(message);
    return within(time.nanos(), 0, kMaxNanos) &&
           within(time.seconds(), TimeUtil::kTimestampMinSeconds, TimeUtil::kTimestampMaxSeconds);
  }
  if (message.GetDescriptor() == google::protobuf::Duration::descriptor()) {
    const auto& time = static_cast<const google::protobuf::Duration&>(message);
    return within(time.nanos(), -kMaxNanos, kMaxNanos) &&
           within(time.seconds(), TimeUtil::kDurationMinSeconds, TimeUtil::kDurationMaxSeconds) &&
           (time.seconds() < 0 ? time.nanos() <= 0 : time.seconds() == 0 || time.nanos() >= 0);
  }
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  return absl::c_all_of(fields, [&](const auto* field) {
    if (field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) return true;
    if (!field->is_repeated()) return FitsJson(reflection.GetMessage(message, field));
    for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
      if (!FitsJson(reflection.GetRepeatedMessage(message, field, i))) return false;
    }
    return true;
  });
}

}  // namespace

absl::StatusOr<MessageNode> ParseOrigin(absl::string_view source) {
  const std::vector<absl::string_view> parts = absl::StrSplit(source, '/');
  if (parts.size() == 5 && parts[0].empty() && parts[1] == "vmevents" && !parts[4].empty()) {
    std::optional<std::string> cluster = NameOf(parts[2]);
    std::optional<std::string> node = NameOf(parts[3]);
    if (cluster && node && EscapeForTerminal(parts[4]) == parts[4]) {
      return MessageNode{*std::move(node), *std::move(cluster), std::string(parts[4]), {}};
    }
  }
  return absl::InvalidArgumentError("its header ce-source does not name a node of vmeventd");
}

absl::Status ParsePayload(absl::string_view data, google::protobuf::Message* message) {
  // JSON: none of our messages begins so in protobuf's encoding, in which it would start a group.
  if (absl::StartsWith(data, "{")) {
    google::protobuf::util::JsonParseOptions options;
    options.ignore_unknown_fields = true;
    const auto status =
        google::protobuf::util::JsonStringToMessage(std::string(data), message, options);
    if (status.ok()) return absl::OkStatus();
  } else if (message->ParseFromArray(data.data(), static_cast<int>(data.size())) &&
             FitsJson(*message)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("its payload is no ", message->GetDescriptor()->full_name()));
}

absl::StatusOr<MessageNode> ParseFleetMessage(const NatsMessage& from,
                                              google::protobuf::Message* message) {
  absl::StatusOr<MessageNode> origin = ParseOrigin(from.header("ce-source"));
  if (!origin.ok()) return origin;
  // "vmevents.v1.CLUSTER.NODE.VM.EVENT" or "$KV.BUCKET.CLUSTER.NODE..."
  const std::vector<absl::string_view> tokens =
      absl::StrSplit(from.subject, absl::MaxSplits('.', 5));
  if (tokens.size() < 4 || NameOf(tokens[2]) != origin->cluster ||
      NameOf(tokens[3]) != origin->name) {
    return absl::InvalidArgumentError(absl::StrCat("its header ce-source names the node ",
                                                   origin->cluster, "/", origin->name,
                                                   ", whose subject this is not"));
  }
  const bool event = absl::StartsWith(from.subject, kSubjectPrefix);
  const std::string expected =
      event && tokens.size() == 6 ? absl::StrCat(kSubjectPrefix, ".", tokens[5]) : std::string();
  if (from.header("ce-type") != expected) {
    return absl::InvalidArgumentError("its header ce-type is not that of its subject");
  }
  if (absl::Status status = ParsePayload(from.data, message); !status.ok()) return status;
  return origin;
}

namespace {

constexpr absl::string_view kAny = "*";
// Limit of subjects; beyond it, one that covers them all is used.
constexpr size_t kMaxSubjects = 50;

bool IsExact(absl::string_view pattern) {
  return pattern.find_first_of("*?[") == absl::string_view::npos;
}

std::string TokenOf(absl::string_view pattern) {
  return IsExact(pattern) ? EscapeToken(pattern) : std::string(kAny);
}

// "CLUSTER.NODE" of each pattern.
std::set<std::string> NodeTokens(const std::vector<std::string>& patterns) {
  const std::string all = absl::StrCat(kAny, ".", kAny);
  std::set<std::string> tokens;
  std::set<bool> with_cluster;
  for (const absl::string_view pattern : patterns) {
    const size_t slash = pattern.find('/');
    // A glob may match across the slash.
    if (slash != pattern.npos && !IsExact(pattern)) return {all};
    with_cluster.insert(slash != pattern.npos);
    const std::string cluster =
        slash == pattern.npos ? std::string(kAny) : TokenOf(pattern.substr(0, slash));
    const std::string node = TokenOf(slash == pattern.npos ? pattern : pattern.substr(slash + 1));
    if (node == kAny) return {all};
    tokens.insert(absl::StrCat(cluster, ".", node));
  }
  // No pattern, or subjects that would overlap: *.node7 and prod.node7.
  if (with_cluster.size() != 1) return {all};
  return tokens;
}

std::set<std::string> VmTokens(const google::protobuf::RepeatedPtrField<std::string>& patterns) {
  if (patterns.empty() || !absl::c_all_of(patterns, IsExact)) {
    return {std::string(kAny)};
  }
  std::set<std::string> tokens;
  for (const std::string& pattern : patterns) tokens.insert(EscapeToken(pattern));
  return tokens;
}

bool HasClass(v1::EventType type) {
  return type == v1::EVENT_TYPE_STOPPED || type == v1::EVENT_TYPE_GUEST_SHUTDOWN;
}

// The tokens after the VM in the subjects of events.
std::set<std::string> EventTokens(const v1::EventFilter& filter) {
  if (filter.types().empty() && filter.classes().empty()) return {">"};
  std::set<std::string> classes;
  for (const int one : filter.classes()) {
    classes.insert(SubjectWord(ShortName(static_cast<v1::ShutdownClass>(one))));
  }
  const bool any_class = classes.empty();
  if (any_class) classes.insert(std::string(kAny));
  std::set<std::string> tokens;
  for (const int number : filter.types()) {
    const auto type = static_cast<v1::EventType>(number);
    const std::string word = SubjectWord(ShortName(type));
    if (HasClass(type)) {
      for (const std::string& one : classes) tokens.insert(absl::StrCat(word, ".", one));
    } else if (any_class) {
      tokens.insert(word);
    }
  }
  if (filter.types().empty()) {
    for (const std::string& one : classes) tokens.insert(absl::StrCat(kAny, ".", one));
  }
  return tokens;
}

std::vector<std::string> Subjects(absl::string_view prefix, const std::set<std::string>& nodes,
                                  const std::set<std::string>& tails) {
  if (nodes.size() * tails.size() > kMaxSubjects) return {absl::StrCat(prefix, ".>")};
  std::vector<std::string> subjects;
  for (const std::string& node : nodes) {
    for (const std::string& tail : tails) {
      subjects.push_back(absl::StrCat(prefix, ".", node, tail.empty() ? "" : ".", tail));
    }
  }
  return subjects;
}

}  // namespace

std::vector<std::string> EventSubjects(const FleetFilter& filter) {
  constexpr absl::string_view kGap = "gap";
  const std::set<std::string> vms = VmTokens(filter.events.vm_names());
  const std::set<std::string> events = EventTokens(filter.events);
  std::set<std::string> tails;
  for (const std::string& vm : vms) {
    for (const std::string& event : events) tails.insert(absl::StrCat(vm, ".", event));
  }
  const bool has_gaps =
      *vms.begin() == kAny && (events.contains(">") || events.contains(std::string(kGap)));
  if (!has_gaps) tails.insert(absl::StrCat(EscapeToken(""), ".", kGap));
  return Subjects(kSubjectPrefix, NodeTokens(filter.nodes), tails);
}

std::vector<std::string> VmSubjects(const FleetFilter& filter) {
  return Subjects(absl::StrCat("$KV.", kVmsBucket), NodeTokens(filter.nodes),
                  VmTokens(filter.events.vm_names()));
}

std::vector<std::string> NodeSubjectsOf(const FleetFilter& filter) {
  return Subjects(absl::StrCat("$KV.", kNodesBucket), NodeTokens(filter.nodes), {""});
}

bool FleetMatcher::AnyMatches(const Patterns& patterns, absl::string_view name) {
  return patterns.empty() ||
         absl::c_any_of(patterns, [&](const Pattern& one) { return one.Matches(name); });
}

FleetMatcher::FleetMatcher(FleetFilter filter)
    : filter_(std::move(filter)),
      names_(filter_.events.vm_names().begin(), filter_.events.vm_names().end()),
      sources_(filter_.events.sources().begin(), filter_.events.sources().end()),
      nodes_(filter_.nodes.begin(), filter_.nodes.end()) {
  for (const std::string& uuid : filter_.events.uuids()) {
    if (const std::optional<Uuid> parsed = ParseUuid(uuid)) uuids_.push_back(*parsed);
  }
  for (const std::string& text : filter_.events.labels()) {
    absl::StatusOr<LabelSelector> selector = LabelSelector::Parse(text);
    if (selector.ok()) labels_.push_back(*std::move(selector));
  }
}

bool FleetMatcher::MatchesNode(absl::string_view cluster, absl::string_view node) const {
  return nodes_.empty() || absl::c_any_of(nodes_, [&](const Pattern& one) {
           const bool with_cluster = absl::StrContains(one.text, '/');
           return one.Matches(with_cluster ? absl::StrCat(cluster, "/", node) : std::string(node));
         });
}

bool FleetMatcher::HasLabels(const v1::VmRef& vm) const {
  const auto value_of = [&vm](absl::string_view key) -> std::optional<absl::string_view> {
    const auto label = vm.labels().find(std::string(key));
    return label == vm.labels().end() ? std::nullopt
                                      : std::optional<absl::string_view>(label->second);
  };
  return labels_.empty() || absl::c_any_of(labels_, [&](const LabelSelector& selector) {
           return selector.Matches(value_of);
         });
}

bool FleetMatcher::Matches(const MessageNode& origin, const v1::VmRef& vm) const {
  return MatchesNode(origin.cluster, origin.name) && AnyMatches(names_, vm.name()) &&
         AnyMatches(sources_, vm.source()) && IsWanted(filter_.events.run_ids(), vm.run_id()) &&
         IsWanted(uuids_, ParseUuid(vm.uuid())) && HasLabels(vm);
}

bool FleetMatcher::Matches(const MessageNode& origin, const v1::Event& event) const {
  const absl::Time time = FromProto(event.observe_time());
  if (filter_.since && time < *filter_.since) return false;
  if (filter_.until && time >= *filter_.until) return false;
  if (!event.has_vm() && event.type() == v1::EVENT_TYPE_GAP) {
    return MatchesNode(origin.cluster, origin.name);
  }
  if (!IsWanted(filter_.events.types(), event.type())) return false;
  const bool of_end = !filter_.events.classes().empty() || !filter_.events.causes().empty();
  if (of_end && (!event.has_shutdown() ||
                 !IsWanted(filter_.events.classes(), event.shutdown().shutdown_class()) ||
                 !IsWanted(filter_.events.causes(), event.shutdown().cause()))) {
    return false;
  }
  return Matches(origin, event.vm());
}

}  // namespace vmeventd::client
