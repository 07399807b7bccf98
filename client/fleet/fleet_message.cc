#include "client/fleet/fleet_message.h"

#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/patterns.h"
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
             ToJson(*message).ok()) {
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

constexpr char kAny[] = "*";
// Limit of subjects; beyond it, one that covers them all is used.
constexpr size_t kMaxSubjects = 50;

bool IsExact(absl::string_view pattern) {
  return pattern.find_first_of("*?[") == absl::string_view::npos;
}

// "CLUSTER.NODE" of each pattern.
std::set<std::string> NodeTokens(const std::vector<std::string>& patterns) {
  const std::string all = absl::StrCat(kAny, ".", kAny);
  std::set<std::string> tokens;
  size_t with_cluster = 0;
  for (const absl::string_view pattern : patterns) {
    if (!IsExact(pattern)) return {all};
    const size_t slash = pattern.find('/');
    const bool has_cluster = slash != pattern.npos;
    if (has_cluster) ++with_cluster;
    tokens.insert(absl::StrCat(has_cluster ? EscapeToken(pattern.substr(0, slash)) : kAny, ".",
                               EscapeToken(has_cluster ? pattern.substr(slash + 1) : pattern)));
  }
  // No pattern, or subjects that would overlap: *.node7 and prod.node7.
  if (patterns.empty() || (with_cluster > 0 && with_cluster < patterns.size())) return {all};
  return tokens;
}

std::set<std::string> VmTokens(const google::protobuf::RepeatedPtrField<std::string>& patterns) {
  if (patterns.empty() || !absl::c_all_of(patterns, IsExact)) {
    return {kAny};
  }
  std::set<std::string> tokens;
  for (const std::string& pattern : patterns) tokens.insert(EscapeToken(pattern));
  return tokens;
}

// The tokens after the VM in the subjects of events.
std::set<std::string> EventTokens(const v1::EventFilter& filter) {
  if (filter.types().empty() && filter.classes().empty()) return {">"};
  std::set<std::string> classes;
  for (const int one : filter.classes()) {
    classes.insert(SubjectWord(ShortName(static_cast<v1::ShutdownClass>(one))));
  }
  if (classes.empty()) classes.insert(kAny);
  std::set<std::string> tokens;
  const auto add = [&](absl::string_view word) {
    for (const std::string& one : classes) tokens.insert(absl::StrCat(word, ".", one));
  };
  if (filter.types().empty()) add(kAny);
  for (const int number : filter.types()) {
    const auto type = static_cast<v1::EventType>(number);
    const std::string word = SubjectWord(ShortName(type));
    if (type == v1::EVENT_TYPE_STOPPED || type == v1::EVENT_TYPE_GUEST_SHUTDOWN) {
      add(word);
    } else if (filter.classes().empty()) {
      tokens.insert(word);
    }
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

bool HasLabels(const google::protobuf::RepeatedPtrField<std::string>& selectors,
               const v1::VmRef& vm) {
  const auto value_of = [&vm](absl::string_view key) -> std::optional<absl::string_view> {
    const auto label = vm.labels().find(std::string(key));
    return label == vm.labels().end() ? std::nullopt
                                      : std::optional<absl::string_view>(label->second);
  };
  return selectors.empty() || absl::c_any_of(selectors, [&value_of](const std::string& text) {
           const absl::StatusOr<LabelSelector> selector = LabelSelector::Parse(text);
           return selector.ok() && selector->Matches(value_of);
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
         HasLabels(events.labels(), vm);
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
