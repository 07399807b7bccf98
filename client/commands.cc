#include "client/commands.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "client/connection.h"
#include "client/terminal_text.h"
#include "client/time_text.h"

namespace vmeventd::client {
namespace {

constexpr uint64_t kLargestPage = 1000;  // of ListEventsRequest.page_size

absl::Status Print(const CommandContext& context, const absl::StatusOr<std::string>& text) {
  return text.ok() ? context.output->Write(*text) : text.status();
}

// What a failed Print() means for the command.
std::optional<Failure> FromPrint(const absl::Status& status) {
  if (status.ok() || absl::IsCancelled(status)) return std::nullopt;
  return Failure{ExitCode::kFailed, std::string(status.message())};
}

v1::ListEventsRequest MakeRequest(const EventsCommand& command) {
  v1::ListEventsRequest request;
  *request.mutable_filter() = command.filter;
  if (command.since) *request.mutable_start_time() = ToProto(*command.since);
  if (command.until) *request.mutable_end_time() = ToProto(*command.until);
  request.set_newest_first(command.newest_first);
  return request;
}

Failure ExplainVmFailure(const VmCommand& command, const CommandContext& context,
                         const grpc::Status& status) {
  const std::string name = EscapeForTerminal(command.name);
  if (status.error_code() == grpc::StatusCode::NOT_FOUND) {
    const std::string run =
        command.run_id.empty()
            ? ""
            : absl::StrCat(" with the run \"", EscapeForTerminal(command.run_id), "\"");
    return {ExitCode::kNotFound,
            absl::StrCat("no VM \"", name, "\"", run, " is known to vmeventd at ",
                         ToText(context.address), "; `vmevents vms --all` lists those that are")};
  }
  if (status.error_code() == grpc::StatusCode::FAILED_PRECONDITION) {
    return {ExitCode::kFailed, absl::StrCat("the name \"", name, "\" stands for more than one VM: ",
                                            EscapeForTerminal(status.error_message()),
                                            "; choose one with --run RUN_ID")};
  }
  return ExplainFailure(context.address, status);
}

}  // namespace

std::optional<Failure> RunCommand(const EventsCommand& command, const CommandContext& context) {
  v1::ListEventsRequest request = MakeRequest(command);
  absl::Status printed = Print(context, context.formatter->EventHeading());
  uint64_t left = command.limit.value_or(UINT64_MAX);
  while (printed.ok()) {
    request.set_page_size(static_cast<int32_t>(std::min(left, kLargestPage)));
    grpc::ClientContext call;
    SetRequestDeadline(&call);
    v1::ListEventsResponse page;
    const grpc::Status status = context.stub->ListEvents(&call, request, &page);
    if (!status.ok()) return ExplainFailure(context.address, status);
    printed = Print(context, context.formatter->FormatEvents(page.events()));
    left -= std::min(left, static_cast<uint64_t>(page.events_size()));
    if (left == 0 || page.next_page_token().empty()) break;
    request.set_page_token(page.next_page_token());
  }
  return FromPrint(printed);
}

std::optional<Failure> RunCommand(const VmsCommand& command, const CommandContext& context) {
  v1::ListVmsRequest request;
  for (const std::string& name : command.names) request.add_vm_names(name);
  for (const v1::VmState state : command.states) request.add_states(state);
  request.set_include_stopped(command.include_stopped);
  // All pages before the first row: a table's columns fit all of its rows.
  google::protobuf::RepeatedPtrField<v1::Vm> vms;
  do {
    grpc::ClientContext call;
    SetRequestDeadline(&call);
    v1::ListVmsResponse page;
    const grpc::Status status = context.stub->ListVms(&call, request, &page);
    if (!status.ok()) return ExplainFailure(context.address, status);
    for (v1::Vm& vm : *page.mutable_vms()) *vms.Add() = std::move(vm);
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return FromPrint(Print(context, context.formatter->FormatVms(vms)));
}

std::optional<Failure> RunCommand(const VmCommand& command, const CommandContext& context) {
  v1::GetVmRequest request;
  request.set_name(command.name);
  request.set_run_id(command.run_id);
  grpc::ClientContext call;
  SetRequestDeadline(&call);
  v1::GetVmResponse response;
  const grpc::Status status = context.stub->GetVm(&call, request, &response);
  if (!status.ok()) return ExplainVmFailure(command, context, status);
  return FromPrint(Print(context, context.formatter->FormatVm(response.vm())));
}

std::optional<Failure> RunCommand(const InfoCommand& /*command*/, const CommandContext& context) {
  grpc::ClientContext call;
  SetRequestDeadline(&call);
  v1::GetServerInfoResponse response;
  const grpc::Status status = context.stub->GetServerInfo(&call, {}, &response);
  if (!status.ok()) return ExplainFailure(context.address, status);
  return FromPrint(Print(context, context.formatter->FormatInfo(response)));
}

}  // namespace vmeventd::client
