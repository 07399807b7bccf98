#ifndef VMEVENTD_CLIENT_COMMANDS_COMMANDS_H_
#define VMEVENTD_CLIENT_COMMANDS_COMMANDS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/commands/lists.h"
#include "client/commands/watch_cursor.h"
#include "client/connect/connection.h"
#include "client/connect/failure.h"
#include "client/connect/server_address.h"
#include "client/output/formatter.h"
#include "client/output/output.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

// The commands that ask one daemon one question. Each prints the server's answer and returns
// nothing, or the failure. It blocks for at most kRequestTimeout per request, or as the command
// states. An output whose reader has gone is no failure.

namespace vmeventd::client {

// Without a ttl the server's default applies.
struct DeclareIntentCommand {
  std::string name;
  std::string run_id;  // empty: the one run of that name
  std::string actor;
  std::string reason;
  std::optional<absl::Duration> ttl;
};

struct IntentsCommand {};

struct WithdrawIntentCommand {
  std::string intent_id;
};

struct InfoCommand {};

// The question whether the server serves, by gRPC's health checking protocol.
struct HealthCommand {
  std::string service;  // empty: the server as a whole
  absl::Duration timeout = absl::Seconds(5);
};

// The server to ask and the output. All pointers must outlive the call.
struct CommandContext {
  ServerAddress address;
  v1::VmEventService::StubInterface* stub = nullptr;
  grpc::health::v1::Health::StubInterface* health = nullptr;
  Formatter* formatter = nullptr;
  Output* output = nullptr;
  // Waits before it repeats a request that the server had no capacity for.
  std::function<void(absl::Duration)> wait = absl::SleepFor;
  // In [0, 1), for the random part of such a wait.
  std::function<double()> random = RandomFraction;
};

std::optional<Failure> RunCommand(const DeclareIntentCommand& command,
                                  const CommandContext& context);
std::optional<Failure> RunCommand(const IntentsCommand& command, const CommandContext& context);
std::optional<Failure> RunCommand(const WithdrawIntentCommand& command,
                                  const CommandContext& context);
std::optional<Failure> RunCommand(const InfoCommand& command, const CommandContext& context);
std::optional<Failure> RunCommand(const HealthCommand& command, const CommandContext& context);

// The lists of one daemon. `context` must outlive it.
class DaemonLists : public ListSource {
 public:
  explicit DaemonLists(const CommandContext& context) : context_(context) {}
  std::optional<Failure> ReadEvents(const EventsCommand& command, const Take& take) override;
  std::optional<Failure> ReadVms(const VmsCommand& command, VmList* vms) override;
  std::optional<Failure> ReadVm(const VmCommand& command, VmList* vm) override;

 private:
  const CommandContext& context_;
};

// The server's own state. The caller prints it.
std::optional<Failure> ReadInfo(const CommandContext& context, v1::GetServerInfoResponse* info);

// Returns where the watches of several nodes begin so that together they first deliver the newest
// `last` events. `newest` has each node's newest events, newest first and at most `last`, of those
// at or after `since` if that is set. Pure.
std::vector<WatchStart> StartsOfLast(const std::vector<Formatter::Events>& newest,
                                     std::optional<absl::Time> since, uint64_t last);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_COMMANDS_COMMANDS_H_
