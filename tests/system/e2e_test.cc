#include "tests/system/e2e_test.h"

#include <filesystem>
#include <iostream>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/support/fail.h"
#include "tests/support/guest.h"
#include "tests/support/qemu_command.h"
#include "tests/support/wait.h"
#include "tests/support/watch_requests.h"
#include "tests/system/daemon_waits.h"
#include "tests/system/vm_end.h"

namespace vmeventd::e2e {

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
      daemon_->channel(), FromTheOldest(), [this](const v1::Event& event) {
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

}  // namespace vmeventd::e2e
