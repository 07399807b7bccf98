#include "client/connect/call_failure.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "client/connect/probe.h"
#include "client/connect/who_answers.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

Failure ExplainUnavailable(const ServerAddress& address, const grpc::Status& status) {
  const std::string message = EscapeForTerminal(status.error_message());
  const v1::ErrorReason reason = ReasonOf(status);
  // The daemon's own answer: it was reached.
  if (reason == v1::ERROR_REASON_JOURNAL_UNAVAILABLE) {
    return {ExitCode::kFailed,
            absl::StrCat("vmeventd at ", ToText(address), " could not do this: ", message)};
  }
  const std::string unavailable =
      absl::StrCat("vmeventd at ", ToText(address), " is not available now (", message, ")");
  if (reason != v1::ERROR_REASON_UNSPECIFIED) {
    return {ExitCode::kUnreachable, unavailable};
  }
  const ProbeResult probe = Probe(address);
  if (probe.error != 0) return {ExitCode::kUnreachable, probe.why};
  switch (WhoAnswers(address)) {
    case Answerer::kNothing:
      return {ExitCode::kUnreachable, probe.why};
    case Answerer::kHttp1:
      if (address.is_unix()) return {ExitCode::kUnreachable, probe.why};
      return {ExitCode::kUnreachable,
              absl::StrCat("another program listens on ", ToText(address),
                           ", and does not answer as vmeventd does: it may be the port of "
                           "vmeventd's --metrics-listen; name an address of --listen with "
                           "--server")};
    case Answerer::kHttp2:
      break;
  }
  return {ExitCode::kUnreachable, absl::StrCat(unavailable, ": try again")};
}

}  // namespace

google::rpc::ErrorInfo InfoOf(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  if (!details.ParseFromString(status.error_details())) return info;
  for (const google::protobuf::Any& detail : details.details()) {
    if (detail.UnpackTo(&info) && info.domain() == "vmeventd") return info;
  }
  return {};
}

v1::ErrorReason ReasonOf(const google::rpc::ErrorInfo& info) {
  v1::ErrorReason reason = v1::ERROR_REASON_UNSPECIFIED;
  v1::ErrorReason_Parse(absl::StrCat("ERROR_REASON_", info.reason()), &reason);
  return reason;
}
v1::ErrorReason ReasonOf(const grpc::Status& status) { return ReasonOf(InfoOf(status)); }

namespace {

// Names the limit that a call exceeded, and what to do.
std::string LimitOf(const grpc::Status& status) {
  const google::rpc::ErrorInfo info = InfoOf(status);
  const v1::ErrorReason reason = ReasonOf(info);
  const bool streams = reason == v1::ERROR_REASON_TOO_MANY_STREAMS;
  const auto limit = info.metadata().find("limit");
  std::string text = "one of its limits";
  if (limit != info.metadata().end() && (streams || reason == v1::ERROR_REASON_TOO_MANY_CALLS)) {
    text = absl::StrCat("its limit of ", EscapeForTerminal(limit->second),
                        streams ? " streams" : " calls");
  }
  return absl::StrCat(text, "; try again later",
                      streams ? ", or raise --max-streams of vmeventd" : "");
}

}  // namespace

Failure ExplainFailure(const ServerAddress& address, const grpc::Status& status) {
  const std::string message = EscapeForTerminal(status.error_message());
  ExitCode code = ExitCode::kFailed;
  std::string what = " could not do this: ";
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      return ExplainUnavailable(address, status);
    case grpc::StatusCode::NOT_FOUND:
      return {ExitCode::kNotFound, message};
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      if (const ProbeResult probe = Probe(address); probe.daemon != 0) {
        return {ExitCode::kUnreachable, probe.why};
      }
      code = ExitCode::kUnreachable;
      what = " did not answer in time; try again: ";
      break;
    case grpc::StatusCode::INVALID_ARGUMENT:
      code = ExitCode::kUsage;
      what = " does not accept the request: ";
      break;
    case grpc::StatusCode::UNIMPLEMENTED:
      what = " does not support this request; it is not vmeventd, or an older version: ";
      break;
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED:
      what = " does not permit this: ";  // the message names who may call and how to get the right
      break;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      what = absl::StrCat(" is at ", LimitOf(status), ": ");
      break;
    default:
      break;
  }
  return {code, absl::StrCat("vmeventd at ", ToText(address), what, message)};
}

Failure ExplainNoChannel(const ServerAddress& address, const absl::Status& status) {
  const std::string message(status.message());
  if (absl::IsUnavailable(status)) {
    return ExplainUnavailable(address, {grpc::StatusCode::UNAVAILABLE, message});
  }
  return {ExitCode::kFailed, message};
}

}  // namespace vmeventd::client
