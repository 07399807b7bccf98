#include "client/commands/commands.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <variant>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "base/event_filter.h"
#include "base/uuid.h"
#include "client/connect/connection.h"
#include "client/output/event_text.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"
#include "client/output/trouble.h"

namespace vmeventd::client {
namespace {

bool IsStopped(const NodeVm& one) { return one.vm.state() == v1::VM_STATE_STOPPED; }

// The part of the filter that the request of a list cannot have.
bool PassesEnds(const NodeVm& one, const VmsCommand& command, const FilterLists& filter) {
  if (!IsWanted(command.states, one.vm.state()) || (IsStopped(one) && !command.include_stopped) ||
      !filter.PassesRest(one.vm.ref())) {
    return false;
  }
  const v1::ShutdownDetail* end = one.end();
  return end == nullptr ? filter.PassesEnd(0, 0)
                        : filter.PassesEnd(end->shutdown_class(), end->cause());
}

// Crashes first.
int RankOf(const NodeVm& one) {
  const v1::ShutdownDetail* end = one.end();
  if (end == nullptr) return 9;
  if (end->shutdown_class() == v1::SHUTDOWN_CLASS_CRASH) return 0;
  return end->shutdown_class() == v1::SHUTDOWN_CLASS_UNKNOWN ? 1 : 9 - end->shutdown_class();
}

constexpr uint64_t kLargestPage = 1000;  // limit of ListEventsRequest.page_size

using Stub = v1::VmEventService::StubInterface;
template <typename Request, typename Response>
using Method = grpc::Status (Stub::*)(grpc::ClientContext*, const Request&, Response*);

// Asks the server once. CANCELLED: there is no connection.
template <typename Request, typename Response>
grpc::Status Ask(const DaemonNode& daemon, Method<Request, Response> method, const Request& request,
                 Response* response) {
  if (!daemon.connected.ok()) return grpc::Status::CANCELLED;
  grpc::ClientContext call;
  SetRequestDeadline(&call);
  return (daemon.stub.get()->*method)(&call, request, response);
}

// Asks for all pages, and calls `take` with each until it returns false.
template <typename Request, typename Response, typename Take>
std::optional<Failure> ReadPages(const DaemonNode& daemon, Method<Request, Response> method,
                                 Request request, const Take& take) {
  do {
    Response page;
    const grpc::Status status = Ask(daemon, method, request, &page);
    if (!status.ok()) return daemon.Explain(status);
    if (!take(&page)) break;
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return std::nullopt;
}

// Explains why an intent could not be declared.
Failure ExplainNoIntent(const DeclareIntentCommand& command, const DaemonNode& daemon,
                        const grpc::Status& status) {
  const google::rpc::ErrorInfo info = InfoOf(status);
  const auto fact = [&info](const std::string& key, const std::string& otherwise = "") {
    const auto found = info.metadata().find(key);
    return EscapeForTerminal(found == info.metadata().end() ? otherwise : found->second);
  };
  const std::string name = fact("vm_name", command.name);
  std::string why = EscapeForTerminal(status.error_message());
  switch (ReasonOf(status)) {
    case v1::ERROR_REASON_NO_SUCH_VM:
      return {ExitCode::kNotFound,
              absl::StrCat(
                  "no VM \"", name, "\"",
                  command.run_id.empty()
                      ? ""
                      : absl::StrCat(" with the run \"", EscapeForTerminal(command.run_id), "\""),
                  " runs on the node of vmeventd at ", ToText(daemon.address),
                  "; `vmevents vms` lists those that run")};
    case v1::ERROR_REASON_SEVERAL_VMS_RUN:
      why = absl::StrCat("several VMs are meant; choose one with --run RUN_ID: ",
                         absl::StrReplaceAll(fact("run_ids"), {{",", ", "}}));
      break;
    case v1::ERROR_REASON_INTENT_IS_OPEN:
      why = absl::StrCat("the run has an open intent, ", fact("intent_id"), ", declared by \"",
                         fact("actor"),
                         "\": leave it open, or withdraw it first with `vmevents intent withdraw ",
                         fact("intent_id"), "`");
      break;
    case v1::ERROR_REASON_END_IS_DECIDED:
    case v1::ERROR_REASON_INTENT_IS_LATE:
    case v1::ERROR_REASON_RUN_IS_LATER:
      break;
    default:
      return daemon.Explain(status);
  }
  return {ExitCode::kFailed, absl::StrCat("\"", name, "\": ", why)};
}

// Explains that no event matches.
std::string NothingFound(const EventsCommand& command, ListSource* source, absl::TimeZone zone) {
  if (command.since && *command.since > absl::Now()) {
    return "no events match: --since is in the future; a time without a date is one of today";
  }
  std::string begin;
  EventsCommand oldest;
  oldest.limit = 1;
  const auto unread = source->ReadEvents(oldest, [&](const NodeEvent& one) {
    begin = absl::FormatTime("%Y-%m-%d %H:%M:%S", FromProto(one.event.observe_time()), zone);
    return false;
  });
  if (unread) return "no events match";
  return absl::StrCat("no events match; the journal ",
                      begin.empty() ? "has no event" : absl::StrCat("begins ", begin));
}

}  // namespace

std::optional<Failure> FromPrint(const absl::Status& status) {
  if (status.ok() || absl::IsCancelled(status)) return std::nullopt;
  return Failure{ExitCode::kFailed, std::string(status.message())};
}

std::optional<Failure> PrintText(const absl::StatusOr<std::string>& text, Output* output) {
  return FromPrint(text.ok() ? output->Write(*text) : text.status());
}

std::optional<Failure> RunList(const EventsCommand& command, ListSource* source,
                               Formatter* formatter, Output* output, std::string* empty) {
  constexpr size_t kTogether = 1000;  // printed
  bool found = false;
  absl::Status printed;
  NodeEvents events;
  uint64_t left = command.most();
  const auto print = [&] {
    const absl::StatusOr<std::string> text = formatter->FormatEvents(events);
    events.clear();
    printed = text.ok() ? output->Write(*text) : text.status();
    return printed.ok();
  };
  std::optional<Failure> failure = source->ReadEvents(command, [&](NodeEvent event) {
    found = true;
    if (command.counts(event)) --left;
    events.push_back(std::move(event));
    return (command.last || events.size() < kTogether || print()) && left > 0;
  });
  if (command.last && !command.newest_first) absl::c_reverse(events);
  if (!events.empty() && printed.ok()) print();
  if (!found && !failure) *empty = NothingFound(command, source, formatter->zone());
  return printed.ok() ? failure : FromPrint(printed);
}

NodeVms RowsOf(NodeVms runs, bool runs_known) {
  VmUuids uuids;
  for (const NodeVm& run : runs) {
    uuids.Add(VmUuids::PlaceOf(run.vm.ref(), run.node), run.vm.ref().uuid());
  }
  std::map<std::pair<VmUuids::Place, std::string>, NodeVm> rows;
  // The newest last; those that live behind the others.
  const auto rank = [](const NodeVm& run) {
    return std::pair(!IsStopped(run), FromProto(run.vm.state_time()));
  };
  absl::c_stable_sort(runs, [&](const NodeVm& a, const NodeVm& b) { return rank(a) < rank(b); });
  NodeVms list;
  for (NodeVm& run : runs) {
    const VmUuids::Place place = VmUuids::PlaceOf(run.vm.ref(), run.node);
    NodeVm& row = rows[{place, uuids.Of(place, run.vm.ref().uuid())}];
    // A clone may have its original's path, and so its name: both live.
    if (!row.vm.ref().run_id().empty() && !IsStopped(row)) {
      list.push_back(std::exchange(row, {}));
      if (runs_known) row.ends = 0;
    }
    if (runs_known) row.ends = row.ends.value_or(0) + (IsStopped(run) ? 1 : 0);
    if (IsStopped(run)) {
      row.last_end = run.vm.shutdown();
      row.last_end_time = FromProto(run.vm.state_time());
    }
    row.vm = std::move(run.vm);
    row.node = std::move(run.node);
  }
  for (auto& [key, row] : rows) list.push_back(std::move(row));
  return list;
}

void SortVms(const VmsCommand& command, NodeVms* vms, absl::Time now) {
  const auto newest_first = [](const google::protobuf::Timestamp& time) {
    return -absl::ToUnixNanos(FromProto(time));
  };
  // Rows of equal numbers are by name.
  const auto numbers = [&](const NodeVm& one) -> std::pair<int64_t, int64_t> {
    const int64_t age = newest_first(one.vm.state_time());
    switch (command.order.value_or(VmOrder::kState)) {
      case VmOrder::kState:
        if (command.runs) return {newest_first(one.vm.start_time()), 0};
        return {one.vm.state(), IsStopped(one) ? age : 0};
      case VmOrder::kName:
        return {};
      case VmOrder::kAge:
        return {age, 0};
      case VmOrder::kEnds:
        return {-one.ends.value_or(0), 0};
      case VmOrder::kClass:
        return {RankOf(one), 0};
      case VmOrder::kTrouble:
        return {static_cast<int64_t>(TroubleOf(one, now)), one.vm.state()};
    }
    return {};
  };
  const auto key = [&](const NodeVm& one) {
    using Text = absl::string_view;
    return std::tuple(numbers(one), Text(one.vm.ref().name()), Text(one.node.cluster),
                      Text(one.node.name));
  };
  absl::c_stable_sort(*vms, [&key](const NodeVm& a, const NodeVm& b) { return key(a) < key(b); });
}

std::optional<Failure> RunList(const VmsCommand& command, ListSource* source, Formatter* formatter,
                               Output* output, std::string* empty) {
  // Reads everything before it prints, so that the table's columns fit every row; and all runs,
  // because those that have ended are counted.
  NodeVms vms;
  v1::EventFilter filter = command.filter;
  // The runs before may have had other labels, and count too.
  if (!command.runs) filter.clear_labels();
  std::optional<Failure> failure = source->ReadVms(filter, /*stopped_too=*/true, &vms);
  if (!command.runs) vms = RowsOf(std::move(vms), source->knows_runs());
  const FilterLists lists(command.filter);
  std::erase_if(vms, [&command, &lists, now = absl::Now()](const NodeVm& one) {
    if (!PassesEnds(one, command, lists)) return true;
    return command.trouble && TroubleOf(one, now) == TroubleKind::kNone;
  });
  if (vms.empty()) {
    const bool filtered = command.filter.ByteSizeLong() > 0 || !command.states.empty();
    *empty = command.trouble           ? "no VM has trouble"
             : command.include_stopped ? "no VMs match"
             : filtered                ? "no VMs match; --all includes those that have stopped"
                        : "no VM runs, as far as vmeventd sees; `vmevents doctor` on the "
                          "node shows what prevents it from seeing one";
    return failure;
  }
  SortVms(command, &vms);
  const auto printed = PrintText(formatter->FormatVms(vms), output);
  return printed ? printed : failure;
}

std::optional<Failure> DaemonLists::ReadEvents(const EventsCommand& command, const Take& take) {
  v1::ListEventsRequest first;
  *first.mutable_filter() = command.filter;
  if (command.since) *first.mutable_start_time() = ToProto(*command.since);
  if (command.until) *first.mutable_end_time() = ToProto(*command.until);
  first.set_newest_first(command.reads_newest_first());
  first.set_page_size(static_cast<int32_t>(std::min(command.most(), kLargestPage)));
  return ReadPages(daemon_, &Stub::ListEvents, first, [&](v1::ListEventsResponse* page) {
    auto* const events = page->mutable_events();
    return std::all_of(events->begin(), events->end(),
                       [&](v1::Event& event) { return take({std::move(event)}); });
  });
}

std::optional<Failure> DaemonLists::CountEvents(const StatsCommand& command, absl::TimeZone zone,
                                                NodeCounts* counts) {
  v1::CountEventsRequest first;
  *first.mutable_filter() = command.events.filter;
  if (command.events.since) *first.mutable_start_time() = ToProto(*command.events.since);
  if (command.events.until) *first.mutable_end_time() = ToProto(*command.events.until);
  first.set_by(command.by_node ? v1::COUNT_KEY_CLASS : command.by);
  if (command.by >= v1::COUNT_KEY_DAY) {
    first.mutable_utc_offset()->set_seconds(zone.At(absl::Now()).offset);
  }
  return ReadPages(daemon_, &Stub::CountEvents, first, [&](v1::CountEventsResponse* page) {
    for (v1::EventCount& one : *page->mutable_counts()) {
      counts->push_back({std::move(*one.mutable_key()), one.events()});
    }
    if (page->others() > 0) counts->push_back({"(others)", page->others()});
    return true;
  });
}

std::optional<Failure> RunList(const StatsCommand& command, ListSource* source, absl::TimeZone zone,
                               Formatter* formatter, Output* output, std::string* empty) {
  NodeCounts all;
  auto failure = source->CountEvents(command, zone, &all);
  std::map<std::string, uint64_t> sums;
  for (const NodeCount& one : all) {
    sums[command.by_node ? one.node.full_name() : one.key] += one.events;
  }
  NodeCounts counts;
  for (const auto& [key, events] : sums) counts.push_back({key.empty() ? "-" : key, events});
  // Times in their order, all else by how often.
  if (command.by < v1::COUNT_KEY_DAY || command.by_node) {
    absl::c_stable_sort(counts,
                        [](const NodeCount& a, const NodeCount& b) { return a.events > b.events; });
  }
  if (counts.empty()) *empty = "no events match";
  if (failure && counts.empty()) return failure;
  const std::string by =
      command.by_node
          ? "node"
          : absl::AsciiStrToLower(absl::StripPrefix(v1::CountKey_Name(command.by), "COUNT_KEY_"));
  const auto printed = PrintText(formatter->FormatCounts(by, counts, command.csv), output);
  return printed ? printed : failure;
}

std::optional<Failure> DaemonLists::ReadVms(const v1::EventFilter& filter, bool stopped_too,
                                            NodeVms* vms) {
  v1::ListVmsRequest first;
  *first.mutable_vm_names() = filter.vm_names();
  *first.mutable_sources() = filter.sources();
  *first.mutable_uuids() = filter.uuids();
  *first.mutable_labels() = filter.labels();
  first.set_include_stopped(stopped_too);
  first.set_page_size(static_cast<int32_t>(kLargestPage));
  return ReadPages(daemon_, &Stub::ListVms, first, [&](v1::ListVmsResponse* page) {
    for (v1::Vm& vm : *page->mutable_vms()) {
      if (!IsWanted(filter.run_ids(), vm.ref().run_id())) continue;
      vms->push_back({std::move(vm), {.journal_id = page->journal_id()}});
    }
    return true;
  });
}

std::optional<Failure> RunList(const IntentsCommand& /*command*/, ListSource* source,
                               Formatter* formatter, Output* output) {
  NodeVms vms;
  auto failure = source->ReadVms({}, /*stopped_too=*/false, &vms);
  std::erase_if(vms, [](const NodeVm& one) { return !one.vm.has_intent(); });
  if (failure && vms.empty()) return failure;
  const auto printed = PrintText(formatter->FormatIntents(vms), output);
  return printed ? printed : failure;
}

namespace {

// The answer of a node, or why there is none.
template <typename Answer>
struct NodeAnswer {
  std::optional<Failure> failure;
  Answer answer;
};

// Asks all nodes at once.
template <typename Answer, typename Question>
std::vector<NodeAnswer<Answer>> AskNodes(const std::vector<DaemonNode>& nodes,
                                         const Question& question) {
  std::vector<NodeAnswer<Answer>> answers(nodes.size());
  AskAll(nodes.size(),
         [&](size_t i) { answers[i].failure = question(nodes[i], &answers[i].answer); });
  return answers;
}

template <typename Answers>
std::optional<Failure> FailureOf(const Answers& answers, const PrintSentence& note) {
  std::vector<std::optional<Failure>> failures;
  failures.reserve(answers.size());
  for (const auto& one : answers) failures.push_back(one.failure);
  return ReportFailures(failures, note);
}

// The node on which one VM is that the question finds. Of several nodes it asks all. A node that
// does not answer is noted, or is the failure if none of the others has it.
template <typename Has>
std::variant<const DaemonNode*, Failure> FindNode(const CommandContext& context,
                                                  absl::string_view what, const Has& has) {
  if (context.nodes.size() == 1) return &context.nodes.front();
  const auto answers = AskNodes<bool>(
      context.nodes, [&](const DaemonNode& node, bool* found) -> std::optional<Failure> {
        NodeVms vms;
        auto failure = DaemonLists(node).ReadVms({}, /*stopped_too=*/false, &vms);
        *found = absl::c_any_of(vms, has);
        return failure;
      });
  std::vector<const DaemonNode*> found;
  std::vector<std::string> names;
  for (size_t i = 0; i < answers.size(); ++i) {
    const DaemonNode& node = context.nodes[i];
    if (answers[i].answer) found.push_back(&node);
    if (answers[i].answer) names.push_back(EscapeForTerminal(node.name));
  }
  const auto away = FailureOf(answers, context.note);
  if (found.size() == 1) {
    if (away) context.note(away->sentence);
    return found.front();
  }
  if (found.size() > 1) {
    return Failure{ExitCode::kFailed, absl::StrCat(what, " is on ", found.size(), " nodes, ",
                                                   absl::StrJoin(names, " and "),
                                                   ": name the one that is meant with --server")};
  }
  const auto add_name = [](std::string* out, const DaemonNode& node) {
    absl::StrAppend(out, EscapeForTerminal(node.name));
  };
  if (away) {
    return Failure{away->code, absl::StrCat(what, " is on no node that answers; ", away->sentence)};
  }
  return Failure{ExitCode::kNotFound, absl::StrCat(what, " is on none of the nodes ",
                                                   absl::StrJoin(context.nodes, ", ", add_name))};
}

}  // namespace

std::optional<Failure> RunCommand(const DeclareIntentCommand& command,
                                  const CommandContext& context) {
  const auto node =
      FindNode(context, absl::StrCat("the VM \"", EscapeForTerminal(command.name), "\""),
               [&](const NodeVm& one) {
                 const v1::VmRef& ref = one.vm.ref();
                 const bool named =
                     ref.name() == command.name ||
                     (ParseUuid(command.name) && ParseUuid(ref.uuid()) == ParseUuid(command.name));
                 return named && (command.run_id.empty() || ref.run_id() == command.run_id);
               });
  if (const auto* failure = std::get_if<Failure>(&node)) return *failure;
  const DaemonNode& daemon = *std::get<const DaemonNode*>(node);
  v1::DeclareIntentRequest request;
  request.set_run_id(command.run_id);
  request.set_actor(command.actor);
  request.set_reason(command.reason);
  if (command.ttl) *request.mutable_ttl() = ToProto(*command.ttl);
  request.set_request_id(command.request_id);
  if (command.started_before) {
    *request.mutable_started_before() = ToProto(*command.started_before);
  }
  v1::DeclareIntentResponse response;
  request.set_vm_name(command.name);
  grpc::Status status = Ask(daemon, &Stub::DeclareIntent, request, &response);
  if (status.error_code() == grpc::StatusCode::NOT_FOUND && ParseUuid(command.name)) {
    request.clear_vm_name();
    request.set_uuid(command.name);
    status = Ask(daemon, &Stub::DeclareIntent, request, &response);
  }
  if (!status.ok()) return ExplainNoIntent(command, daemon, status);
  NodeVm vm = {.node = {.name = daemon.name}};
  vm.vm.mutable_ref()->set_name(request.vm_name());
  vm.vm.mutable_ref()->set_uuid(request.uuid());
  *vm.vm.mutable_intent() = std::move(*response.mutable_intent());
  return PrintText(context.formatter->FormatIntents({vm}), context.output);
}

std::optional<Failure> RunCommand(const WithdrawIntentCommand& command,
                                  const CommandContext& context) {
  const auto node = FindNode(
      context, absl::StrCat("the open intent \"", EscapeForTerminal(command.intent_id), "\""),
      [&](const NodeVm& one) { return one.vm.intent().intent_id() == command.intent_id; });
  if (const auto* failure = std::get_if<Failure>(&node)) return *failure;
  const DaemonNode& daemon = *std::get<const DaemonNode*>(node);
  v1::WithdrawIntentRequest request;
  request.set_intent_id(command.intent_id);
  v1::WithdrawIntentResponse response;
  const grpc::Status status = Ask(daemon, &Stub::WithdrawIntent, request, &response);
  if (status.error_code() == grpc::StatusCode::NOT_FOUND) {
    return Failure{ExitCode::kNotFound,
                   absl::StrCat("\"", EscapeForTerminal(command.intent_id),
                                "\" is not the ID of an open intent; `vmevents intent list` shows "
                                "those that are open")};
  }
  if (!status.ok()) return daemon.Explain(status);
  return std::nullopt;
}

std::optional<Failure> ReadInfo(const DaemonNode& daemon, v1::GetServerInfoResponse* info) {
  const grpc::Status status = Ask(daemon, &Stub::GetServerInfo, v1::GetServerInfoRequest(), info);
  if (!status.ok()) return daemon.Explain(status);
  return std::nullopt;
}

std::optional<Failure> RunCommand(const InfoCommand& /*command*/, const CommandContext& context) {
  const auto answers = AskNodes<v1::GetServerInfoResponse>(context.nodes, ReadInfo);
  for (const auto& one : answers) {
    if (one.failure) continue;
    auto printed = PrintText(context.formatter->FormatInfo(one.answer), context.output);
    if (printed) return printed;
  }
  return FailureOf(answers, context.note);
}

std::optional<Failure> RunCommand(const StreamsCommand& /*command*/,
                                  const CommandContext& context) {
  using Streams = std::vector<NodeStream>;
  const auto answers =
      AskNodes<Streams>(context.nodes, [](const DaemonNode& daemon, Streams* streams) {
        return ReadPages(daemon, &Stub::ListStreams, v1::ListStreamsRequest(),
                         [&](v1::ListStreamsResponse* page) {
                           for (v1::Stream& one : *page->mutable_streams()) {
                             streams->push_back({std::move(one), {.name = daemon.name}});
                           }
                           return true;
                         });
      });
  Streams all;
  for (const auto& one : answers) all.insert(all.end(), one.answer.begin(), one.answer.end());
  auto failure = FailureOf(answers, context.note);
  if (failure && all.empty()) return failure;
  const auto printed = PrintText(context.formatter->FormatStreams(all), context.output);
  return printed ? printed : failure;
}

std::optional<Failure> ReadHealth(const HealthCommand& command, const DaemonNode& daemon,
                                  ServiceStates* states) {
  using Health = grpc::health::v1::HealthCheckResponse;
  // The services, the server as a whole first, and what it means that one does not serve: completes
  // "vmeventd at ADDRESS".
  const std::map<std::string, std::string> known = {
      {"",
       " is not serving: it is starting or stopping, or its watcher does not respond; `vmevents "
       "info` or its log shows why"},
      {"journal", " cannot write its journal, so that events are not durable; see its log"},
      {"libvirt",
       " cannot connect to a libvirt of --libvirt, or of a socket that it matches, and does not "
       "follow its domains; `vmevents info` names it"},
      {"listen", " cannot listen on one of its addresses, and tries again; its log has the reason"},
      {"sources",
       " has no source of VMs: no watched directory exists and no libvirt is connected; run "
       "`vmevents doctor` on the node"},
      {"watch", " misses a directory of --watch; `vmevents info` names it"}};
  if (!daemon.connected.ok()) return daemon.Explain({});
  auto asked = known;
  if (!command.all) {
    asked = {{command.service, known.at(known.contains(command.service) ? command.service : "")}};
  }
  std::string faults;
  for (const auto& [service, why] : asked) {
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    grpc::ClientContext call;
    SetRequestDeadline(&call, command.timeout);
    Health response;
    const grpc::Status status = daemon.health->Check(&call, request, &response);
    if (status.error_code() == grpc::StatusCode::NOT_FOUND) {
      const auto add_name = [](std::string* out, const auto& one) { *out += one.first; };
      return Failure{ExitCode::kNotFound,
                     absl::StrCat("vmeventd at ", ToText(daemon.address), " has no service \"",
                                  EscapeForTerminal(service), "\": omit it, or name ",
                                  v1::VmEventService::service_full_name(),
                                  absl::StrJoin(known, ", ", add_name))};
    }
    if (!status.ok()) return daemon.Explain(status);
    states->emplace_back(!command.all ? "" : service.empty() ? "vmeventd" : service, response);
    if (response.status() == Health::SERVING) continue;
    absl::StrAppend(&faults, faults.empty() ? "" : "; it", why);
  }
  if (faults.empty()) return std::nullopt;
  return Failure{ExitCode::kFailed, absl::StrCat("vmeventd at ", ToText(daemon.address), faults)};
}

std::optional<Failure> RunCommand(const HealthCommand& command, const CommandContext& context) {
  const auto answers = AskNodes<ServiceStates>(
      context.nodes, [&command](const DaemonNode& daemon, ServiceStates* states) {
        return ReadHealth(command, daemon, states);
      });
  for (size_t i = 0; i < answers.size(); ++i) {
    const std::string& node = context.nodes[i].name;
    ServiceStates states = answers[i].answer;
    // A node that is away is a row, too.
    if (states.empty() && !node.empty()) states.emplace_back();
    for (const auto& [service, response] : states) {
      const auto text = context.formatter->FormatHealth(node, service, response);
      if (auto failure = PrintText(text, context.output)) return failure;
    }
  }
  return FailureOf(answers, context.note);
}

}  // namespace vmeventd::client
