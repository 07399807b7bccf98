// An orchestrator declares what it is about to do.

#include <csignal>
#include <functional>
#include <string>

#include "gmock/gmock.h"
#include "tests/system/e2e_test.h"

namespace vmeventd::e2e {
namespace {

class IntentTest : public E2eTest {
 protected:
  // Declares an intent for a VM, runs `end`, and returns the STOPPED.
  v1::Event StoppedBy(const std::function<void(Guest&)>& end) {
    StartDaemonAndStream();
    const auto guest = StartGuest({});
    stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
    v1::DeclareIntentRequest request;
    request.set_vm_name("vm1");
    request.set_actor("orchestrator");
    request.set_reason("makes room");
    grpc::ClientContext context;
    v1::DeclareIntentResponse response;
    const grpc::Status status = daemon().stub().DeclareIntent(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    intent_ = response.intent();
    end(*guest);
    v1::Event stopped = stream().Wait("vm1", v1::EVENT_TYPE_STOPPED);
    EXPECT_EQ(stopped.shutdown().intent().intent_id(), intent_.intent_id()) << stopped.message();
    EXPECT_EQ(stopped.shutdown().intent().actor(), "orchestrator");
    return stopped;
  }

  v1::Intent intent_;
};

TEST_F(IntentTest, AGuestsPoweroffIsTheAdminsAndLeavesNoFile) {
  const v1::Event stopped = StoppedBy([](Guest& guest) { guest.Type("poweroff -f"); });
  EXPECT_EQ(stopped.shutdown().class_(), v1::SHUTDOWN_CLASS_ADMIN) << stopped.message();
  EXPECT_FALSE(FileAtStop("vm1"));
}

TEST_F(IntentTest, SurvivesAKillOfTheDaemon) {
  const v1::Event stopped = StoppedBy([this](Guest& guest) {
    daemon().Signal(SIGKILL);
    daemon().WaitExit();
    StopDaemon();
    StartDaemon();
    OpenStream();
    EXPECT_EQ(daemon().GetVm("vm1").intent().intent_id(), intent_.intent_id());
    guest.Signal(SIGKILL);
  });
  EXPECT_EQ(stopped.shutdown().class_(), v1::SHUTDOWN_CLASS_ADMIN) << stopped.message();
}

}  // namespace
}  // namespace vmeventd::e2e
