#include "client/fleet/fleet_servers.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/nats/jetstream_api.h"
#include "base/nats/stream_reader.h"
#include "base/nats/subject.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {

bool IsFleetText(absl::string_view text) {
  return absl::StartsWith(text, "nats://") || absl::StartsWith(text, "tls://");
}

std::string ToText(const FleetAddress& address) {
  return EscapeForTerminal(absl::StrJoin(address.servers, ","));
}

FleetConnector ConnectorTo(const FleetAddress& address) {
  NatsOptions options;
  options.servers = address.servers;
  options.name = "vmevents";
  options.inbox_prefix = "_INBOX.vmevents";
  options.credentials = address.credentials;
  options.domain = address.domain;
  if (address.tls) {
    options.tls_ca = address.tls->ca_file;
    options.tls_cert = address.tls->cert_file;
    options.tls_key = address.tls->key_file;
    options.tls_server_name = address.tls->server_name;
  }
  return [options] { return ConnectNats(options); };
}

Failure ExplainFleetFailure(const std::string& servers, const absl::Status& status) {
  const std::string why = EscapeForTerminal(status.message());
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      return {ExitCode::kUnreachable,
              absl::StrContains(why, servers) ? why : absl::StrCat(servers, ": ", why)};
    case absl::StatusCode::kNotFound:
      return {ExitCode::kNotFound,
              absl::StrCat(servers, " has no stream or bucket of a fleet (", why,
                           "): create them by `vmevents fleet create`, unless these credentials "
                           "are of another account")};
    default:
      return {ExitCode::kFailed, why};
  }
}

namespace {

// The state of a stream after a request that creates or changes it.
absl::StatusOr<StreamState> Ask(NatsConnection* connection, absl::string_view api,
                                const std::string& stream, const std::string& request) {
  const absl::StatusOr<std::string> answer = AskJetStream(connection, api, stream, request);
  if (!answer.ok()) return answer.status();
  return ParseStreamState(*answer);
}

absl::StatusOr<std::string> CreateOne(NatsConnection* connection, const std::string& stream,
                                      const std::string& request) {
  const absl::StatusOr<std::string> answer = AskJetStream(connection, "STREAM.INFO", stream, "");
  if (!answer.ok()) return answer.status();
  absl::StatusOr<StreamState> state = ParseStreamState(*answer);
  if (absl::IsNotFound(state.status())) {
    state = Ask(connection, "STREAM.CREATE", stream, request);
    if (!state.ok()) {
      return absl::UnavailableError(
          absl::StrCat("the stream ", stream, " cannot be created: ", state.status().message()));
    }
    return absl::StrCat(stream, ": created\n");
  }
  if (!state.ok()) return state.status();
  if (!state->unfit.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the stream ", stream, " is there, and nodes cannot use it: ", state->unfit));
  }
  const std::string unsafe = state->unsafe;
  if (unsafe.empty()) return absl::StrCat(stream, ": is there\n");
  state = Ask(connection, "STREAM.UPDATE", stream, SafeUpdateRequest(*answer));
  if (!state.ok() || !state->unsafe.empty()) {
    return absl::UnavailableError(
        absl::StrCat("the stream ", stream, " is unsafe: ", state.ok() ? state->unsafe : unsafe,
                     ", and that cannot be turned off: ", state.status().message()));
  }
  return absl::StrCat(stream, ": no longer unsafe: ", unsafe, " before\n");
}

}  // namespace

absl::StatusOr<std::string> CreateFleet(NatsConnection* connection,
                                        const FleetCreateCommand& command) {
  const std::string events(kFleetStream);
  const int replicas = command.replicas;
  const std::pair<std::string, std::string> streams[] = {
      {events, CreateStreamRequest(events, replicas)},
      {BucketStream(kVmsBucket), CreateBucketRequest(kVmsBucket, replicas)},
      {BucketStream(kNodesBucket), CreateBucketRequest(kNodesBucket, replicas)}};
  std::string lines;
  for (const auto& [stream, request] : streams) {
    absl::StatusOr<std::string> line = CreateOne(connection, stream, request);
    if (!line.ok()) return line;
    lines += *line;
  }
  return lines;
}

}  // namespace vmeventd::client
