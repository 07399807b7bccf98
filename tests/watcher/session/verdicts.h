#pragma once

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/watcher/session/session_driver.h"

// What a test expects of the end of a session.

namespace vmeventd {

// The texts of the evidence, each followed by "; ".
inline std::string EvidenceOf(const v1::ShutdownDetail& detail) {
  std::string text;
  for (const v1::Evidence& seen : detail.evidence()) absl::StrAppend(&text, seen.what(), "; ");
  return text;
}

inline void ExpectVerdict(const SessionDriver& vm, ShutdownClass shutdown_class,
                          ShutdownCause cause) {
  const v1::ShutdownDetail& detail = vm.Stopped();
  EXPECT_EQ(detail.shutdown_class(), shutdown_class) << vm.Last().message();
  EXPECT_EQ(detail.cause(), cause) << vm.Last().message();
  EXPECT_FALSE(detail.evidence().empty());
  EXPECT_EQ(std::count(vm.log.begin(), vm.log.end(), "STOPPED"), 1);
  if (shutdown_class != ShutdownClass::kUnknown) {
    EXPECT_EQ(vm.file, shutdown_class == ShutdownClass::kUser);
  }
}

}  // namespace vmeventd
