// A guest agent, through which the host can shut down the guest without a trace on the monitor.

#include <string>

#include "gmock/gmock.h"
#include "tests/support/guest.h"
#include "tests/support/qemu_command.h"
#include "tests/system/e2e_test.h"
#include "tests/system/vm_end.h"

namespace vmeventd::e2e {
namespace {

using testing::Contains;
using testing::HasSubstr;

class GuestAgentTest : public E2eTest {
 protected:
  // `device`: properties of the agent's port other than its chardev and its name.
  std::unique_ptr<Guest> StartGuestWithPort(const std::string& device = ",id=channel0") {
    GuestOptions options = {.boot = Boot::kLinux};
    options.arguments = {
        "-device",  "virtio-serial",
        "-chardev", "null,id=qga",
        "-chardev", "null,id=other",
        "-device",  "virtserialport,chardev=other,name=com.example.0,id=channel1",
        "-device",  "virtserialport,chardev=qga,name=org.qemu.guest_agent.0" + device};
    return StartGuest(options);
  }
  // Opens the port like qemu-guest-agent. The first port is reserved, the second is the other one.
  static void OpenPort(Guest* guest) {
    guest->Type("exec 5<>/dev/vport0p2; echo OP\"\"EN");
    guest->WaitOutput("OPEN");
  }
  v1::Event PowerOff(Guest* guest) {
    guest->PowerOff();
    return ExpectStopped(kGuestPoweroff);
  }
};

TEST_F(GuestAgentTest, AnAgentThatConnectsWhileTheVmIsFollowedIsACaveat) {
  StartDaemonAndStream();
  const auto guest = StartGuestWithPort();
  OpenPort(guest.get());
  const v1::Event stopped = PowerOff(guest.get());
  EXPECT_THAT(stopped.shutdown().caveats(), Contains(v1::SHUTDOWN_CAVEAT_GUEST_AGENT_CONNECTED));
  EXPECT_THAT(EvidenceOf(stopped), Contains(HasSubstr("guest agent connected")));
}

TEST_F(GuestAgentTest, AnAgentOnAPortThatQemuDoesNotReportIsAPossibleCaveat) {
  StartDaemonAndStream();
  const auto guest = StartGuestWithPort("");
  OpenPort(guest.get());
  const v1::Event stopped = PowerOff(guest.get());
  EXPECT_THAT(stopped.shutdown().caveats(), Contains(v1::SHUTDOWN_CAVEAT_GUEST_AGENT_POSSIBLE));
}

}  // namespace
}  // namespace vmeventd::e2e
