#include "client/fleet/fleet_create.h"

#include "absl/strings/str_cat.h"
#include "base/nats/jetstream_api.h"
#include "base/nats/stream_reader.h"
#include "base/nats/subject.h"

namespace vmeventd::client {
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
  std::string lines;
  const std::string events(kFleetStream);
  absl::StatusOr<std::string> line =
      CreateOne(connection, events, CreateStreamRequest(events, command.replicas));
  if (!line.ok()) return line;
  lines += *line;
  for (const absl::string_view bucket : {kVmsBucket, kNodesBucket}) {
    line =
        CreateOne(connection, BucketStream(bucket), CreateBucketRequest(bucket, command.replicas));
    if (!line.ok()) return line;
    lines += *line;
  }
  return lines;
}

}  // namespace vmeventd::client
