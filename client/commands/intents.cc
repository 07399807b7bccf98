#include "client/commands/intents.h"

#include <cstddef>
#include <utility>
#include <variant>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "base/uuid.h"
#include "client/commands/ask_nodes.h"
#include "client/commands/print.h"
#include "client/connect/call_failure.h"
#include "client/output/node_vm.h"
#include "client/output/terminal_text.h"
#include "client/sources/daemon_call.h"
#include "client/sources/daemon_lists.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

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
                  " runs on the node of vmeventd at ", ToText(daemon.address), "; ",
                  daemon.invocation.Quoted("vms"), " lists those that run")};
    case v1::ERROR_REASON_SEVERAL_VMS_RUN:
      why = absl::StrCat("several VMs are meant; choose one with --run RUN_ID: ",
                         absl::StrReplaceAll(fact("run_ids"), {{",", ", "}}));
      break;
    case v1::ERROR_REASON_INTENT_IS_OPEN:
      why = absl::StrCat(
          "the run has an open intent, ", fact("intent_id"), ", declared by \"", fact("actor"),
          "\": leave it open, or withdraw it first with ",
          daemon.invocation.Quoted(absl::StrCat("intent withdraw ", fact("intent_id"))));
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

// Finds the node that has the VM, among all nodes. Reports a node that does not answer, or returns
// it as the failure if no other node has the VM.
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
  if (command.ttl) *request.mutable_ttl() = ToProtoDuration(*command.ttl);
  request.set_request_id(command.request_id);
  if (command.started_before) {
    *request.mutable_started_before() = ToTimestamp(*command.started_before);
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
    return Failure{ExitCode::kNotFound, absl::StrCat("\"", EscapeForTerminal(command.intent_id),
                                                     "\" is not the ID of an open intent; ",
                                                     daemon.invocation.Quoted("intent list"),
                                                     " shows those that are open")};
  }
  if (!status.ok()) return daemon.Explain(status);
  return std::nullopt;
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

}  // namespace vmeventd::client
