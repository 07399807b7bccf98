// An orchestrator declares what it is about to do.

#include <csignal>
#include <functional>

#include "tests/system/e2e_test.h"

namespace vmeventd::e2e {
namespace {

class IntentTest : public E2eTest {
 protected:
  // Declares an intent for a VM, runs `end`, and returns the STOPPED.
  v1::Event StoppedBy(const std::function<void(Guest&)>& end) {
    StartDaemonAndStream();
    const auto guest = StartGuest();
    stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
    intent_ = DeclareIntent("vm1");
    end(*guest);
    v1::Event stopped = WaitStopped();
    EXPECT_EQ(stopped.shutdown().intent().intent_id(), intent_.intent_id()) << stopped.message();
    EXPECT_EQ(stopped.shutdown().intent().actor(), "orchestrator");
    return stopped;
  }

  v1::Intent intent_;
};

TEST_F(IntentTest, AGuestsPoweroffIsTheAdminsAndLeavesNoFile) {
  const v1::Event stopped = StoppedBy([](Guest& guest) { guest.PowerOff(); });
  EXPECT_EQ(stopped.shutdown().shutdown_class(), v1::SHUTDOWN_CLASS_ADMIN) << stopped.message();
  EXPECT_FALSE(FileAtStop("vm1"));
}

TEST_F(IntentTest, SurvivesAKillOfTheDaemon) {
  const v1::Event stopped = StoppedBy([this](Guest& guest) {
    EndDaemon(SIGKILL);
    StartDaemonAndStream();
    EXPECT_EQ(daemon().GetVm("vm1").intent().intent_id(), intent_.intent_id());
    guest.Signal(SIGKILL);
  });
  EXPECT_EQ(stopped.shutdown().shutdown_class(), v1::SHUTDOWN_CLASS_ADMIN) << stopped.message();
}

}  // namespace
}  // namespace vmeventd::e2e
