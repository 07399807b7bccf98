// An orchestrator declares what it is about to do.

#include <csignal>
#include <functional>
#include <string>

#include "gmock/gmock.h"
#include "tests/support/wait.h"
#include "tests/system/e2e_test.h"

namespace vmeventd::e2e {
namespace {

using testing::HasSubstr;

class IntentTest : public E2eTest {
 protected:
  grpc::Status Declare(const std::string& name, v1::Intent* intent,
                       absl::Duration ttl = absl::Minutes(5)) {
    v1::DeclareIntentRequest request;
    request.set_vm_name(name);
    request.set_actor("orchestrator");
    request.set_reason("makes room");
    request.mutable_ttl()->set_seconds(absl::ToInt64Seconds(ttl));
    grpc::ClientContext context;
    v1::DeclareIntentResponse response;
    grpc::Status status = daemon().stub().DeclareIntent(&context, request, &response);
    *intent = response.intent();
    return status;
  }

  // Declares an intent for a VM, runs `end`, and returns the STOPPED.
  v1::Event StoppedBy(const std::function<void(Guest&)>& end, GuestOptions options = {}) {
    StartDaemonAndStream();
    const auto guest = StartGuest(std::move(options));
    stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
    const grpc::Status status = Declare("vm1", &intent_);
    EXPECT_TRUE(status.ok()) << status.error_message();
    end(*guest);
    v1::Event stopped = stream().Wait("vm1", v1::EVENT_TYPE_STOPPED);
    EXPECT_EQ(stopped.shutdown().intent().intent_id(), intent_.intent_id()) << stopped.message();
    EXPECT_EQ(stopped.shutdown().intent().actor(), "orchestrator");
    return stopped;
  }

  v1::Intent intent_;
};

TEST_F(IntentTest, AKillIsTheAdmins) {
  const v1::Event stopped = StoppedBy([](Guest& guest) { guest.Signal(SIGKILL); });
  EXPECT_EQ(stopped.shutdown().class_(), v1::SHUTDOWN_CLASS_ADMIN) << stopped.message();
  EXPECT_EQ(stopped.shutdown().cause(), v1::SHUTDOWN_CAUSE_QEMU_KILLED);
  EXPECT_EQ(stopped.shutdown().exit_signal(), SIGKILL);
}

TEST_F(IntentTest, AGuestsPoweroffIsTheAdminsAndLeavesNoFile) {
  const v1::Event stopped = StoppedBy([](Guest& guest) { guest.Type("poweroff -f"); });
  EXPECT_EQ(stopped.shutdown().class_(), v1::SHUTDOWN_CLASS_ADMIN) << stopped.message();
  EXPECT_FALSE(FileAtStop("vm1"));
}

TEST_F(IntentTest, AGuestsPanicStaysACrash) {
  GuestOptions options;
  options.arguments = {"-device", "pvpanic"};
  const v1::Event stopped =
      StoppedBy([](Guest& guest) { guest.Type("echo c > /proc/sysrq-trigger"); }, options);
  EXPECT_EQ(stopped.shutdown().class_(), v1::SHUTDOWN_CLASS_CRASH) << stopped.message();
  EXPECT_EQ(stopped.shutdown().cause(), v1::SHUTDOWN_CAUSE_GUEST_PANIC);
}

TEST_F(IntentTest, ACrashOfQemuStaysACrash) {
  const v1::Event stopped = StoppedBy([](Guest& guest) { guest.Signal(SIGSEGV); });
  EXPECT_EQ(stopped.shutdown().class_(), v1::SHUTDOWN_CLASS_CRASH) << stopped.message();
  EXPECT_EQ(stopped.shutdown().cause(), v1::SHUTDOWN_CAUSE_QEMU_CRASHED);
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

TEST_F(IntentTest, EndsWhenItExpires) {
  StartDaemonAndStream();
  const auto guest = StartEmptyGuest("vm1");
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  ASSERT_TRUE(Declare("vm1", &intent_, absl::Seconds(1)).ok());
  const v1::Event over = stream().Wait("vm1", v1::EVENT_TYPE_INTENT_WITHDRAWN);
  EXPECT_EQ(over.intent().intent_id(), intent_.intent_id());
  EXPECT_THAT(over.message(), HasSubstr("expired"));
  EXPECT_FALSE(daemon().GetVm("vm1").has_intent());
  guest->Signal(SIGKILL);
  const v1::Event stopped = stream().Wait("vm1", v1::EVENT_TYPE_STOPPED);
  EXPECT_EQ(stopped.shutdown().class_(), v1::SHUTDOWN_CLASS_CRASH) << stopped.message();
}

TEST_F(IntentTest, NeedsARunningVmWithoutAnIntent) {
  StartDaemonAndStream();
  EXPECT_EQ(Declare("vm1", &intent_).error_code(), grpc::NOT_FOUND);
  const auto guest = StartEmptyGuest("vm1");
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  ASSERT_TRUE(Declare("vm1", &intent_).ok());
  EXPECT_TRUE(stream().Wait("vm1", v1::EVENT_TYPE_INTENT_DECLARED).durable());
  v1::Intent other;
  const grpc::Status second = Declare("vm1", &other);
  EXPECT_EQ(second.error_code(), grpc::ALREADY_EXISTS);
  EXPECT_THAT(second.error_message(), HasSubstr(intent_.intent_id()));
  guest->Signal(SIGKILL);
  stream().Wait("vm1", v1::EVENT_TYPE_STOPPED);
  EXPECT_EQ(Declare("vm1", &other).error_code(), grpc::NOT_FOUND);
}

}  // namespace
}  // namespace vmeventd::e2e
