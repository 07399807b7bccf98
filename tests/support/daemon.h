#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "grpcpp/grpcpp.h"
#include "tests/support/child_process.h"
#include "tests/support/programs.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

namespace vmeventd::e2e {

struct DaemonOptions {
  std::vector<std::string> watches;  // --watch
  std::string socket;                // --listen unix:...
  std::string state_dir;             // --state-dir
  std::string log_file;
  std::vector<std::string> arguments;  // additional arguments
  // --signal-senders. Off by default: otherwise, depending on the machine, the daemon would report
  // the test as the sender.
  std::string signal_senders = "off";
  // A command that runs the daemon, such as setpriv with its options.
  std::vector<std::string> wrapper;
  std::optional<unsigned> max_descriptors;
  std::string program = ProgramPath("vmeventd");
  // Settings without a flag, in the form of tests/support/tuned_vmeventd.cc, which then runs
  // instead of `program`; empty: `program` runs.
  std::vector<std::string> tuning;
};

// The command that starts a daemon with these options.
ChildOptions DaemonCommand(const DaemonOptions& options);

// A running vmeventd.
class Daemon {
 public:
  // Returns after its health service reports SERVING: the directories have been scanned. Without
  // `wait` it returns at once; then call WaitReady() before any RPC.
  explicit Daemon(const DaemonOptions& options, bool wait = true);
  void WaitReady();

  // The address in the form that gRPC and vmevents take.
  const std::string& server_address() const { return address_; }
  std::shared_ptr<grpc::Channel> channel() const { return channel_; }
  v1::VmEventService::Stub& stub() { return *stub_; }

  // The log so far, if its options name a file for it.
  std::string Log() const;
  // Waits until the log contains `text`. The daemon writes its log on a separate thread, which may
  // be late.
  void WaitLog(const std::string& text) const;

  v1::Vm GetVm(const std::string& name);
  std::vector<v1::Vm> ListVms(bool include_stopped);
  // All retained events.
  std::vector<v1::Event> ListEvents();
  v1::GetServerInfoResponse GetServerInfo();

  pid_t pid() const { return process_.pid(); }
  // Resident memory. Fails the test under a sanitizer, because sanitizers delay freeing: tests that
  // limit memory belong to suites *MemoryTest, which run with the shipped daemon.
  size_t ResidentMiB() const;
  bool has_exited() { return process_.has_exited(); }
  void Signal(int signal) { process_.Signal(signal); }
  int WaitExit() { return process_.Wait(); }

 private:
  const DaemonOptions options_;
  const std::string address_;
  ChildProcess process_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::VmEventService::Stub> stub_;
};
}  // namespace vmeventd::e2e
