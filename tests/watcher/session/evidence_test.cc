#include "watcher/session/evidence.h"

#include "gtest/gtest.h"

namespace vmeventd {
namespace {

TEST(EvidenceTest, EveryReasonOfQemuIsKnown) {
  // qapi/run-state.json of QEMU 7.2, without those that end no VM.
  for (const char* reason : {"host-error", "host-qmp-quit", "host-qmp-system-reset", "host-signal",
                             "host-ui", "guest-shutdown", "guest-reset", "guest-panic"}) {
    EXPECT_NE(ParseShutdownReason(reason), ShutdownReason::kOther) << reason;
  }
  EXPECT_EQ(ParseShutdownReason(""), ShutdownReason::kMissing);
  EXPECT_EQ(ParseShutdownReason("snapshot-load"), ShutdownReason::kOther);
}

}  // namespace
}  // namespace vmeventd
