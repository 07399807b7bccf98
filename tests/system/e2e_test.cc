#include "tests/system/e2e_test.h"

#include <filesystem>
#include <iostream>
#include <regex>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/support/wait.h"

namespace vmeventd::e2e {

E2eTest::E2eTest() { std::filesystem::create_directory(watch_dir()); }

E2eTest::~E2eTest() {
  stream_.reset();
  daemon_.reset();
  if (!HasFailure()) return;
  std::cerr << "the daemon's log:\n" << ReadFile(Options().log_file) << std::endl;
}

DaemonOptions E2eTest::Options() const {
  DaemonOptions options;
  options.watches = {watch_dir() + ":*.kvmd"};
  options.socket = dir_ / "run/vmeventd.sock";
  options.state_dir = dir_ / "state";
  options.log_file = dir_ / "log";
  options.arguments = {"--log-level", "debug"};
  if (!event_limits_) options.tuning.push_back("event-limits=off");
  return options;
}

void E2eTest::StartDaemon(const DaemonOptions& options) {
  daemon_ = std::make_unique<Daemon>(options);
}

std::string E2eTest::LoopbackAddress() const {
  std::string address;
  WaitUntil("the log names the address", [&] {
    std::smatch found;
    const std::string log = ReadFile(Options().log_file);
    if (!std::regex_search(log, found, std::regex(R"((127\.0\.0\.1:\d+)\D)"))) return false;
    address = found[1].str();
    return true;
  });
  return address;
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

void E2eTest::StartDaemonAndStream() {
  StartDaemon();
  OpenStream();
}

std::unique_ptr<Guest> E2eTest::StartGuest(GuestOptions options) const {
  if (options.directory.empty()) options.directory = watch_dir();
  return std::make_unique<Guest>(std::move(options));
}

std::unique_ptr<Guest> E2eTest::StartEmptyGuest(const std::string& name) const {
  GuestOptions options;
  options.name = name;
  options.boot = Boot::kNothing;
  return StartGuest(std::move(options));
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

void WaitUntilAttached(const Daemon& daemon, const std::string& name, int times) {
  const std::string line = " " + name + " has answered everything";
  WaitUntil(absl::StrCat(name, " has answered everything, ", times, " times"), [&] {
    const std::vector<std::string> parts = absl::StrSplit(daemon.Log(), line);
    return parts.size() > static_cast<size_t>(times);
  });
}

void WaitUntilMigratedAway(const Daemon& daemon, const std::string& name) {
  WaitUntil(name + " was migrated away",
            [&] { return absl::StrContains(daemon.Log(), name + " was migrated away"); });
}

}  // namespace vmeventd::e2e
