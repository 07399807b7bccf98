#include "client/connect/rpc_failure.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/connect/reachability.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

Failure ExplainUnavailable(const ServerAddress& address, const std::string& message) {
  const ProbeResult probe = Probe(address);
  // gRPC's error for a server that accepts the connection and does not speak HTTP/2.
  const bool no_answer = absl::StrContains(message, "failed to connect to all addresses");
  if (no_answer || probe.kind != ProbeResult::Kind::kConnected ||
      probe.tls.kind != TlsFinding::Kind::kNone) {
    return {ExitCode::kUnreachable, ExplainProbe(address, probe)};
  }
  return {ExitCode::kUnreachable, absl::StrCat("vmeventd at ", ToText(address),
                                               " is not available now (", message, "): try again")};
}

}  // namespace

Failure ExplainFailure(const ServerAddress& address, const grpc::Status& status) {
  const std::string where = ToText(address);
  const std::string message = EscapeForTerminal(status.error_message());
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      return ExplainUnavailable(address, message);
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      if (const ProbeResult probe = Probe(address); probe.daemon != 0) {
        return {ExitCode::kUnreachable, ExplainProbe(address, probe)};
      }
      return {ExitCode::kUnreachable,
              absl::StrCat("vmeventd at ", where, " did not answer in time: try again")};
    case grpc::StatusCode::NOT_FOUND:
      return {ExitCode::kNotFound, message};
    case grpc::StatusCode::INVALID_ARGUMENT:
      return {ExitCode::kUsage,
              absl::StrCat("vmeventd at ", where, " does not accept the request: ", message)};
    case grpc::StatusCode::UNIMPLEMENTED:
      return {
          ExitCode::kFailed,
          absl::StrCat("the server at ", where,
                       " does not support this request: it is not vmeventd, or an older version")};
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED:
      // vmeventd's message says who may call and how to get the right.
      return {
          ExitCode::kFailed,
          absl::StrCat("vmeventd at ", where, " does not permit this: ", message,
                       absl::StrContains(message, "operator")
                           ? ""
                           : "; it requires an operator, as set by --listen with role=operator or "
                             "--tls-operator of vmeventd")};
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return {
          ExitCode::kFailed,
          absl::StrCat("vmeventd at ", where, " is at one of its limits (", message,
                       "): try again later, or raise --max-streams of vmeventd if streams are too "
                       "many")};
    default:
      return {ExitCode::kFailed,
              absl::StrCat("vmeventd at ", where, " could not do this: ", message)};
  }
}

Failure ExplainUnknownHost(const ServerAddress& address, const std::string& reason) {
  ProbeResult result;
  result.kind = ProbeResult::Kind::kNoSuchHost;
  result.detail = reason;
  return {ExitCode::kUnreachable, ExplainProbe(address, result)};
}

Failure ExplainBadFiles(const absl::Status& status) {
  return {ExitCode::kFailed, std::string(status.message())};
}

bool IsWorthRetrying(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::NOT_FOUND:
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::UNIMPLEMENTED:
    case grpc::StatusCode::FAILED_PRECONDITION:
      return false;
    default:
      return true;
  }
}

}  // namespace vmeventd::client
