#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "tests/watcher/runs/child.h"

namespace vmeventd {

// A process with these arguments, which it has when this returns.
inline std::unique_ptr<Child> StartSleeping(const char* program, const char* option,
                                            const std::string& value) {
  // Before its exec the process looks like this test.
  int running[2];
  EXPECT_EQ(pipe2(running, O_CLOEXEC), 0);
  auto process = std::make_unique<Child>([&] {
    return execl("/bin/sh", program, "-c", "while :; do sleep 1; done", program, option,
                 value.c_str(), nullptr);
  });
  close(running[1]);
  char byte = 0;
  EXPECT_EQ(read(running[0], &byte, 1), 0);
  close(running[0]);
  return process;
}

}  // namespace vmeventd
