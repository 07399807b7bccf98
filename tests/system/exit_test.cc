// How a QEMU's process ended, whatever its parent does: vmeventd is never the parent.

#include <csignal>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/system/e2e_test.h"

namespace vmeventd::e2e {
namespace {

class ExitTest : public E2eTest {};

TEST_F(ExitTest, ParentReapsLateOrNever) {
  StartDaemonAndStream();
  const auto guest = StartEmptyGuest("vm1");
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  guest->Signal(SIGKILL);
  const v1::Event stopped = stream().Wait("vm1", v1::EVENT_TYPE_STOPPED);
  EXPECT_EQ(stopped.shutdown().class_(), v1::SHUTDOWN_CLASS_CRASH) << stopped.message();
  EXPECT_EQ(stopped.shutdown().cause(), v1::SHUTDOWN_CAUSE_QEMU_KILLED) << stopped.message();
  EXPECT_EQ(stopped.shutdown().exit_signal(), SIGKILL);
  const std::string stat = ReadFile(absl::StrCat("/proc/", guest->pid(), "/stat"));
  EXPECT_EQ(stat.substr(stat.rfind(')') + 2, 1), "Z") << "it is still a zombie";
  EXPECT_EQ(daemon().GetVm("vm1").state(), v1::VM_STATE_STOPPED);
}

TEST_F(ExitTest, TheServerNamesTheSource) {
  StartDaemon();
  EXPECT_THAT(daemon().GetServerInfo().exit_status_source(),
              testing::AnyOf("pidfd", "proc-connector", "none"));
}

}  // namespace
}  // namespace vmeventd::e2e
