#pragma once

#include <sys/types.h>
#include <sys/wait.h>

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <string>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/watcher/qmp/restart_fixture.h"

namespace vmeventd {

class NodeWatcherProcessTest : public RestartTest {
 protected:
  static size_t OpenDescriptors() {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return static_cast<size_t>(std::distance(begin(all), end(all)));
  }
  void Rename(const std::string& from, const std::string& to) {
    ASSERT_EQ(std::rename(Socket(from).c_str(), Socket(to).c_str()), 0);
  }
  static void AwaitEnd(pid_t pid) {
    siginfo_t info;
    ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  }
  // Turns in which nothing is due any more.
  void Turns() {
    for (int i = 0; i < 20; ++i) watcher_->RunOnce(absl::ZeroDuration());
  }
};

}  // namespace vmeventd
