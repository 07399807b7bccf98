#include "watcher/libvirt/domain_process.h"

#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "gtest/gtest.h"
#include "tests/support/process_state.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/wait.h"
#include "tests/watcher/runs/child.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/peer_process.h"

namespace vmeventd {
namespace {

// The UUID of this process's test: tests that run at the same time have others.
const DomainName kWeb1 = {"web1", absl::StrFormat("475852fa-ea74-4630-8eae-%012d", getpid()), 3};

// A QEMU of the domain, as far as its arguments say so.
int RunAsQemu() {
  return execl("/bin/sh", "sh", "-c", "kill -STOP $$", "sh", "-uuid", kWeb1.uuid.c_str(), nullptr);
}

// Returns once it has its arguments.
std::unique_ptr<Child> StartQemu() {
  auto qemu = std::make_unique<Child>(RunAsQemu);
  EXPECT_TRUE(StepUntil([] { absl::SleepFor(absl::Milliseconds(1)); },
                        [&] { return IsStopped(qemu->pid()); }));
  return qemu;
}

// The command line of one process cannot be read.
class OneHeldCommandLine : public CommandLines {
 public:
  std::shared_ptr<const CommandLineRead> Begin(int64_t pid) override {
    if (pid != held) return CommandLines::Begin(pid);
    asked = true;
    return std::make_shared<CommandLineRead>();
  }

  int64_t held = 0;
  bool asked = false;
};

class DomainProcessTest : public testing::Test {
 protected:
  PeerProcess Find(const DomainName& domain = kWeb1) {
    std::vector<DomainProcess> found = FindProcesses(place_, {domain}, &command_lines_);
    EXPECT_TRUE(found.at(0).visible);
    return std::move(found.at(0).process);
  }
  // On a busy machine a command line may take more than 100 ms.
  bool FindsInTheEnd(const Child& qemu) {
    return StepUntil([] {}, [&] { return Find().pid == qemu.pid(); });
  }
  // Whether Find() opens the file `path` for reading.
  bool FindOpens(const std::string& path) {
    const UniqueFd inotify(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    EXPECT_GE(inotify_add_watch(inotify.get(), path.c_str(), IN_OPEN), 0);
    EXPECT_NE(Find().kind, PeerProcess::Kind::kTracked);
    std::array<char, 4096> events;
    return read(inotify.get(), events.data(), events.size()) > 0;
  }

  TemporaryDirectory directory_;
  OneHeldCommandLine command_lines_;
  ProcessPlace place_{
      .pid_directory = directory_.Path(""), .containers = false, .foreign_namespace = std::nullopt};
  const std::string pid_file_ = directory_.Path("web1.pid");
};

// open() acts on a device, and on a FIFO that somebody waits to write to.
TEST_F(DomainProcessTest, OnlyARegularFileIsOpenedAndNoLinkFollowed) {
  ASSERT_EQ(mkfifo(pid_file_.c_str(), 0600), 0);
  EXPECT_FALSE(FindOpens(pid_file_));
  std::filesystem::remove(pid_file_);
  const std::string elsewhere = directory_.Path("elsewhere");
  std::ofstream(elsewhere) << getpid();
  std::filesystem::create_symlink(elsewhere, pid_file_);
  EXPECT_FALSE(FindOpens(elsewhere));
  std::filesystem::remove(pid_file_);
  std::filesystem::rename(elsewhere, pid_file_);
  EXPECT_TRUE(FindOpens(pid_file_)) << "the test sees what is opened";
}

TEST_F(DomainProcessTest, AProcessThatThePidFileDoesNotNameIsFoundByItsUuid) {
  const Child stranger(Sleep);
  const std::unique_ptr<Child> qemu = StartQemu();
  EXPECT_TRUE(FindsInTheEnd(*qemu));
  std::ofstream(pid_file_) << stranger.pid() << "\n";
  EXPECT_TRUE(FindsInTheEnd(*qemu));
}

TEST_F(DomainProcessTest, TheProcessInThePidFileCountsIfTwoHaveTheUuid) {
  const std::unique_ptr<Child> qemu = StartQemu();
  const std::unique_ptr<Child> other = StartQemu();
  EXPECT_EQ(Find().kind, PeerProcess::Kind::kUntracked);
  std::ofstream(pid_file_) << other->pid() << "\n";
  EXPECT_TRUE(FindsInTheEnd(*other));
}

TEST_F(DomainProcessTest, AProcessThatStartedAfterTheReportBelongsToALaterLife) {
  const std::unique_ptr<Child> qemu = StartQemu();
  ASSERT_TRUE(FindsInTheEnd(*qemu));
  DomainName before = kWeb1;
  before.reported_ticks = 1;
  EXPECT_EQ(Find(before).kind, PeerProcess::Kind::kUntracked);
}

TEST_F(DomainProcessTest, ACommandLineThatNeverComesHidesNoOtherProcess) {
  const Child hostile(Sleep);
  const std::unique_ptr<Child> qemu = StartQemu();
  command_lines_.held = hostile.pid();
  EXPECT_TRUE(FindsInTheEnd(*qemu));
  EXPECT_TRUE(command_lines_.asked);
}

TEST_F(DomainProcessTest, ANamespaceThatIsNotVisibleHasNoProcessToFind) {
  const std::unique_ptr<Child> qemu = StartQemu();
  place_.foreign_namespace = 0;
  const std::vector<DomainProcess> found = FindProcesses(place_, {kWeb1}, &command_lines_);
  EXPECT_FALSE(found.at(0).visible);
  EXPECT_EQ(found.at(0).process.kind, PeerProcess::Kind::kUntracked);
}

}  // namespace
}  // namespace vmeventd
