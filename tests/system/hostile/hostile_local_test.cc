// A hostile local user who may write to the watched directory.

#include <climits>
#include <cstring>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/support/programs.h"
#include "tests/support/wait.h"
#include "tests/system/hostile/hostile_test.h"
#include "tests/system/vm_end.h"

namespace vmeventd::e2e {
namespace {

namespace fs = std::filesystem;
using testing::IsEmpty;
using testing::SizeIs;

class HostileLocalTest : public HostileTest {
 protected:
  std::string PathOf(const std::string& name) const { return watch_dir() + "/" + name; }

  int Sockets() { return daemon().GetServerInfo().directories(0).sockets(); }
};

// A file that replaces a followed socket does not affect the VM.
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

// Names

struct HostileName {
  std::string raw;
  std::string escaped;  // the name in events and queries
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
  if (format == "text")
    ExpectHarmlessOutput({seen.begin(), seen.end()});  // the same for both formats
  ExpectHarmlessLog(format == "json");
}

INSTANTIATE_TEST_SUITE_P(LogFormats, HostileNameTest, testing::Values("text", "json"),
                         [](const testing::TestParamInfo<const char*>& format) {
                           return std::string(format.param);
                         });

}  // namespace
}  // namespace vmeventd::e2e
