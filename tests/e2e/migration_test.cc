// A VM that moves from one QEMU to another.

#include "tests/e2e/e2e_test.h"
#include "tests/e2e/wait.h"

namespace vmeventd::e2e {
namespace {

class MigrationTest : public E2eTest {};

TEST_F(MigrationTest, SourceHasMigratedAwayAndTheVmLivesOnAtItsDestination) {
  StartDaemonAndStream();
  GuestOptions options;
  options.name = "source";
  const auto source = StartGuest(options);
  const std::string channel = "unix:" + dir() / "migration";
  options.name = "destination";
  options.arguments = {"-incoming", channel};
  options.wait_until_ready = false;
  const auto destination = StartGuest(options);
  stream().Wait("source", v1::EVENT_TYPE_STARTED);
  stream().Wait("destination", v1::EVENT_TYPE_STARTED);
  EXPECT_EQ(daemon().GetVm("destination").state(), v1::VM_STATE_PAUSED);

  source->manager().Execute("migrate", {{"uri", channel}});
  stream().Wait("destination", v1::EVENT_TYPE_RESUMED);
  EXPECT_EQ(daemon().GetVm("destination").state(), v1::VM_STATE_RUNNING);
  WaitUntil("the migration is complete",
            [&] { return source->manager().Execute("query-migrate")["status"] == "completed"; });
  source->manager().Execute("quit");
  const v1::Event gone = stream().Wait("source", v1::EVENT_TYPE_STOPPED);
  EXPECT_EQ(gone.shutdown().cause(), v1::SHUTDOWN_CAUSE_MIGRATED_AWAY);
  EXPECT_FALSE(FileAtStop("source"));

  destination->Type("poweroff -f");
  const v1::Event stopped = stream().Wait("destination", v1::EVENT_TYPE_STOPPED);
  EXPECT_EQ(stopped.shutdown().class_(), v1::SHUTDOWN_CLASS_USER);
  EXPECT_TRUE(FileAtStop("destination"));
}

}  // namespace
}  // namespace vmeventd::e2e
