#include "client/fleet/fleet_message.h"

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/patterns.h"
#include "base/text.h"
#include "base/uuid.h"
#include "client/nats/subject.h"
#include "client/output/event_text.h"
#include "client/output/formatter.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"
#include "google/protobuf/util/json_util.h"

namespace vmeventd::client {
namespace {

// The name of a token. Every publisher may choose it: nullopt also for a name that is not UTF-8, or
// has characters that a terminal obeys or does not show.
std::optional<std::string> NameOf(absl::string_view token) {
  std::optional<std::string> name = UnescapeToken(token);
  return name && EscapeForTerminal(*name) == *name ? name : std::nullopt;
}

}  // namespace

absl::Status ParsePayload(absl::string_view data, google::protobuf::Message* message) {
  // JSON: none of our messages begins so in protobuf's encoding, in which it would start a group.
  if (absl::StartsWith(data, "{")) {
    google::protobuf::util::JsonParseOptions options;
    options.ignore_unknown_fields = true;
    const auto status =
        google::protobuf::util::JsonStringToMessage(std::string(data), message, options);
    if (status.ok()) return absl::OkStatus();
  } else if (message->ParseFromArray(data.data(), static_cast<int>(data.size())) &&
             ToJson(*message).ok()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("its payload is no ", message->GetDescriptor()->full_name()));
}

absl::StatusOr<MessageNode> ParseFleetMessage(const NatsMessage& from,
                                              google::protobuf::Message* message) {
  // "vmevents.v1.CLUSTER.NODE.VM.EVENT" or "$KV.BUCKET.CLUSTER.NODE..."
  const std::vector<absl::string_view> tokens =
      absl::StrSplit(from.subject, absl::MaxSplits('.', 5));
  const auto cluster = tokens.size() > 3 ? NameOf(tokens[2]) : std::nullopt;
  const auto node = tokens.size() > 3 ? NameOf(tokens[3]) : std::nullopt;
  const std::string source = from.header("ce-source");
  absl::string_view journal = source;
  if (!cluster || !node ||
      !absl::ConsumePrefix(&journal, absl::StrCat("/vmevents/", tokens[2], "/", tokens[3], "/")) ||
      journal.empty() || absl::StrContains(journal, '/') || EscapeForTerminal(journal) != journal) {
    return absl::InvalidArgumentError(
        absl::StrCat("its header ce-source is ", Quote(source), ", whose subject this is not"));
  }
  const bool event = absl::StartsWith(from.subject, kSubjectPrefix);
  const std::string expected =
      event && tokens.size() == 6 ? absl::StrCat(kSubjectPrefix, ".", tokens[5]) : std::string();
  if (from.header("ce-type") != expected) {
    return absl::InvalidArgumentError("its header ce-type is not that of its subject");
  }
  if (absl::Status status = ParsePayload(from.data, message); !status.ok()) return status;
  return MessageNode{*node, *cluster, std::string(journal), {}};
}

namespace {

constexpr char kAny[] = "*";

bool IsExact(absl::string_view pattern) {
  return pattern.find_first_of("*?[") == absl::string_view::npos;
}

// The token of the one name that passes; *: others pass as well.
std::string VmToken(const google::protobuf::RepeatedPtrField<std::string>& patterns) {
  return patterns.size() == 1 && IsExact(patterns[0]) ? EscapeToken(patterns[0]) : kAny;
}

// "CLUSTER.NODE" of the one node that passes.
std::string NodeTokens(const std::vector<std::string>& patterns) {
  std::string cluster = kAny;
  std::string node = kAny;
  if (patterns.size() == 1 && IsExact(patterns[0])) {
    absl::string_view name = patterns[0];
    const size_t slash = name.find('/');
    if (slash != name.npos) {
      cluster = EscapeToken(name.substr(0, slash));
      name.remove_prefix(slash + 1);
    }
    node = EscapeToken(name);
  }
  return absl::StrCat(cluster, ".", node);
}

// The tokens after the VM in the subjects of events. Those of an end have a class.
std::string EventTokens(const v1::EventFilter& filter) {
  const bool one_type = filter.types_size() == 1;
  const auto type = one_type ? static_cast<v1::EventType>(filter.types(0)) : v1::EventType();
  const std::string word = one_type ? SubjectWord(ShortName(type)) : kAny;
  const bool of_end = type == v1::EVENT_TYPE_STOPPED || type == v1::EVENT_TYPE_GUEST_SHUTDOWN ||
                      !filter.classes().empty();
  if (!of_end) return one_type ? word : ">";
  const bool one_class = filter.classes_size() == 1;
  const auto shutdown_class =
      one_class ? static_cast<v1::ShutdownClass>(filter.classes(0)) : v1::ShutdownClass();
  return absl::StrCat(word, ".", one_class ? SubjectWord(ShortName(shutdown_class)) : kAny);
}

}  // namespace

std::vector<std::string> EventSubjects(const FleetFilter& filter) {
  constexpr char kGap[] = "gap";
  const std::string prefix = absl::StrCat(kSubjectPrefix, ".", NodeTokens(filter.nodes), ".");
  const std::string vm = VmToken(filter.events.vm_names());
  const std::string events = EventTokens(filter.events);
  std::vector<std::string> subjects = {absl::StrCat(prefix, vm, ".", events)};
  const bool has_gaps = vm == kAny && (events == ">" || events == kGap);
  if (!has_gaps) subjects.push_back(absl::StrCat(prefix, EscapeToken(""), ".", kGap));
  return subjects;
}

std::string VmSubjects(const FleetFilter& filter) {
  const std::string key =
      absl::StrCat(NodeTokens(filter.nodes), ".", VmToken(filter.events.vm_names()));
  return KeySubject(kVmsBucket, key);
}

std::string NodeSubjectsOf(const FleetFilter& filter) {
  return KeySubject(kNodesBucket, NodeTokens(filter.nodes));
}

namespace {

// An entry matches its own text and, as a glob, others.
bool EntryMatches(const std::string& entry, const std::string& name) {
  return entry == name || Glob(entry).Matches(name);
}

bool AnyMatches(const google::protobuf::RepeatedPtrField<std::string>& entries,
                const std::string& name) {
  return entries.empty() || absl::c_any_of(entries, [&name](const std::string& entry) {
           return EntryMatches(entry, name);
         });
}

bool AnyIs(const google::protobuf::RepeatedPtrField<std::string>& uuids, const std::string& uuid) {
  return uuids.empty() || absl::c_any_of(uuids, [&uuid](const std::string& entry) {
           const std::optional<Uuid> wanted = ParseUuid(entry);
           return wanted && wanted == ParseUuid(uuid);
         });
}

}  // namespace

bool PassesNode(const FleetFilter& filter, absl::string_view cluster, absl::string_view node) {
  return filter.nodes.empty() || absl::c_any_of(filter.nodes, [&](const std::string& entry) {
           const bool with_cluster = absl::StrContains(entry, '/');
           return EntryMatches(entry,
                               with_cluster ? absl::StrCat(cluster, "/", node) : std::string(node));
         });
}

bool Passes(const FleetFilter& filter, const MessageNode& origin, const v1::VmRef& vm) {
  const v1::EventFilter& events = filter.events;
  return PassesNode(filter, origin.cluster, origin.name) &&
         AnyMatches(events.vm_names(), vm.name()) && AnyMatches(events.sources(), vm.source()) &&
         IsWanted(events.run_ids(), vm.run_id()) && AnyIs(events.uuids(), vm.uuid()) &&
         HasLabels(vm, events.labels());
}

bool Passes(const FleetFilter& filter, const MessageNode& origin, const v1::Event& event) {
  const absl::Time time = FromProto(event.observe_time());
  if (filter.since && time < *filter.since) return false;
  if (filter.until && time >= *filter.until) return false;
  if (!event.has_vm() && event.type() == v1::EVENT_TYPE_GAP) {
    return PassesNode(filter, origin.cluster, origin.name);
  }
  if (!IsWanted(filter.events.types(), event.type())) return false;
  const bool of_end = !filter.events.classes().empty() || !filter.events.causes().empty();
  if (of_end && (!event.has_shutdown() ||
                 !IsWanted(filter.events.classes(), event.shutdown().shutdown_class()) ||
                 !IsWanted(filter.events.causes(), event.shutdown().cause()))) {
    return false;
  }
  return Passes(filter, origin, event.vm());
}

}  // namespace vmeventd::client
