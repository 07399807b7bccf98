#pragma once

#include <csignal>
#include <string>

#include "gtest/gtest.h"

namespace vmeventd::e2e {

// Name the tests of a suite: after the `name` of their parameter; after the signal that it is.
inline constexpr auto kByName = [](const auto& test) { return test.param.name; };
inline constexpr auto kBySignal = [](const testing::TestParamInfo<int>& test) {
  return std::string(test.param == SIGKILL ? "Kill" : "Term");
};

}  // namespace vmeventd::e2e
