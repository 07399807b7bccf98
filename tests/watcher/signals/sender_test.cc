#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"
#include "watcher/signals/boot_clock.h"
#include "watcher/signals/process_reader.h"

namespace vmeventd {
namespace {

constexpr int64_t kQemu = 4711;
constexpr uint64_t kQemuStart = 5000;

struct FakeProcess {
  int64_t pid = 0;
  int64_t parent = 1;
  int64_t session = 3;
  uint64_t start_ticks = 6000;  // later than QEMU
  uint32_t uid = 0;
  char state = 'S';
  std::string comm = "bash";
  std::string cgroup = "0::/user.slice/session-3.scope\n";
  std::string executable = "/usr/bin/bash";
};

class SenderTest : public testing::Test {
 protected:
  SenderTest() {
    Write({.pid = kQemu,
           .start_ticks = kQemuStart,
           .uid = 107,
           .comm = "qemu",
           .cgroup = "0::/machine.slice/qemu-1.scope\n"});
  }

  void Write(const FakeProcess& process) {
    const std::string directory = root_.MakeDirectory(absl::StrCat("proc/", process.pid));
    std::string rest;
    for (int field = 7; field < 22; ++field) absl::StrAppend(&rest, " 0");
    std::ofstream(directory + "/stat")
        << process.pid << " (" << process.comm << ") " << process.state << " " << process.parent
        << " 0 " << process.session << rest << " " << process.start_ticks << " 0 0\n";
    std::ofstream(directory + "/comm") << process.comm << "\n";
    std::ofstream(directory + "/cgroup") << process.cgroup;
    std::ofstream(directory + "/status")
        << "Name:\tx\nTgid:\t" << process.pid << "\nUid:\t" << process.uid << "\t1\t2\t3\n";
    std::filesystem::remove(directory + "/exe");
    std::filesystem::create_symlink(process.executable, directory + "/exe");
  }

  // The sender of a signal that was sent when the process with `ticks` started, and read `later`.
  SignalSender Sender(int64_t pid, uint64_t ticks = 9000,
                      absl::Duration later = absl::Milliseconds(1)) {
    const SignalRecord record{
        .time = StartOf(ticks), .target = kQemu, .signal = SIGKILL, .sender = pid};
    return reader_.SenderOf(record, reader_.OriginOf(kQemu, kQemuStart), record.time + later);
  }

