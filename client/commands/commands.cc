#include "client/commands/commands.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/uuid.h"
#include "client/connect/connection.h"
#include "client/output/event_text.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

bool IsStopped(const NodeVm& one) { return one.vm.state() == v1::VM_STATE_STOPPED; }

// The part of the filter that the request of a list cannot have.
bool PassesEnds(const NodeVm& one, const VmsCommand& command) {
  const v1::EventFilter& filter = command.filter;
  if (!IsWanted(command.states, one.vm.state()) || (IsStopped(one) && !command.include_stopped) ||
      !HasLabels(one.vm.ref(), filter.labels())) {
    return false;
  }
  if (filter.classes_size() + filter.causes_size() == 0) return true;
  const v1::ShutdownDetail* end = one.end();
  return end != nullptr && IsWanted(filter.classes(), end->shutdown_class()) &&
         IsWanted(filter.causes(), end->cause());
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
grpc::Status Ask(const CommandContext& context, Method<Request, Response> method,
                 const Request& request, Response* response) {
  if (!context.connected.ok()) return grpc::Status::CANCELLED;
  grpc::ClientContext call;
  SetRequestDeadline(&call);
  return (context.stub.get()->*method)(&call, request, response);
}

// Asks for all pages, and calls `take` with each until it returns false.
template <typename Request, typename Response, typename Take>
std::optional<Failure> ReadPages(const CommandContext& context, Method<Request, Response> method,
                                 Request request, const Take& take) {
  do {
    Response page;
    const grpc::Status status = Ask(context, method, request, &page);
    if (!status.ok()) return context.Explain(status);
    if (!take(&page)) break;
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return std::nullopt;
}

// Explains why an intent could not be declared.
Failure ExplainNoIntent(const DeclareIntentCommand& command, const CommandContext& context,
                        const grpc::Status& status) {
  const std::string name = EscapeForTerminal(command.name);
  const std::string message = EscapeForTerminal(status.error_message());
  if (status.error_code() == grpc::StatusCode::NOT_FOUND) {
    const std::string run =
        command.run_id.empty()
            ? ""
            : absl::StrCat(" with the run \"", EscapeForTerminal(command.run_id), "\"");
    return {ExitCode::kNotFound,
            absl::StrCat("no VM \"", name, "\"", run, " runs on the node of vmeventd at ",
                         ToText(context.address), "; `vmevents vms` lists those that run")};
  }
  if (status.error_code() != grpc::StatusCode::FAILED_PRECONDITION &&
      status.error_code() != grpc::StatusCode::ALREADY_EXISTS) {
    return context.Explain(status);
  }
  // "the run has an open intent, ID, declared by "alice": ... with WithdrawIntent".
  const std::vector<std::string> parts = absl::StrSplit(message, ", ");
  const std::string withdraw =
      absl::StrCat("`vmevents intent withdraw ", parts.size() > 1 ? parts[1] : "ID", "`");
  return {ExitCode::kFailed,
          absl::StrCat("\"", name, "\": ",
                       absl::StrReplaceAll(absl::StripPrefix(message, "vm_name: "),
                                           {{"started_before: ", ""},
                                            {"WithdrawIntent", withdraw},
                                            {"set run_id to", "choose one with --run RUN_ID:"}}))};
}

constexpr uint64_t kMaxEnds = 1000;  // limit of STOPPED events of a frame of `top`, in memory

// Moves to the upper left corner, and clears from there.
constexpr char kRedraw[] = "\x1b[H\x1b[J";

// The VMs by state.
std::optional<Failure> AddVms(DaemonLists* lists, FactList* facts) {
  NodeVms vms;
  if (auto failure = lists->ReadVms({}, /*stopped_too=*/false, &vms)) return failure;
  std::map<v1::VmState, int> states;
  int problems = 0;
  int intents = 0;
  for (const NodeVm& one : vms) {
    ++states[one.vm.state()];
    problems += one.vm.problems_size() > 0 ? 1 : 0;
    intents += one.vm.has_intent() ? 1 : 0;
  }
  std::vector<std::string> parts = {absl::StrCat(vms.size())};
  for (const auto& [state, count] : states) {
    parts.push_back(absl::StrCat(ShortName(state), " ", count));
  }
  if (problems > 0) parts.push_back(absl::StrCat("with problems ", problems));
  if (intents > 0) parts.push_back(absl::StrCat("with intents ", intents));
  facts->Add("VMs", absl::StrJoin(parts, "  "), problems > 0 ? Color::kYellow : Color::kNone);
  return std::nullopt;
}

// The state of the node: its facts, then the newest ends of the window.
std::optional<Failure> MakeFrame(const TopCommand& command, const CommandContext& context,
                                 const TableStyle& style, size_t height, std::string* frame) {
  const absl::Time now = style.now();
  v1::GetServerInfoResponse info;
  if (auto failure = ReadInfo(context, &info)) return failure;
  const absl::Duration answer_time = style.now() - now;
  FactList facts(Painter(style.color), 8, style.width);
  const std::string up =
      info.has_start_time()
          ? absl::StrCat("up ", ShortDurationText(now - FromProto(info.start_time())), "  ")
          : "";
  facts.Add(EscapeForTerminal(info.node()),
            absl::StrCat("vmeventd ", info.version(), "  ", up, LocalTimeText(now, style.zone)));
  DaemonLists lists(context);
  if (auto failure = AddVms(&lists, &facts)) return failure;

  EventsCommand of_window;
  of_window.filter.add_types(v1::EVENT_TYPE_STOPPED);
  of_window.since = now - command.window;
  of_window.last = kMaxEnds;
  NodeEvents ends;
  std::map<v1::ShutdownClass, int> classes;
  absl::Duration lag;  // the longest time from QEMU's report of an end to its event
  uint64_t read = 0;
  const auto unread = lists.ReadEvents(of_window, [&](NodeEvent one) {
    const v1::Event& end = one.event;
    if (end.type() != v1::EVENT_TYPE_STOPPED) return true;  // a GAP passes every filter
    ++classes[end.shutdown().shutdown_class()];
    if (end.has_qemu_time()) {
      lag = std::max(lag, FromProto(end.observe_time()) - FromProto(end.qemu_time()));
    }
    if (ends.size() < height) ends.push_back(std::move(one));
    return ++read < kMaxEnds;
  });
  const std::string counts =
      absl::StrCat(read < kMaxEnds ? "" : "at least ", EndsText(classes, command.window));
  // A journal that cannot be read does not hide how the node is.
  facts.Add("Ends", unread ? unread->sentence : counts, unread ? Color::kRed : Color::kNone);
  facts.Add("Streams", absl::StrCat(info.streams()));
  if (command.once) {
    const auto unwell = RunCommand(HealthCommand{.all = true}, context);
    facts.Add("Health", unwell ? unwell->sentence : "SERVING", unwell ? Color::kRed : Color::kNone);
  }
  const bool writable = info.journal_writable();
  facts.Add(
      "Journal",
      absl::StrCat(writable ? "writable" : "NOT WRITABLE", "  ",
                   info.newest_sequence() == 0 ? "no events"
                                               : absl::StrCat("events ", info.oldest_sequence(),
                                                              " to ", info.newest_sequence())),
      writable ? Color::kNone : Color::kRed);
  facts.Add("Lag",
            absl::StrCat(lag == absl::ZeroDuration() ? ""
                                                     : absl::StrCat("at most ", DurationText(lag),
                                                                    " from QEMU to the event  "),
                         "answer in ", DurationText(answer_time)));
  if (const int unfollowed = info.unfollowed_sockets_size(); unfollowed > 0) {
    facts.Add("Sockets",
              absl::StrCat(unfollowed, unfollowed < kMaxUnfollowed ? "" : " or more",
                           " without a VM: see vmevents info"),
              Color::kYellow);
  }
  *frame = facts.Take();
  if (ends.empty()) return std::nullopt;
  const auto table = Formatter(Form::kTable, style).FormatEvents(ends);
  if (table.ok()) absl::StrAppend(frame, "\n", *table);
  return std::nullopt;
}

}  // namespace

CommandContext::CommandContext(ServerAddress server, Formatter* shows, Output* prints)
    : address(std::move(server)), formatter(shows), output(prints) {
  const auto channel = Connect(address);
  connected = channel.status();
  if (!channel.ok()) return;
  stub = v1::VmEventService::NewStub(*channel);
  health = grpc::health::v1::Health::NewStub(*channel);
}

Failure CommandContext::Explain(const grpc::Status& status) const {
  return connected.ok() ? ExplainFailure(address, status) : ExplainNoChannel(address, connected);
}

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
  *empty = command.since && *command.since > absl::Now()
               ? "no events match: --since is in the future; a time without a date is one of today"
               : "no events match";
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
    empty->clear();
    if (command.counts(event)) --left;
    events.push_back(std::move(event));
    return (command.last || events.size() < kTogether || print()) && left > 0;
  });
  if (command.last && !command.newest_first) absl::c_reverse(events);
  if (!events.empty() && printed.ok()) print();
  return printed.ok() ? failure : FromPrint(printed);
}

