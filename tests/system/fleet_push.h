#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "tests/support/child_process.h"
#include "tests/support/files.h"
#include "tests/support/wait.h"
#include "tests/system/e2e_test.h"
#include "tests/system/vmevents_command.h"

namespace vmeventd::e2e {

// A `vmevents push` of one daemon into a fleet's stream.
class FleetPush {
 public:
  // `daemon`: its address. `directory`: of the push's state and its log. `arguments`: further ones.
  FleetPush(const std::string& daemon, const std::string& servers, const std::string& cluster,
            std::string directory, const std::vector<std::string>& arguments = {})
      : directory_(std::move(directory)) {
    command_.arguments =
        VmeventsCommand(daemon, {"push", servers, "--cluster", cluster, "--state-dir", directory_});
    command_.arguments.insert(command_.arguments.end(), arguments.begin(), arguments.end());
    command_.error_file = directory_ + ".log";
    Start();
  }

  void Start() { process_ = std::make_unique<ChildProcess>(command_); }
  // Ends the push; returns its wait status.
  int End(int signal) {
    process_->Signal(signal);
    return process_->Wait();
  }
  void Signal(int signal) { process_->Signal(signal); }
  std::string log() const { return ReadFile(command_.error_file); }
  void WaitLog(const std::string& text) const {
    WaitUntil("the push's log has " + text, [&] { return log().find(text) != std::string::npos; });
  }
  std::string cursor() const { return directory_ + "/cursor.json"; }
  // The stream has an event before the push has its acknowledgement and has saved its position.
  void WaitPosition(uint64_t sequence) const {
    WaitUntil(absl::StrCat("the push's position is ", sequence), [&] {
      if (!Exists(cursor())) return false;
      const auto saved = nlohmann::json::parse(ReadFile(cursor()));
      return saved.at("positions").at(0).at("sequence") == absl::StrCat(sequence);
    });
  }

 private:
  const std::string directory_;
  ChildOptions command_;
  std::unique_ptr<ChildProcess> process_;
};

}  // namespace vmeventd::e2e
