#include "watcher/libvirt/domain_process.h"

#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "gtest/gtest.h"
#include "tests/support/process_state.h"
#include "tests/support/test_util.h"
#include "tests/watcher/runs/child.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/process.h"

namespace vmeventd {
namespace {

// A UUID of its own: tests that run beside have processes with theirs.
const DomainName kWeb1 = {"web1", absl::StrFormat("475852fa-ea74-4630-8eae-%012d", getpid()), 3};

// A QEMU of the domain, as far as its arguments say so.
int RunAsQemu() {
  return execl("/bin/sh", "sh", "-c", "kill -STOP $$", "sh", "-uuid", kWeb1.uuid.c_str(), nullptr);
}

class DomainProcessTest : public testing::Test {
 protected:
  DomainProcessTest() { processes_.set_directory(directory_.Path("")); }
  PeerProcess Find() {
    processes_.Forget(kWeb1.uuid);
    processes_.Begin(kWeb1, /*has_descriptors=*/true, absl::ZeroDuration());
    EXPECT_TRUE(StepUntil([] { absl::SleepFor(absl::Milliseconds(1)); },
                          [&] { return !processes_.Waits(kWeb1.uuid, absl::ZeroDuration()); }));
    return processes_.Find(kWeb1).value();
  }
  // Whether Find() opens the file `path` for reading.
  bool FindOpens(const std::string& path) {
    const UniqueFd inotify(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    EXPECT_GE(inotify_add_watch(inotify.get(), path.c_str(), IN_OPEN), 0);
    EXPECT_NE(Find().kind, PeerProcess::Kind::kTracked);
    std::array<char, 4096> events;
    return read(inotify.get(), events.data(), events.size()) > 0;
  }

  // It was written an hour earlier.
  static void MakeOlder(const std::string& path) {
    std::filesystem::last_write_time(
        path, std::filesystem::last_write_time(path) - std::chrono::hours(1));
  }

  TempDir directory_;
  CommandLines command_lines_;
  DomainProcesses processes_{&command_lines_};
  const std::string pid_file_ = directory_.Path("web1.pid");
};

// open() acts on a device, and on a FIFO that somebody waits to write to.
TEST_F(DomainProcessTest, OnlyARegularFileIsOpened) {
  ASSERT_EQ(mkfifo(pid_file_.c_str(), 0600), 0);
  EXPECT_FALSE(FindOpens(pid_file_));
}

TEST_F(DomainProcessTest, ALinkIsNotFollowed) {
  const std::string elsewhere = directory_.Path("elsewhere");
  std::ofstream(elsewhere) << getpid();
  std::filesystem::create_symlink(elsewhere, pid_file_);
  EXPECT_FALSE(FindOpens(elsewhere));
  std::filesystem::remove(pid_file_);
  std::filesystem::rename(elsewhere, pid_file_);
  EXPECT_TRUE(FindOpens(pid_file_)) << "the test sees what is opened";
}

TEST_F(DomainProcessTest, APidThatNobodyHasIsGone) {
  std::ofstream(pid_file_) << "4194304\n";  // more than the kernel gives
  const PeerProcess found = Find();
  EXPECT_EQ(found.kind, PeerProcess::Kind::kGone);
  EXPECT_EQ(found.pid, 4194304);
}

// libvirt writes the file once the process is there: a younger one has taken the number since.
TEST_F(DomainProcessTest, APidThatOnlyAYoungerProcessHasIsGone) {
  const Child stranger(Sleep);
  std::ofstream(pid_file_) << stranger.pid() << "\n";
  EXPECT_EQ(Find().kind, PeerProcess::Kind::kUntracked) << "it may be QEMU before its exec";
  MakeOlder(pid_file_);
  const PeerProcess found = Find();
  EXPECT_EQ(found.kind, PeerProcess::Kind::kGone);
  EXPECT_EQ(found.pid, stranger.pid());
}

// As after a step of the node's clock: a process with the domain's UUID is the domain's.
TEST_F(DomainProcessTest, AYoungerProcessOfTheDomainIsNotGone) {
  const Child qemu(RunAsQemu);
  ASSERT_TRUE(StepUntil([] { absl::SleepFor(absl::Milliseconds(1)); },
                        [&] { return IsStopped(qemu.pid()); }));
  std::ofstream(pid_file_) << qemu.pid() << "\n";
  MakeOlder(pid_file_);
  EXPECT_EQ(Find().kind, PeerProcess::Kind::kTracked);
}

// Its libvirt counts other PIDs than we do.
TEST_F(DomainProcessTest, ANumberOfAnotherPidNamespaceSaysNothing) {
  std::ofstream(pid_file_) << "4194304\n";
  processes_.set_foreign(true);
  EXPECT_FALSE(processes_.can_look());
}

// One process keeps its command line to itself.
class OneHeldCommandLine : public CommandLines {
 public:
  std::shared_ptr<const Read> Begin(int64_t pid) override {
    if (pid != held) return CommandLines::Begin(pid);
    asked = true;
    return std::make_shared<Read>();
  }