NodeVms RowsOf(NodeVms runs, bool runs_known) {
  std::map<std::tuple<std::string, std::string, std::string, std::string>, NodeVm> rows;
  // The newest last; those that live behind the others.
  const auto rank = [](const NodeVm& run) {
    return std::pair(!IsStopped(run), FromProto(run.vm.state_time()));
  };
  absl::c_stable_sort(runs, [&](const NodeVm& a, const NodeVm& b) { return rank(a) < rank(b); });
  for (NodeVm& run : runs) {
    NodeVm& row =
        rows[{run.vm.ref().name(), run.node.cluster, run.node.name, run.vm.ref().source()}];
    if (runs_known) row.ends = row.ends.value_or(0) + (IsStopped(run) ? 1 : 0);
    if (IsStopped(run)) row.last_end = run.vm.shutdown();
    row.vm = std::move(run.vm);
    row.node = std::move(run.node);
  }
  NodeVms list;
  for (auto& [key, row] : rows) list.push_back(std::move(row));
  return list;
}

void SortVms(const VmsCommand& command, NodeVms* vms) {
  const auto newest_first = [](const google::protobuf::Timestamp& time) {
    return -absl::ToUnixNanos(FromProto(time));
  };
  // Rows of equal numbers are by name.
  const auto numbers = [&](const NodeVm& one) -> std::pair<int64_t, int64_t> {
    const int64_t age = newest_first(one.vm.state_time());
    switch (command.order) {
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
  std::erase_if(vms, [&](const NodeVm& one) { return !PassesEnds(one, command); });
  if (vms.empty()) {
    const bool filtered = command.filter.ByteSizeLong() > 0 || !command.states.empty();
    *empty = command.include_stopped ? "no VMs match"
             : filtered              ? "no VMs match; --all includes those that have stopped"
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
  return ReadPages(context_, &Stub::ListEvents, first, [&](v1::ListEventsResponse* page) {
    auto* const events = page->mutable_events();
    return std::all_of(events->begin(), events->end(),
                       [&](v1::Event& event) { return take({std::move(event)}); });
  });
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
  return ReadPages(context_, &Stub::ListVms, first, [&](v1::ListVmsResponse* page) {
    for (v1::Vm& vm : *page->mutable_vms()) {
      if (!IsWanted(filter.run_ids(), vm.ref().run_id())) continue;
      vms->push_back({std::move(vm), {.journal_id = page->journal_id()}});
    }
    return true;
  });
}

std::optional<Failure> RunCommand(const IntentsCommand& /*command*/,
                                  const CommandContext& context) {
  NodeVms vms;
  if (auto failure = DaemonLists(context).ReadVms({}, /*stopped_too=*/false, &vms)) return failure;
  std::erase_if(vms, [](const NodeVm& one) { return !one.vm.has_intent(); });
  return PrintText(context.formatter->FormatIntents(vms), context.output);
}

std::optional<Failure> RunCommand(const DeclareIntentCommand& command,
                                  const CommandContext& context) {
  v1::DeclareIntentRequest request;
  request.set_run_id(command.run_id);
  request.set_actor(command.actor);
  request.set_reason(command.reason);
  if (command.ttl) *request.mutable_ttl() = ToProto(*command.ttl);
  if (command.started_before) {
    *request.mutable_started_before() = ToProto(*command.started_before);
  }
  v1::DeclareIntentResponse response;
  request.set_vm_name(command.name);
  grpc::Status status = Ask(context, &Stub::DeclareIntent, request, &response);
  if (status.error_code() == grpc::StatusCode::NOT_FOUND && ParseUuid(command.name)) {
    request.clear_vm_name();
    request.set_uuid(command.name);
    status = Ask(context, &Stub::DeclareIntent, request, &response);
  }
  if (!status.ok()) return ExplainNoIntent(command, context, status);
  NodeVm vm;
  vm.vm.mutable_ref()->set_name(request.vm_name());
  vm.vm.mutable_ref()->set_uuid(request.uuid());
  *vm.vm.mutable_intent() = std::move(*response.mutable_intent());
  return PrintText(context.formatter->FormatIntents({vm}), context.output);
}

std::optional<Failure> RunCommand(const WithdrawIntentCommand& command,
                                  const CommandContext& context) {
  v1::WithdrawIntentRequest request;
  request.set_intent_id(command.intent_id);
  v1::WithdrawIntentResponse response;
  const grpc::Status status = Ask(context, &Stub::WithdrawIntent, request, &response);
  if (status.error_code() == grpc::StatusCode::NOT_FOUND) {
    return Failure{ExitCode::kNotFound,
                   absl::StrCat("\"", EscapeForTerminal(command.intent_id),
                                "\" is not the ID of an open intent; `vmevents intent list` shows "
                                "those that are open")};
  }
  if (!status.ok()) return context.Explain(status);
  return std::nullopt;
}

std::optional<Failure> ReadInfo(const CommandContext& context, v1::GetServerInfoResponse* info) {
  const grpc::Status status = Ask(context, &Stub::GetServerInfo, v1::GetServerInfoRequest(), info);
  if (!status.ok()) return context.Explain(status);
  return std::nullopt;
}

std::optional<Failure> RunCommand(const InfoCommand& /*command*/, const CommandContext& context) {
  v1::GetServerInfoResponse response;
  if (auto failure = ReadInfo(context, &response)) return failure;
  return PrintText(context.formatter->FormatInfo(response), context.output);
}

std::optional<Failure> RunCommand(const StreamsCommand& /*command*/,
                                  const CommandContext& context) {
  Formatter::Streams streams;
  auto failure = ReadPages(context, &Stub::ListStreams, v1::ListStreamsRequest(),
                           [&](v1::ListStreamsResponse* page) {
                             streams.MergeFrom(page->streams());
                             return true;
                           });
  if (failure) return failure;
  return PrintText(context.formatter->FormatStreams(streams), context.output);
}

std::optional<Failure> RunCommand(const HealthCommand& command, const CommandContext& context) {
  using Health = grpc::health::v1::HealthCheckResponse;
  // The services, the server as a whole first, and what it means that one does not serve: completes
  // "vmeventd at ADDRESS".
  const std::map<std::string, std::string> known = {
      {"", " is not serving: it is starting or stopping; see its log"},
      {"journal", " cannot write its journal, so that events are not durable; see its log"},
      {"libvirt",
       " cannot connect to a libvirt of --libvirt, or of a socket that it matches, and does not "
       "follow its domains; `vmevents info` names it"},
      {"listen", " cannot listen on one of its addresses, and tries again; its log has the reason"},
      {"sources",
       " has no source of VMs: no watched directory exists and no libvirt is connected; run "
       "`vmevents doctor` on the node"},
      {"watch", " misses a directory of --watch; `vmevents info` names it"}};
  if (!context.connected.ok()) return context.Explain({});
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
    const grpc::Status status = context.health->Check(&call, request, &response);
    if (status.error_code() == grpc::StatusCode::NOT_FOUND) {
      const auto add_name = [](std::string* out, const auto& one) { *out += one.first; };
      return Failure{ExitCode::kNotFound,
                     absl::StrCat("vmeventd at ", ToText(context.address), " has no service \"",
                                  EscapeForTerminal(service), "\": omit it, or name ",
                                  v1::VmEventService::service_full_name(),
                                  absl::StrJoin(known, ", ", add_name))};
    }
    if (!status.ok()) return context.Explain(status);
    if (context.formatter != nullptr) {
      const std::string shown = !command.all ? "" : service.empty() ? "vmeventd" : service;
      const auto text = context.formatter->FormatHealth(shown, response);
      if (auto failure = PrintText(text, context.output)) return failure;
    }
    if (response.status() == Health::SERVING) continue;
    absl::StrAppend(&faults, faults.empty() ? "" : "; it", why);
  }
  if (faults.empty()) return std::nullopt;
  return Failure{ExitCode::kFailed, absl::StrCat("vmeventd at ", ToText(context.address), faults)};
}

std::optional<Failure> RunTop(const TopCommand& command, const CommandContext& context,
                              const TopEnvironment& environment) {
  std::string frame;  // of the last answer
  while (true) {
    const auto [style, height] = environment.style();
    std::string shown;
    if (auto failure = MakeFrame(command, context, style, height, &frame)) {
      if (frame.empty()) return failure;
      shown = absl::StrCat(absl::StrJoin(WrapText(failure->sentence, style.width), "\n"), "\n");
    }
    std::vector<std::string> lines = absl::StrSplit(shown + frame, '\n');
    lines.resize(std::min(lines.size() - 1, height));
    shown = absl::StrCat(environment.live ? kRedraw : "", absl::StrJoin(lines, "\n"), "\n");
    const absl::Status written = context.output->Write(shown);
    if (!written.ok()) return FromPrint(written);
    if (!environment.live || environment.wait(command.interval)) return std::nullopt;
  }
}

}  // namespace vmeventd::client
