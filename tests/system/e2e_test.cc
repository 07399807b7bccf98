#include "tests/system/e2e_test.h"

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/support/programs.h"
#include "tests/support/wait.h"

namespace vmeventd::e2e {

void ExpectEnd(const v1::Event& stopped, const VmEnd& end) {
  const v1::ShutdownDetail& is = stopped.shutdown();
  EXPECT_EQ(v1::ShutdownClass_Name(is.shutdown_class()), v1::ShutdownClass_Name(end.shutdown_class))
      << stopped.vm().name() << ": " << stopped.message();
  EXPECT_EQ(v1::ShutdownCause_Name(is.cause()), v1::ShutdownCause_Name(end.cause))
      << stopped.vm().name() << ": " << stopped.message();
}

std::vector<std::string> EvidenceOf(const v1::Event& stopped) {
  std::vector<std::string> what;
  for (const v1::Evidence& entry : stopped.shutdown().evidence()) what.push_back(entry.what());
  return what;
}

E2eTest::E2eTest() { std::filesystem::create_directory(watch_dir()); }

E2eTest::~E2eTest() {
  stream_.reset();
  daemon_.reset();
  if (!HasFailure()) return;
  std::cerr << "the daemon's log:\n" << ReadFile(Options().log_file) << std::endl;
}

DaemonOptions E2eTest::Options(const std::vector<std::string>& arguments) const {
  DaemonOptions options;
  options.watches = {watch_dir() + ":*.kvmd"};
  options.socket = dir_ / "run/vmeventd.sock";
  options.state_dir = dir_ / "state";
  options.log_file = dir_ / "log";
  options.arguments = arguments;
  if (!event_limits_) options.tuning.push_back("event-limits=off");
  return options;
}

void E2eTest::StartDaemon(const DaemonOptions& options) {
  daemon_ = std::make_unique<Daemon>(options);
}

std::string E2eTest::LoopbackAddress() {
  const v1::GetServerInfoResponse info = daemon_->GetServerInfo();
  for (const v1::Listener& listener : info.listeners()) {
    if (absl::StartsWith(listener.address(), "127.0.0.1:")) return listener.address();
  }
  Fail("the daemon has no such listener");
}

void E2eTest::OpenStream() {
  stream_.reset();
  stream_ = std::make_unique<EventStream>(
      daemon_->channel(), FromOldest(), [this](const v1::Event& event) {
        if (event.type() != v1::EVENT_TYPE_STOPPED) return;
        const std::string& name = event.vm().name();
        const bool exists = Exists(watch_dir() + "/" + name + ".shutdown");
        const std::lock_guard<std::mutex> lock(mutex_);
        file_at_stop_[name] = exists;
      });
}

void E2eTest::StartDaemonAndStream(const DaemonOptions& options) {
  StartDaemon(options);
  OpenStream();
}

int E2eTest::EndDaemon(int signal) {
  daemon_->Signal(signal);
  const int status = daemon_->WaitExit();
  StopDaemon();
  return status;
}

size_t E2eTest::CountDescriptors() {
  const std::filesystem::directory_iterator all(absl::StrCat("/proc/", daemon_->pid(), "/fd"));
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

void E2eTest::WaitNewest(uint64_t sequence) {
  WaitUntil(absl::StrCat("the event ", sequence, " is published"),
            [&] { return daemon_->GetServerInfo().newest_sequence() >= sequence; });
}

std::unique_ptr<Guest> E2eTest::StartGuest(GuestOptions options) const {
  if (options.directory.empty()) options.directory = watch_dir();
  return std::make_unique<Guest>(std::move(options));
}

std::unique_ptr<Guest> E2eTest::StartEmptyGuest(const std::string& name) const {
  return StartGuest({.name = name, .boot = Boot::kNothing});
}

v1::Event E2eTest::WaitFollowed(const std::string& name) {
  v1::Event started = stream_->Wait(name, v1::EVENT_TYPE_STARTED);
  WaitUntilAttached(*daemon_, name);
  return started;
}

v1::Event E2eTest::WaitStopped(const std::string& name, int nth) {
  return stream_->Wait(name, v1::EVENT_TYPE_STOPPED, nth);
}

v1::Event E2eTest::ExpectStopped(const VmEnd& end, const std::string& name, int nth) {
  v1::Event stopped = WaitStopped(name, nth);
  ExpectEnd(stopped, end);
  return stopped;
}

v1::Intent E2eTest::DeclareIntent(const std::string& name) {
  v1::DeclareIntentRequest request;
  request.set_vm_name(name);
  request.set_actor("orchestrator");
  request.set_reason("makes room");
  grpc::ClientContext context;
  v1::DeclareIntentResponse response;
  const grpc::Status status = daemon_->stub().DeclareIntent(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response.intent();
}

bool E2eTest::FileAtStop(const std::string& name) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return file_at_stop_.at(name);
}

v1::WatchEventsRequest FromOldest() {
  v1::WatchEventsRequest request;
  request.set_from_oldest(true);
  return request;
}

std::vector<std::string> VmeventsCommand(const std::string& server,
                                         const std::vector<std::string>& arguments) {
  std::vector<std::string> command = {ProgramPath("vmevents"), "--server", server};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

void WaitUntilAttached(Daemon& daemon, const std::string& name) {
  WaitUntil(name + " is attached", [&] {
    const std::vector<v1::Vm> vms = daemon.ListVms(/*include_stopped=*/false);
    return std::any_of(vms.begin(), vms.end(),
                       [&](const v1::Vm& vm) { return vm.ref().name() == name && vm.attached(); });
  });
}

void WaitUntilMigratedAway(const Daemon& daemon, const std::string& name) {
  daemon.WaitLog(name + " was migrated away");
}

}  // namespace vmeventd::e2e