  int64_t held = 0;
  bool asked = false;
};

TEST(ProcessesInNamespaceTest, ACommandLineThatNeverComesHidesNoOtherProcess) {
  const Child hostile(Sleep);  // the first in the list
  const Child qemu(RunAsQemu);
  ASSERT_TRUE(StepUntil([] { absl::SleepFor(absl::Milliseconds(1)); },
                        [&] { return IsStopped(qemu.pid()); }));
  OneHeldCommandLine command_lines;
  command_lines.held = hostile.pid();
  absl::flat_hash_map<std::string, PeerProcess> found;
  ASSERT_TRUE(StepUntil(
      [&] { found = FindProcessesInNamespace(ReadPidNamespace(), {kWeb1.uuid}, &command_lines); },
      [&] { return !found.empty(); }));
  EXPECT_TRUE(command_lines.asked);
  EXPECT_EQ(found.at(kWeb1.uuid).pid, qemu.pid());
}

// The newest start that libvirt has noted must be that of the life.
class LastLifeTest : public testing::Test {
 protected:
  std::optional<LoggedLife> Last(const std::string& log) {
    std::ofstream(directory_.Path("web1.log")) << log;
    return LastLoggedLife(directory_.Path(""), "web1", begun_ + absl::Milliseconds(700),
                          begun_ + absl::Seconds(2));
  }
  bool IsLast(const std::string& log) { return Last(log).has_value(); }
  std::optional<ManagerEnd> EndIn(const std::string& after_start) {
    const std::optional<LoggedLife> life = Last(Start(begun_) + after_start);
    if (!life.has_value() || !life->end.has_value()) return std::nullopt;
    return life->end->end;
  }
  static std::string Start(absl::Time time) {
    return absl::FormatTime("%Y-%m-%d %H:%M:%E3S%z: starting up libvirt version: 9.0.0\n", time,
                            absl::UTCTimeZone());
  }

  TempDir directory_;
  const absl::Time begun_ = absl::FromUnixSeconds(1'700'000'000);
};

TEST_F(LastLifeTest, IsTheOneWhoseStartIsTheNewest) {
  EXPECT_TRUE(IsLast(Start(begun_)));
  EXPECT_TRUE(IsLast(Start(begun_ - absl::Hours(1)) + Start(begun_) +
                     "qemu: what it says\n2023-11-14 22:13:30.000+0000: shutting down\n"));
}

TEST_F(LastLifeTest, HasTheEndThatLibvirtNotedLast) {
  const std::string noted = "2023-11-14 22:13:30.000+0000: shutting down, reason=";
  EXPECT_EQ(EndIn(noted + "destroyed\n"), ManagerEnd::kDestroyed);
  EXPECT_EQ(EndIn(noted + "crashed\n"), ManagerEnd::kCrashed);
  EXPECT_EQ(EndIn("shutting down, reason=saved\nqemu: shutting down, reason=saved\n"),
            std::nullopt);
  // QEMU writes there too, before libvirt does.
  EXPECT_EQ(EndIn(noted + "saved\n" + noted + "crashed\n"), ManagerEnd::kCrashed);
  for (const char* const word : {"", "unknown", "daemon", "from snapshot", "destroyed, or not"}) {
    EXPECT_EQ(EndIn(noted + "saved\n" + noted + word + "\n"), std::nullopt) << word;
  }
  EXPECT_EQ(Last(Start(begun_ - absl::Hours(1)) + noted + "saved\n" + Start(begun_))->end,
            std::nullopt)
      << "an earlier life's";
}

TEST_F(LastLifeTest, IsNotWhereTheDomainBeganAgain) {
  EXPECT_FALSE(IsLast(Start(begun_) + Start(begun_ + absl::Seconds(60))));
  // Whatever QEMU, which writes there too, adds.
  EXPECT_FALSE(IsLast(Start(begun_) + Start(begun_ + absl::Seconds(60)) + Start(begun_)));
}

TEST_F(LastLifeTest, IsNotKnownWhereItsStartIsNotThere) {
  EXPECT_FALSE(IsLast(""));
  EXPECT_FALSE(IsLast("starting up\nfoo: starting up\n"));
  EXPECT_FALSE(IsLast(Start(begun_ - absl::Hours(1))));
  EXPECT_FALSE(LastLoggedLife(directory_.Path("none"), "web1", begun_, begun_).has_value());
  EXPECT_FALSE(LastLoggedLife("", "web1", begun_, begun_).has_value());
  EXPECT_FALSE(LastLoggedLife(directory_.Path(""), "../web1", begun_, begun_).has_value());
}

TEST_F(LastLifeTest, IsNotKnownOfALogThatIsTooLong) {
  EXPECT_FALSE(IsLast(Start(begun_) + std::string(4 << 20, 'x')));
}

TEST(LibvirtdBeganTest, IsWhenItsPidFileWasWritten) {
  const TempDir directory;
  EXPECT_EQ(LibvirtdBegan(directory.Path("")), 0);
  std::ofstream(directory.Path("driver.pid")) << 1;
  const int64_t first = LibvirtdBegan(directory.Path(""));
  EXPECT_NE(first, 0);
  EXPECT_EQ(LibvirtdBegan(directory.Path("")), first);
  std::filesystem::last_write_time(
      directory.Path("driver.pid"),
      std::filesystem::file_time_type::clock::now() + std::chrono::seconds(1));
  EXPECT_NE(LibvirtdBegan(directory.Path("")), first);
}

}  // namespace
}  // namespace vmeventd
