#pragma once

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "client/nats/connection.h"
#include "client/nats/options.h"
#include "tests/support/fail.h"
#include "tests/support/wait.h"
#include "tests/system/fleet_push.h"
#include "tests/system/journal_test_base.h"
#include "tests/system/vmevents_command.h"

namespace vmeventd::e2e {

// A daemon, and a push of its events into a NATS server that checks who publishes.
class FleetSecurityTest : public JournalTestBase {
 protected:
  // A server that has no turn for two seconds is too late for a connection: another one is tried.
  static std::unique_ptr<client::NatsConnection> Connect(const client::NatsOptions& options) {
    absl::StatusOr<std::unique_ptr<client::NatsConnection>> connection =
        absl::UnknownError("not tried");
    WaitUntil("the NATS server takes a connection in time", [&] {
      connection = client::ConnectNats(options);
      return connection.ok() || !absl::StrContains(connection.status().message(), ": Timeout");
    });
    if (!connection.ok()) Fail(std::string(connection.status().message()));
    return *std::move(connection);
  }
  // vmevents with these arguments, to a server.
  static CommandResult Vmevents(const std::string& server, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"-o", "json"});
    return RunCommand({.arguments = VmeventsCommand(server, arguments)});
  }

  // The path of a file with these contents.
  std::string Write(const std::string& name, const std::string& contents) {
    std::string path = dir() / name;
    std::ofstream(path) << contents;
    return path;
  }
  // Starts a daemon, and a push of its events with these arguments.
  void StartPublishing(const std::string& url, const std::vector<std::string>& arguments,
                       const std::string& cluster = "test",
                       const std::vector<std::string>& daemon_arguments = {}) {
    StartDaemon(Options(daemon_arguments));
    push_ = std::make_unique<FleetPush>(daemon().server_address(), url, cluster, dir() / "push",
                                        arguments);
  }
  FleetPush& push() { return *push_; }

 private:
  std::unique_ptr<FleetPush> push_;
};

}  // namespace vmeventd::e2e
