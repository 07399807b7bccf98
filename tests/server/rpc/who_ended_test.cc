#include "server/rpc/who_ended.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/support/proto_text.h"

namespace vmeventd {
namespace {

// The party that ended a VM of that source.
std::string Who(const std::string& shutdown, const std::string& source = "qmp:/run/vms") {
  v1::VmRef vm;
  vm.set_source(source);
  return WhoOf(FromText<v1::ShutdownDetail>(shutdown), vm);
}

TEST(WhoEndedTest, NamesTheActorOrElseTheSenderTheManagerTheGuestOrTheHost) {
  const std::string intended = "intent { actor: 'alice' } sender { command: 'bash' } ";
  EXPECT_EQ(Who(intended + "shutdown_class: SHUTDOWN_CLASS_ADMIN"), "alice");
  EXPECT_EQ(Who(intended + "shutdown_class: SHUTDOWN_CLASS_CRASH"), "bash") << "it did not decide";
  EXPECT_EQ(Who("sender { executable: '/usr/sbin/virtqemud' uid: 0 }"), "virtqemud");
  EXPECT_EQ(Who("sender { executable: '/usr/sbin/virtqemud' command: 'rpc-virtqemud' }"),
            "virtqemud");
  EXPECT_EQ(Who("sender { executable: '/usr/bin/python3.11' command: 'janitor.py' }"),
            "janitor.py");
  EXPECT_EQ(Who("sender { command: 'bash' uid: 1000 }"), "bash (uid 1000)");
  EXPECT_EQ(Who("sender { command: 'kill' uid: 0 login_uid: 1000 login_user: 'bob' }"), "bob");
  EXPECT_EQ(Who("sender { command: 'kill' uid: 0 login_uid: 1000 }"), "kill (uid 1000)");
  EXPECT_EQ(Who("sender { pid: 7 }"), "pid 7");
  EXPECT_EQ(Who("sender { kernel: true }"), "the kernel");
  EXPECT_EQ(Who("sender { of_qemu: true command: 'x' }"), "QEMU itself");
  const std::string destroyed =
      "shutdown_class: SHUTDOWN_CLASS_ADMIN cause: SHUTDOWN_CAUSE_HOST_DESTROY";
  EXPECT_EQ(Who(destroyed, "libvirt:qemu:///system"), "libvirt");
  EXPECT_EQ(Who(destroyed, "xen:dom0"), "xen");
  EXPECT_EQ(Who(destroyed, ""), "the manager");
  EXPECT_EQ(Who("shutdown_class: SHUTDOWN_CLASS_ADMIN cause: SHUTDOWN_CAUSE_HOST_QUIT"),
            "the host");
  EXPECT_EQ(Who("shutdown_class: SHUTDOWN_CLASS_USER cause: SHUTDOWN_CAUSE_GUEST_POWEROFF"),
            "the guest");
  EXPECT_EQ(Who("shutdown_class: SHUTDOWN_CLASS_CRASH cause: SHUTDOWN_CAUSE_GUEST_PANIC"),
            "the guest");
  EXPECT_EQ(Who("shutdown_class: SHUTDOWN_CLASS_UNKNOWN cause: SHUTDOWN_CAUSE_UNOBSERVED"),
            "unknown");
}

}  // namespace
}  // namespace vmeventd
