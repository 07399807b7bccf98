// A hostile local user who may write to the watched directory.

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <climits>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/system.h"
#include "gmock/gmock.h"
#include "tests/support/programs.h"
#include "tests/support/unix_socket.h"
#include "tests/support/wait.h"
#include "tests/system/hostile/hostile_test.h"

namespace vmeventd::e2e {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

sockaddr_un AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) Fail("too long for a Unix socket: " + path);
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// A socket of that type at `path`, without a listener.
UniqueFd BindUnix(const std::string& path, int type) {
  UniqueFd fd(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  const sockaddr_un address = AddressOf(path);
  if (!fd.valid() ||
      bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    FailErrno("binding " + path);
  }
  return fd;
}

class HostileLocalTest : public HostileTest {
 protected:
  std::string PathOf(const std::string& name) const { return watch_dir() + "/" + name; }

  int Sockets() { return daemon().GetServerInfo().directories(0).sockets(); }

  // Creates everything but sockets, under names that match. `victim` is a monitor elsewhere.
  void PlantWhatIsNoSocket(const std::string& victim) {
    fs::create_directory(dir() / "elsewhere");
    fs::create_symlink(victim, PathOf("link-to-socket.kvmd"));
    fs::create_symlink("/dev/zero", PathOf("link-to-zero.kvmd"));
    fs::create_symlink("link-to-itself.kvmd", PathOf("link-to-itself.kvmd"));
    fs::create_symlink("nothing", PathOf("link-to-nothing.kvmd"));
    fs::create_symlink(dir() / "elsewhere", PathOf("link-to-directory.kvmd"));
    ASSERT_EQ(mkfifo(PathOf("fifo.kvmd").c_str(), 0666), 0);
    fs::create_directory(PathOf("directory.kvmd"));
    std::ofstream(PathOf("file.kvmd")) << "{\"QMP\": {}}\n";
    if (geteuid() != 0) return;
    // As root, if permitted: /dev/zero and a block device without a driver.
    mknod(PathOf("zero.kvmd").c_str(), S_IFCHR | 0666, makedev(1, 5));
    mknod(PathOf("block.kvmd").c_str(), S_IFBLK | 0666, makedev(240, 77));
  }
};

TEST_F(HostileLocalTest, OtherFilesAreIgnored) {
  FakeQemu elsewhere(TestProgramPath("fake_qemu"));
  const int victim = elsewhere.AddMonitor(dir() / "victim.sock");
  StartDaemonAndStream();
  PlantWhatIsNoSocket(dir() / "victim.sock");
  ExpectServes("vm1");
  StopDaemon();
  StartDaemonAndStream();  // those that are there, too
  ExpectServes("vm2");
  EXPECT_THAT(daemon().ListVms(false), IsEmpty());
  EXPECT_FALSE(elsewhere.HasClient(victim)) << "a link to a socket is not followed";
}

// Whatever replaces a followed socket does not affect the VM.
TEST_F(HostileLocalTest, ReplacedSocketIsFollowedToItsEnd) {
  StartDaemonAndStream();
  FakeQemu elsewhere(TestProgramPath("fake_qemu"));
  const int victim = elsewhere.AddMonitor(dir() / "victim.sock");
  FakeQemu qemu(TestProgramPath("fake_qemu"));
  const int monitor = qemu.AddMonitor(PathOf("vm1.kvmd"));
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  fs::create_symlink(dir() / "victim.sock", PathOf("link"));
  fs::rename(PathOf("link"), PathOf("vm1.kvmd"));
  ExpectServes("vm2");
  EXPECT_EQ(daemon().GetVm("vm1").state(), v1::VM_STATE_RUNNING);
  qemu.SendAndExit(monitor, kGuestShutdown);
  EXPECT_EQ(WaitStopped().shutdown().shutdown_class(), v1::SHUTDOWN_CLASS_USER);
  EXPECT_FALSE(elsewhere.HasClient(victim));
  qemu.Reap();
}

TEST_F(HostileLocalTest, SocketsThatAreNoMonitorsAreListedWithAProblem) {
  StartDaemonAndStream();
  const UniqueFd datagram = BindUnix(PathOf("datagram.kvmd"), SOCK_DGRAM);
  const UniqueFd seqpacket = BindUnix(PathOf("seqpacket.kvmd"), SOCK_SEQPACKET);
  ASSERT_EQ(listen(seqpacket.get(), 1), 0);
  const UniqueFd nobody = BindUnix(PathOf("nobody.kvmd"), SOCK_STREAM);
  // A socket that accepts no connection, with a full queue.
  const UniqueFd deaf = BindUnix(PathOf("deaf"), SOCK_STREAM);
  ASSERT_EQ(listen(deaf.get(), 0), 0);
  const UniqueFd first(ConnectUnix(PathOf("deaf")));
  ASSERT_TRUE(first.valid());
  fs::rename(PathOf("deaf"), PathOf("deaf.kvmd"));  // the daemon comes second
  // And an abstract one, without a file.
  sockaddr_un abstract = AddressOf(PathOf("abstract.kvmd"));
  abstract.sun_path[0] = '\0';
  const UniqueFd no_file(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(bind(no_file.get(), reinterpret_cast<sockaddr*>(&abstract), sizeof(abstract)), 0);
  ASSERT_EQ(listen(no_file.get(), 1), 0);

  ExpectServes("vm1");
  const auto problem_of = [&](const std::string& name) -> std::string {
    const v1::GetServerInfoResponse info = daemon().GetServerInfo();
    for (const v1::UnfollowedSocket& socket : info.unfollowed_sockets()) {
      if (socket.name() == name) return socket.problem().text();
    }
    return "";
  };
  for (const char* name : {"datagram", "seqpacket"}) {
    WaitUntil(absl::StrCat(name, " has its problem"), [&] { return !problem_of(name).empty(); });
    EXPECT_THAT(problem_of(name), HasSubstr("wrong type")) << name;
  }
  WaitUntil("the one that accepts nobody has its problem",
            [&] { return !problem_of("deaf").empty(); });
  EXPECT_THAT(problem_of("deaf"), HasSubstr("queue of connections is full"));
  EXPECT_THAT(stream().EventsOf("datagram"), IsEmpty());
  EXPECT_THAT(daemon().ListVms(false), IsEmpty());
  EXPECT_THAT(Vmevents({"info"}), HasSubstr(PathOf("deaf.kvmd")));
  ExpectServes("vm2");
}

TEST_F(HostileLocalTest, ThousandsOfSocketsComeAndGo) {
  StartDaemonAndStream();
  ExpectServes("vm1");
  const size_t before = CountDescriptors();
  FakeQemu crowd(TestProgramPath("fake_qemu"));
  for (int i = 0; i < 2'000; ++i) {
    FakeMonitor behavior{.listen = i % 2 == 0};
    const int monitor = crowd.AddMonitor(PathOf(absl::StrCat("crowd", i % 100, ".kvmd")), behavior);
    crowd.CloseListener(monitor);
    crowd.Unlink(monitor);
    if (i == 1'000) ExpectServes("vm2");
  }
  ExpectServes("vm3");
  crowd.Kill(SIGKILL);
  crowd.Reap();
  WaitUntil("nothing is left of them", [&] { return daemon().ListVms(false).empty(); });
  WaitUntil("their descriptors are free", [&] { return CountDescriptors() <= before; });
  EXPECT_EQ(Sockets(), 3) << "the files of vm1, vm2 and vm3 remain";
  // Each one that was seen started and ended once. The daemon has sent all events when it has
  // ended.
  daemon().Signal(SIGTERM);
  stream().WaitEnd();
  std::set<std::string> runs;
  for (const v1::Event& event : stream().events()) {
    if (event.type() == v1::EVENT_TYPE_STARTED) {
      EXPECT_TRUE(runs.insert(event.vm().run_id()).second);
    } else if (event.type() == v1::EVENT_TYPE_STOPPED) {
      EXPECT_EQ(runs.erase(event.vm().run_id()), 1u);
    }
  }
  EXPECT_THAT(runs, IsEmpty());
}

// Links on the path of a watched directory are followed (watcher/qmp/directory_watcher.h): a user
// who can replace the directory could also name another one.
TEST_F(HostileLocalTest, DirectoryThatIsReplacedByALink) {
  StartDaemonAndStream();
  FakeQemu qemu(TestProgramPath("fake_qemu"));
  const int monitor = qemu.AddMonitor(PathOf("vm1.kvmd"));
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  const std::string elsewhere = dir() / "elsewhere";
  fs::create_directory(elsewhere);
  std::ofstream(elsewhere + "/vm1.shutdown") << "kept";
  fs::create_directory_symlink(elsewhere, dir() / "link");
  fs::rename(watch_dir(), dir() / "away");
  fs::rename(dir() / "link", watch_dir());

  ExpectServes("vm2");  // in the new directory
  qemu.SendAndExit(monitor, kGuestShutdown);
  EXPECT_EQ(WaitStopped().shutdown().shutdown_class(), v1::SHUTDOWN_CLASS_USER);
  EXPECT_EQ(ReadFile(elsewhere + "/vm1.shutdown"), "kept");
  qemu.Reap();

  // Now a cycle of links: the directory is gone, and then comes back.
  fs::remove(watch_dir());
  fs::create_symlink("ctrl", watch_dir());
  WaitUntil("the directory is gone",
            [&] { return !daemon().GetServerInfo().directories(0).present(); });
  fs::remove(watch_dir());
  fs::create_directory(watch_dir());
  ExpectServes("vm3");
}

// Shutdown files

enum class EndedBy { kUser, kAdmin };

class HostileShutdownFileTest : public HostileLocalTest,
                                public testing::WithParamInterface<EndedBy> {
 protected:
  void SetUp() override {
    StartDaemonAndStream();
    std::ofstream(Outside()) << "kept";
    ASSERT_EQ(chmod(Outside().c_str(), 0600), 0);
    const timespec long_ago[2] = {{1000, 0}, {1000, 0}};
    ASSERT_EQ(utimensat(AT_FDCWD, Outside().c_str(), long_ago, 0), 0);
  }
  std::string Outside() const { return dir() / "outside"; }
  std::string ShutdownFile() const { return PathOf("vm1.shutdown"); }

  // Starts vm1, calls `plant` and ends the VM. Expects that neither the outside file nor another VM
  // changes.
  v1::ShutdownDetail EndAfter(const std::function<void()>& plant) {
    FakeQemu qemu(TestProgramPath("fake_qemu"));
    const int monitor = qemu.AddMonitor(PathOf("vm1.kvmd"));
    stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
    plant();
    qemu.SendAndExit(monitor, user() ? kGuestShutdown
                                     : "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": false, "
                                       "\"reason\": \"host-qmp-quit\"}}\r\n");
    const v1::Event end = ExpectStopped(user() ? kGuestPoweroff : kHostQuit);
    qemu.Reap();
    ExpectServes("vm2");
    struct stat status {};
    EXPECT_EQ(stat(Outside().c_str(), &status), 0);
    EXPECT_EQ(ReadFile(Outside()), "kept");
    EXPECT_EQ(status.st_mode & 07777, 0600u);
    EXPECT_EQ(status.st_mtime, 1000);
    return end.shutdown();
  }
  bool user() const { return GetParam() == EndedBy::kUser; }
};

TEST_P(HostileShutdownFileTest, ALinkIsNotFollowed) {
  const auto shutdown = EndAfter([&] { fs::create_symlink(Outside(), ShutdownFile()); });
  EXPECT_FALSE(shutdown.shutdown_file_written());
  EXPECT_EQ(fs::is_symlink(ShutdownFile()), user()) << "only the link itself is removed";
}

TEST_P(HostileShutdownFileTest, ADeviceIsNotOpened) {
  if (geteuid() != 0) GTEST_SKIP() << "only root makes device nodes";
  bool made = false;
  // A terminal, which would become the controlling terminal of a process that opens it.
  const auto shutdown =
      EndAfter([&] { made = mknod(ShutdownFile().c_str(), S_IFCHR | 0666, makedev(5, 0)) == 0; });
  if (!made) GTEST_SKIP() << "device nodes are not permitted here";
  EXPECT_FALSE(shutdown.shutdown_file_written());
}

INSTANTIATE_TEST_SUITE_P(Endings, HostileShutdownFileTest,
                         testing::Values(EndedBy::kUser, EndedBy::kAdmin),
                         [](const testing::TestParamInfo<EndedBy>& ending) {
                           return ending.param == EndedBy::kUser ? "User" : "Admin";
                         });

// Names

struct HostileName {
  std::string raw;
  std::string escaped;  // as events and queries have it
};

std::vector<HostileName> HostileNames() {
  std::vector<HostileName> names = {
      {"a\xff", "a\\xff"},
      {"a\\xff", "a\\x5cxff"},  // equal to the previous name's escape
      {"a\\x5cxff", "a\\x5cx5cxff"},
      {"\xc0\xaf\xed\xa0\x80\xf8", "\\xc0\\xaf\\xed\\xa0\\x80\\xf8"},
      {"cut\xe2\x82", "cut\\xe2\\x82"},
      {std::string(250, 'n'), std::string(250, 'n')},
      {std::string(248, '\xfe') + "xy", ""},
  };
  for (int i = 0; i < 248; ++i) names.back().escaped += "\\xfe";
  names.back().escaped += "xy";
  for (const char* text : {"new\nline",
                           "\n",
                           "cr\rback",
                           "tab\tstop",
                           "\x1b[2J\x1b]0;owned\x07",
                           "\x7f",
                           "bell\x07",
                           "csi\xc2\x9b[31m",
                           "quote\"'`$(reboot);",
                           "back\\slash",
                           "\\",
                           "{\"vm\":1}",
                           "vm=other class=ADMIN",
                           "rtl\xe2\x80\xaegpj.exe",
                           "zero\xe2\x80\x8bwidth",
                           "isolate\xe2\x81\xa7",
                           "line\xe2\x80\xa8sep",
                           "%s%n%08x",
                           "{}",
                           "-rf",
                           "--help",
                           " ",
                           "..",
                           "*",
                           "?",
                           "[a-z]",
                           "\xf0\x9f\x98\x80"}) {
    names.push_back({text, text});
  }
  return names;
}

class HostileNameTest : public HostileLocalTest, public testing::WithParamInterface<const char*> {
 protected:
  // A socket's address is shorter than a name may be: it is created under another name that does
  // not match, then renamed.
  int AddMonitor(FakeQemu* qemu, const std::string& name) {
    const int monitor = qemu->AddMonitor(PathOf("new"));
    fs::rename(PathOf("new"), PathOf(name + ".kvmd"));
    return monitor;
  }
};

TEST_P(HostileNameTest, AreEscapedEverywhereAndFoundAgain) {
  const std::string format = GetParam();
  StartDaemonAndStream(Options({"--log-format", format}));
  std::vector<std::unique_ptr<FakeQemu>> qemus;
  std::vector<int> monitors;
  for (const HostileName& name : HostileNames()) {
    qemus.push_back(std::make_unique<FakeQemu>(TestProgramPath("fake_qemu")));
    monitors.push_back(AddMonitor(qemus.back().get(), name.raw));
  }
  std::set<std::string> seen;
  for (const HostileName& name : HostileNames()) {
    stream().Wait(name.escaped, v1::EVENT_TYPE_STARTED);
    EXPECT_TRUE(seen.insert(name.escaped).second);
    const v1::Vm vm = daemon().GetVm(name.escaped);
    EXPECT_EQ(vm.ref().name(), name.escaped);
    EXPECT_EQ(vm.state(), v1::VM_STATE_RUNNING);
  }
  EXPECT_THAT(daemon().ListVms(false), SizeIs(seen.size()));

  for (size_t i = 0; i < qemus.size(); ++i) {
    qemus[i]->SendAndExit(monitors[i], kGuestShutdown);
    qemus[i]->Reap();
  }
  for (const HostileName& name : HostileNames()) {
    const v1::Event end = ExpectStopped(kGuestPoweroff, name.escaped);
    // A name may have 255 bytes, including the file's suffix.
    const bool fits = name.raw.size() + std::strlen(".shutdown") <= NAME_MAX;
    EXPECT_EQ(end.shutdown().shutdown_file_written(), fits) << name.escaped;
    EXPECT_EQ(Exists(PathOf(name.raw + ".shutdown")), fits) << name.escaped;
  }
  ExpectServes("vm1");
  if (format == "text") ExpectHarmlessOutput({seen.begin(), seen.end()});  // the same with both
  ExpectHarmlessLog(format == "json");
}

INSTANTIATE_TEST_SUITE_P(LogFormats, HostileNameTest, testing::Values("text", "json"),
                         [](const testing::TestParamInfo<const char*>& format) {
                           return std::string(format.param);
                         });

}  // namespace
}  // namespace vmeventd::e2e
