#include "client/fleet/fleet_servers.h"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/nats/jetstream_api.h"
#include "client/nats/stream_reader.h"
#include "client/nats/subject.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {

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
                                      const std::string& request, int replicas) {
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
  std::vector<std::string> changes;
  if (!state->unsafe.empty()) {
    changes.push_back(absl::StrCat("no longer unsafe: ", state->unsafe, " before"));
  }
  if (replicas > 0 && state->replicas != static_cast<uint64_t>(replicas)) {
    // nats-server 2.9.10 takes it, and has lost the stream after its next start.
    if (!state->clustered) {
      return absl::UnavailableError(
          absl::StrCat("the stream ", stream,
                       " has 1 replica, and its server is in no cluster, which alone "
                       "stores ",
                       replicas, ": have the servers form one first"));
    }
    changes.push_back(absl::StrCat("replicas ", replicas, " instead of ", state->replicas));
  }
  if (changes.empty()) return absl::StrCat(stream, ": is there\n");
  const std::string wanted = absl::StrJoin(changes, "; ");
  state = Ask(connection, "STREAM.UPDATE", stream, UpdateRequest(*answer, replicas));
  if (state.ok() && state->unsafe.empty()) return absl::StrCat(stream, ": ", wanted, "\n");
  return absl::UnavailableError(
      absl::StrCat("the stream ", stream, " cannot be changed (", wanted,
                   "): ", state.ok() ? state->unsafe : state.status().message()));
}

}  // namespace

absl::StatusOr<std::string> CreateFleet(NatsConnection* connection,
                                        const FleetCreateCommand& command) {
  const std::string events(kFleetStream);
  const int replicas = std::max(command.replicas, 1);
  const std::pair<std::string, std::string> streams[] = {
      {events, CreateStreamRequest(events, replicas)},
      {BucketStream(kVmsBucket), CreateBucketRequest(kVmsBucket, replicas)},
      {BucketStream(kNodesBucket), CreateBucketRequest(kNodesBucket, replicas)}};
  std::string lines;
  for (const auto& [stream, request] : streams) {
    absl::StatusOr<std::string> line = CreateOne(connection, stream, request, command.replicas);
    if (!line.ok()) return line;
    lines += *line;
  }
  return lines;
}

}  // namespace vmeventd::client
