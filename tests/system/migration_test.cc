// A VM that moves from one QEMU to another.

#include <unistd.h>

#include <csignal>
#include <memory>
#include <string>

#include "tests/support/guest.h"
#include "tests/support/qemu_command.h"
#include "tests/support/unix_socket.h"
#include "tests/support/wait.h"
#include "tests/system/daemon_waits.h"
#include "tests/system/e2e_test.h"
#include "tests/system/vm_end.h"

namespace vmeventd::e2e {
namespace {

class MigrationTest : public E2eTest {
 protected:
  // A QEMU that waits for a VM.
  std::unique_ptr<Guest> StartDestination(const std::string& channel, Boot boot = Boot::kSector) {
    auto destination = StartGuest({.name = "destination",
                                   .boot = boot,
                                   .arguments = {"-incoming", channel},
                                   .wait_until_ready = false});
    stream().Wait("destination", v1::EVENT_TYPE_STARTED);
    return destination;
  }
};

TEST_F(MigrationTest, SourceMigratesAndTheVmContinuesAtItsDestination) {
  StartDaemonAndStream();
  const auto source = StartGuest({.name = "source"});
  const std::string channel = "unix:" + dir() / "migration";
  const auto destination = StartDestination(channel);
  stream().Wait("source", v1::EVENT_TYPE_STARTED);
  EXPECT_EQ(daemon().GetVm("destination").state(), v1::VM_STATE_PAUSED);

  source->manager().Execute("migrate", {{"uri", channel}});
  stream().Wait("destination", v1::EVENT_TYPE_RESUMED);
  EXPECT_EQ(daemon().GetVm("destination").state(), v1::VM_STATE_RUNNING);
  WaitUntilMigratedAway(daemon(), "source");
  source->manager().Execute("quit");
  ExpectStopped(kMigratedAway, "source");
  EXPECT_FALSE(FileAtStop("source"));

  destination->PowerOff();
  ExpectStopped(kGuestPoweroff, "destination");
  EXPECT_TRUE(FileAtStop("destination"));
}

// The destination has no VM in any of these cases.
class IncomingTest : public MigrationTest {
 protected:
  void ExpectMigrationFailed() {
    const v1::Event stopped = ExpectStopped(kMigrationFailed, "destination");
    EXPECT_TRUE(stopped.shutdown().has_exit_code());
    EXPECT_EQ(stopped.shutdown().exit_code(), 1);
    EXPECT_FALSE(FileAtStop("destination"));
  }
};

TEST_F(IncomingTest, AnInvalidMigrationStreamIsNoCrash) {
  StartDaemonAndStream();
  const std::string channel = dir() / "migration";
  const auto destination = StartDestination("unix:" + channel);
  const int connection = ConnectUnix(channel);
  ASSERT_GE(connection, 0);
  const std::string garbage(64, 'x');  // no migration stream
  EXPECT_EQ(write(connection, garbage.data(), garbage.size()), 64);
  close(connection);
  EXPECT_NE(destination->WaitExit(), 0);
  ExpectMigrationFailed();
}

TEST_F(IncomingTest, ASourceThatBreaksOffIsNoCrashOfTheDestination) {
  StartDaemonAndStream();
  const auto source = StartGuest({.name = "source", .boot = Boot::kLinux});
  stream().Wait("source", v1::EVENT_TYPE_STARTED);
  const std::string channel = "unix:" + dir() / "migration";
  const auto destination = StartDestination(channel, Boot::kLinux);
  source->manager().Execute("migrate-set-parameters", {{"max-bandwidth", 4096}});  // it never ends
  source->manager().Execute("migrate", {{"uri", channel}});
  WaitUntil("pages are on their way",
            [&] { return source->manager().Execute("query-migrate")["status"] == "active"; });
  source->Signal(SIGKILL);
  EXPECT_NE(destination->WaitExit(), 0);
  ExpectMigrationFailed();
  ExpectStopped(kUnobserved, "source");
}

TEST_F(MigrationTest, CancelledMigrationChangesNothing) {
  StartDaemonAndStream();
  const auto source = StartGuest();
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  // The destination is cancelled before anything listens.
  source->manager().Execute("migrate-set-parameters", {{"max-bandwidth", 1}});
  source->manager().Execute("migrate", {{"uri", "exec:cat >/dev/null"}});
  source->manager().Execute("migrate_cancel");
  WaitUntil("the migration is cancelled",
            [&] { return source->manager().Execute("query-migrate")["status"] == "cancelled"; });
  source->PowerOff();
  ExpectStopped(kGuestPoweroff);
}

}  // namespace
}  // namespace vmeventd::e2e