  TemporaryDirectory root_;
  ProcessReader reader_{root_.path()};
};

TEST_F(SenderTest, ASenderIsReadWhileItLives) {
  Write({.pid = 812,
         .start_ticks = 100,
         .uid = 0,
         .comm = "virtqemud",
         .cgroup = "0::/system.slice/virtqemud.service\n",
         .executable = "/usr/sbin/virtqemud"});
  const SignalSender sender = Sender(812);
  EXPECT_EQ(sender.signal, SIGKILL);
  EXPECT_EQ(sender.pid, 812);
  EXPECT_EQ(sender.uid, 0U);
  EXPECT_EQ(sender.command, "virtqemud");
  EXPECT_EQ(sender.executable, "/usr/sbin/virtqemud");
  EXPECT_EQ(sender.cgroup, "/system.slice/virtqemud.service");
  EXPECT_FALSE(sender.of_qemu);
  EXPECT_FALSE(sender.by_kernel);
}

TEST_F(SenderTest, QemusOwnUserIsNotTrustedUnlessItIsRoot) {
  Write({.pid = 812, .start_ticks = 100, .uid = 107, .comm = "earlyoom"});
  EXPECT_TRUE(Sender(812).of_qemus_user);
  for (const uint32_t other : {0U, 998U}) {
    Write({.pid = 812, .start_ticks = 100, .uid = other, .comm = "earlyoom"});
    EXPECT_FALSE(Sender(812).of_qemus_user) << other;
  }
  Write({.pid = kQemu, .start_ticks = kQemuStart, .uid = 0, .comm = "qemu"});
  Write({.pid = 812, .start_ticks = 100, .uid = 0, .comm = "earlyoom"});
  EXPECT_FALSE(Sender(812).of_qemus_user) << "root needs no name";
}

TEST_F(SenderTest, IfQemusUserIsUnknownNoSenderExceptRootIsTrusted) {
  std::filesystem::remove(root_ / absl::StrCat("proc/", kQemu, "/status"));
  Write({.pid = 812, .start_ticks = 100, .uid = 998, .comm = "earlyoom"});
  EXPECT_TRUE(Sender(812).of_qemus_user);
  Write({.pid = 812, .start_ticks = 100, .uid = 0, .comm = "earlyoom"});
  EXPECT_FALSE(Sender(812).of_qemus_user);
}

TEST_F(SenderTest, ASenderThatIsGoneHasOnlyItsPid) {
  const SignalSender sender = Sender(812);
  EXPECT_EQ(sender.pid, 812);
  EXPECT_FALSE(sender.uid.has_value());
  EXPECT_TRUE(sender.command.empty() && sender.executable.empty() && sender.cgroup.empty());
  EXPECT_FALSE(sender.of_qemu);
}

TEST_F(SenderTest, AReusedPidIsNotTakenForTheSender) {
  Write({.pid = 812, .start_ticks = 9001});
  EXPECT_FALSE(Sender(812, 9000).uid.has_value());
  EXPECT_TRUE(Sender(812, 9001).uid.has_value());
}

TEST_F(SenderTest,
       AProcessThatBeganInTheTickOfTheSignalIsTheSenderOnlyIfItsPidCannotHaveBeenReused) {
  Write({.pid = 812, .start_ticks = 9000});
  EXPECT_TRUE(Sender(812, 9000).uid.has_value());
  const SignalSender late = Sender(812, 9000, absl::Milliseconds(50));
  EXPECT_EQ(late.pid, 812);
  EXPECT_FALSE(late.uid.has_value());
  EXPECT_TRUE(late.command.empty() && late.executable.empty() && late.cgroup.empty());
  EXPECT_TRUE(Sender(812, 9001, absl::Hours(1)).uid.has_value()) << "it began before";
}

TEST_F(SenderTest, ASenderThatExecutesAnotherProgramLaterKeepsItsEarlierName) {
  SignalRecord record{.time = StartOf(9000), .target = kQemu, .signal = SIGKILL, .sender = 812};
  record.sender_mark = {.uid = 0, .cgroup = 1};
  const auto sender = [&](absl::string_view comm) {
    record.sender_comm = std::string(comm);
    return reader_.SenderOf(record, reader_.OriginOf(kQemu, kQemuStart), record.time);
  };
  Write({.pid = 812, .start_ticks = 100, .comm = "sleep", .executable = "/usr/bin/sleep"});
  EXPECT_EQ(sender("earlyoom").command, "earlyoom");
  EXPECT_EQ(sender("earlyoom").uid, 0U);
  EXPECT_TRUE(sender("earlyoom").executable.empty() && sender("earlyoom").cgroup.empty());
  EXPECT_EQ(sender("sleep").executable, "/usr/bin/sleep");
}

TEST_F(SenderTest, AYoungDescendantThatIsReadLateCountsAsQemu) {
  Write({.pid = 4800, .parent = kQemu, .start_ticks = 9000});
  const SignalSender sender = Sender(4800, 9000, absl::Seconds(1));
  EXPECT_TRUE(sender.of_qemu);
  EXPECT_FALSE(sender.uid.has_value());
}

TEST_F(SenderTest, ASenderThatHasEndedInTheRootCgroupHasNoCgroup) {
  Write({.pid = 812, .start_ticks = 100, .state = 'Z', .cgroup = "1:name=systemd:/\n0::/\n"});
  std::filesystem::remove(root_ / "proc/812/exe");
  const SignalSender sender = Sender(812);
  EXPECT_EQ(sender.command, "bash");
  EXPECT_EQ(sender.uid, 0U);
  EXPECT_TRUE(sender.executable.empty());
  EXPECT_TRUE(sender.cgroup.empty());
  Write({.pid = 813, .start_ticks = 100, .state = 'Z', .cgroup = "0::/system.slice/x\n"});
  EXPECT_EQ(Sender(813).cgroup, "/system.slice/x");
}

TEST_F(SenderTest, ANameHasNoLineBreakAndNoInvalidText) {
  Write({.pid = 812, .start_ticks = 100, .comm = "a\nb) R 1 \\\x01\xff\xc2\x85"});
  const SignalSender sender = Sender(812);
  EXPECT_EQ(sender.command, "a\\x0ab) R 1 \\x5c\\x01\\xff\\xc2\\x85");
  EXPECT_EQ(sender.uid, 0U);
}

TEST_F(SenderTest, ACgroupIsBounded) {
  Write({.pid = 812, .start_ticks = 100, .cgroup = "0::/" + std::string(3000, 'x') + "\n"});
  EXPECT_EQ(Sender(812).cgroup.size(), 512U);
}

TEST_F(SenderTest, SystemdsHierarchyNamesTheCgroupIfTheUnifiedOneIsEmpty) {
  Write({.pid = 812,
         .start_ticks = 100,
         .cgroup = "4:memory:/\n1:name=systemd:/system.slice/x.service\n0::/\n"});
  EXPECT_EQ(Sender(812).cgroup, "/system.slice/x.service");
  Write({.pid = 813, .start_ticks = 100, .cgroup = "4:memory:/x\n0::/\n"});
  EXPECT_EQ(Sender(813).cgroup, "/");
}

TEST_F(SenderTest, QemuItselfCountsAsQemu) {
  EXPECT_TRUE(Sender(kQemu).of_qemu);
  std::filesystem::remove_all(root_ / "proc");
  EXPECT_TRUE(Sender(kQemu).of_qemu);
}

constexpr char kScope[] = "0::/machine.slice/qemu-1.scope\n";
constexpr char kService[] = "0::/system.slice/ganeti-noded.service\n";

enum class Qemus { kNo, kNotExcluded, kShown };
Qemus OfQemu(const SignalSender& sender) {
  EXPECT_TRUE(sender.of_qemu || !sender.descent_unproven);
  if (sender.descent_unproven) return Qemus::kNotExcluded;
  return sender.of_qemu ? Qemus::kShown : Qemus::kNo;
}

TEST_F(SenderTest, ADescendantCountsAsQemuAndAnOrphanMayCount) {
  const struct {
    const char* what;
    FakeProcess process;
    Qemus of_qemu;
  } kCases[] = {
      {"a child", {.pid = 4800, .parent = kQemu}, Qemus::kShown},
      {"a child of that", {.pid = 4801, .parent = 4800, .start_ticks = 6001}, Qemus::kShown},
      {"an orphan of its user and cgroup",
       {.pid = 4810, .uid = 107, .cgroup = kScope},
       Qemus::kNotExcluded},
      {"an orphan of another user", {.pid = 4811, .uid = 0, .cgroup = kScope}, Qemus::kNo},
      {"an orphan of another cgroup", {.pid = 4812, .uid = 107}, Qemus::kNo},
      {"an orphan that leads its session",
       {.pid = 4813, .session = 4813, .uid = 107, .cgroup = kScope},
       Qemus::kNotExcluded},
      {"a child of that",
       {.pid = 4814, .parent = 4813, .session = 4813, .uid = 107, .cgroup = kScope},
       Qemus::kNotExcluded},
      {"one that began in the same tick",
       {.pid = 4815, .start_ticks = kQemuStart, .uid = 107, .cgroup = kScope},
       Qemus::kNotExcluded},
      {"an older one",
       {.pid = 4600, .start_ticks = 4000, .uid = 107, .cgroup = kScope},
       Qemus::kNo},
      {"a child of an older one",
       {.pid = 4820, .parent = 4600, .uid = 107, .cgroup = kScope},
       Qemus::kNo},
      // The init of a container, or a user's systemd.
      {"one that takes orphans on",
       {.pid = 4000, .session = 4000, .start_ticks = 4000, .comm = "tini"},
       Qemus::kNo},
      {"an orphan that it took on",
       {.pid = 4830, .parent = 4000, .session = 4711, .uid = 107, .cgroup = kScope},
       Qemus::kNotExcluded},
      {"a child of its own",
       {.pid = 4831, .parent = 4000, .session = 4000, .uid = 107, .cgroup = kScope},
       Qemus::kNo},
  };
  for (const auto& each : kCases) {
    Write(each.process);
    EXPECT_EQ(OfQemu(Sender(each.process.pid)), each.of_qemu) << each.what;
  }
}

TEST_F(SenderTest, AChildThatSentTheSignalCountsAsQemuEvenIfItIsAnOrphanOrGoneNow) {
  SignalRecord record{.time = StartOf(9000),
                      .target = kQemu,
                      .signal = SIGKILL,
                      .sender = 4810,
                      .sender_parent = kQemu};
  const ProcessOrigin qemu = reader_.OriginOf(kQemu, kQemuStart);
  EXPECT_EQ(OfQemu(reader_.SenderOf(record, qemu, record.time)), Qemus::kShown);
  Write({.pid = 4810, .uid = 107, .cgroup = kScope});
  EXPECT_EQ(OfQemu(reader_.SenderOf(record, qemu, record.time)), Qemus::kShown);
}

// The sender is a script of a login from which QEMU was started with -daemonize.
TEST_F(SenderTest, AnOrphanOfAnOlderSessionIsNoDescendantOfQemu) {
  const FakeProcess shell = {
      .pid = 4500, .session = 4500, .start_ticks = 4000, .uid = 107, .cgroup = kScope};
  const FakeProcess script = {.pid = 4810, .session = 4500, .uid = 107, .cgroup = kScope};
  const FakeProcess qemu = {
      .pid = kQemu, .session = 4700, .start_ticks = kQemuStart, .uid = 107, .cgroup = kScope};
  Write(script);
  Write(qemu);
  EXPECT_EQ(OfQemu(Sender(4810)), Qemus::kNotExcluded) << "who leads it is gone";
  Write(shell);
  EXPECT_EQ(OfQemu(Sender(4810)), Qemus::kNo);
  FakeProcess other = shell;
  other.session = 3;
  Write(other);
  EXPECT_EQ(OfQemu(Sender(4810)), Qemus::kNotExcluded) << "it has the number of who is gone";
  other = shell;
  other.start_ticks = kQemuStart;
  Write(other);
  EXPECT_EQ(OfQemu(Sender(4810)), Qemus::kNotExcluded) << "it is no older";
  Write(shell);
  FakeProcess leader = qemu;
  leader.session = kQemu;
  Write(leader);
  EXPECT_EQ(OfQemu(Sender(4810)), Qemus::kNotExcluded) << "QEMU may have begun another session";
  leader.session = 4500;
  Write(leader);
  EXPECT_EQ(OfQemu(Sender(4810)), Qemus::kNotExcluded) << "QEMU's own session";
}

// The senders are ganeti-noded after its restart (KillMode=process), and its worker.
TEST_F(SenderTest, AManagerRestartedInTheCgroupOfItsQemusIsNoDescendantOfThem) {
  Write({.pid = kQemu, .session = 4600, .start_ticks = kQemuStart, .cgroup = kService});
  const struct {
    const char* what;
    FakeProcess process;
    Qemus of_qemu;
  } kCases[] = {
      {"the manager", {.pid = 4800, .session = 4800, .cgroup = kService}, Qemus::kNo},
      {"its worker",
       {.pid = 4900, .parent = 4800, .session = 4800, .start_ticks = 7000, .cgroup = kService},
       Qemus::kNo},
      {"an orphan of QEMU's session",
       {.pid = 4901, .session = 4600, .start_ticks = 7000, .cgroup = kService},
       Qemus::kNotExcluded},
      {"a child of QEMU, whatever its session is",
       {.pid = 4902, .parent = kQemu, .session = 4902, .start_ticks = 7000, .cgroup = kService},
       Qemus::kShown},
  };
  for (const auto& each : kCases) {
    Write(each.process);
    EXPECT_EQ(OfQemu(Sender(each.process.pid)), each.of_qemu) << each.what;
  }
}

// Debian's Ganeti has an init script: noded does not lead its session, and the leader is gone.
TEST_F(SenderTest, GanetisNodeDaemonIsKnownByItsPidFile) {
  constexpr char kInit[] = "0::/system.slice/ganeti.service\n";
  Write({.pid = kQemu, .session = 4600, .start_ticks = kQemuStart, .cgroup = kInit});
  const FakeProcess noded = {.pid = 4800, .session = 4799, .comm = "ganeti-noded", .cgroup = kInit};
  Write(noded);
  Write({.pid = 4900, .parent = 4800, .session = 4799, .comm = "ganeti-noded", .cgroup = kInit});
  EXPECT_EQ(OfQemu(Sender(4800)), Qemus::kNotExcluded) << "there is no pid file";
  const std::string pid_file = root_.MakeDirectory("run/ganeti") + "/ganeti-noded.pid";
  std::ofstream(pid_file) << "4800\n";
  EXPECT_EQ(OfQemu(Sender(4800)), Qemus::kNo);
  EXPECT_EQ(OfQemu(Sender(4900)), Qemus::kNo) << "its worker";
  std::ofstream(pid_file) << "4801\n";
  EXPECT_EQ(OfQemu(Sender(4800)), Qemus::kNotExcluded) << "the file is of another";
  std::ofstream(pid_file) << "4800\n";
  FakeProcess other = noded;
  other.comm = "bash";
  Write(other);
  EXPECT_EQ(OfQemu(Sender(4800)), Qemus::kNotExcluded) << "its number is another's";
}

TEST_F(SenderTest, AKernelThreadCountsAsTheKernel) {
  Write({.pid = 77, .parent = 2, .start_ticks = 1, .comm = "kworker/0:1"});
  EXPECT_TRUE(Sender(77).by_kernel);
  EXPECT_EQ(Sender(77).pid, 0);
}

}  // namespace
}  // namespace vmeventd
