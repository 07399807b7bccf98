#include "watcher/core/qemu_texts.h"

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/patterns.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

using Arguments = std::vector<std::string>;

TEST(QemuArgumentsTest, LabelsAreOfItsFwCfg) {
  const auto labels = [](const std::string& value) {
    return ParseQemuArguments({"qemu-system-x86_64", "-fw_cfg", value}).labels;
  };
  EXPECT_EQ(labels("name=opt/vmeventd/labels,string=tier=db,,project=p"),
            (Labels{{"project", "p"}, {"tier", "db"}}));
  EXPECT_EQ(labels("opt/vmeventd/labels,string=project=p=q"), (Labels{{"project", "p=q"}}));
  EXPECT_EQ(labels("name=opt/vmeventd/labels,string=bad key=x,,=y,,a=1,,a=2"),
            (Labels{{"a", "1"}}));
  EXPECT_EQ(labels("name=opt/other,string=a=1"), Labels());
  std::string many = "name=opt/vmeventd/labels,string=";
  for (int i = 0; i < 100; ++i) absl::StrAppend(&many, i == 0 ? "" : ",,", "k", i, "=v");
  EXPECT_EQ(labels(many).size(), kMaxLabels);
}

TEST(QemuArgumentsTest, AMonitorIsACharacterDeviceInControlMode) {
  const QemuArguments found = ParseQemuArguments(
      {"qemu-system-x86_64", "-name", "web1,process=x", "-chardev",
       "socket,id=ev,path=/run/a,,b.qmp,server=on,wait=off", "-mon", "chardev=ev,mode=control"});
  EXPECT_EQ(found.name, "web1");
  ASSERT_EQ(found.monitors.size(), 1);
  EXPECT_EQ(found.monitors[0].path, "/run/a,b.qmp");
}

TEST(QemuArgumentsTest, EachFormOfAMonitorIsFound) {
  const Arguments chardev = {"kvm", "--chardev", "socket,path=/p,server,id=c"};
  for (const Arguments& form : std::vector<Arguments>{{"-qmp", "chardev:c"},
                                                      {"-mon", "c,mode=control"},
                                                      {"-object", "monitor-qmp,id=m,chardev=c"}}) {
    Arguments all = chardev;
    all.insert(all.end(), form.begin(), form.end());
    EXPECT_EQ(ParseQemuArguments(all).monitors.size(), 1) << form[0];
  }
  EXPECT_EQ(ParseQemuArguments({"kvm", "-qmp", "unix:/p,server=on,wait=off"}).monitors.size(), 1);
}

TEST(QemuArgumentsTest, TheFirstValueMayHaveItsKeyAndMonitorsHaveTheOrderOfTheCommandLine) {
  const QemuArguments qemu = ParseQemuArguments(
      {"kvm", "-mon", "mode=control,chardev=late", "-qmp", "unix:path=/kata,server=on,wait=off",
       "-qmp-pretty", "unix:server=on,wait=off,path=/last", "-chardev",
       "id=late,backend=socket,path=/first,server=on,wait=off"});
  std::vector<std::string> paths;
  for (const QmpMonitor& monitor : qemu.monitors) paths.push_back(monitor.path);
  EXPECT_THAT(paths, ElementsAre("/first", "/kata", "/last"));
}

TEST(QemuArgumentsTest, WhatDoesNotListenOrIsNoQmpIsNoMonitor) {
  for (const Arguments& form : std::vector<Arguments>{
           {"-qmp", "unix:/p"},
           {"-qmp", "tcp:localhost:4444,server=on"},
           {"-qmp", "unix:/p,server=on,wait=off,telnet=on"},
           {"-chardev", "socket,id=c,path=/p,server=on,websocket=on", "-qmp", "chardev:c"},
           {"-monitor", "unix:/p,server=on"},
           {"-chardev", "socket,id=c,path=/p,server=on", "-mon", "chardev=c,mode=readline"},
           {"-chardev", "socket,id=c,path=/p,reconnect=1", "-mon", "chardev=c,mode=control"},
           {"-qmp"}}) {
    Arguments all = {"kvm"};
    all.insert(all.end(), form.begin(), form.end());
    EXPECT_TRUE(ParseQemuArguments(all).monitors.empty()) << form[0] << " " << form.back();
  }
}

TEST(QemuArgumentsTest, LibvirtHandsASocketOver) {
  const QemuArguments found =
      ParseQemuArguments({"/usr/bin/qemu-system-x86_64", "-name", "guest=vm1,debug-threads=on",
                          "-chardev", "socket,id=charmonitor,fd=31,server=on,wait=off", "-mon",
                          "chardev=charmonitor,id=monitor,mode=control"});
  EXPECT_EQ(found.name, "vm1");
  ASSERT_EQ(found.monitors.size(), 1);
  EXPECT_EQ(found.monitors[0].descriptor, 31);
}

TEST(QemuArgumentsTest, OnlyProgramsThatRunVmsAreQemus) {
  EXPECT_TRUE(IsQemu({"/usr/bin/qemu-system-aarch64"}));
  EXPECT_TRUE(IsQemu({"/usr/libexec/qemu-kvm"}));
  EXPECT_TRUE(IsQemu({"kvm"}));
  EXPECT_TRUE(IsQemu({"/nix/store/x-qemu-9.2.3/bin/.qemu-system-x86_64-wrapped"}));
  EXPECT_TRUE(IsQemu({".qemu-kvm-wrapped"}));
  EXPECT_FALSE(IsQemu({".qemu-img-wrapped"}));
  EXPECT_FALSE(IsQemu({"qemu-img"}));
  EXPECT_FALSE(IsQemu({}));
  EXPECT_TRUE(IsQemu({"/usr/bin/kvm-spice"}));
  EXPECT_TRUE(IsQemu({"qemu"}));
  EXPECT_FALSE(IsQemu({"qemu-storage-daemon"}));
}

TEST(QemuArgumentsTest, AQemuThatWasStartedByAnotherNameIsOne) {
  const auto first = [](const Arguments& arguments, absl::string_view file,
                        absl::string_view name) {
    return absl::StrJoin(WithProgram(arguments, file, name), " ");
  };
  const std::string qemu = "/usr/bin/qemu-system-x86_64";
  EXPECT_EQ(first({"microvm@a", "-S"}, qemu, "qemu-system-x86"), qemu + " -S");
  EXPECT_EQ(first({"a", "-S"}, qemu + " (deleted)", "a"), qemu + " -S");
  EXPECT_EQ(first({"a", "-S"}, "", "qemu-system-x86"), "qemu-system-x86 -S") << "as another user";
  EXPECT_EQ(first({"kvm", "-S"}, qemu, "kvm"), "kvm -S");
  EXPECT_EQ(first({"/l/ld-linux-x86-64.so.2", "--library-path", "/l", qemu, "-S"},
                  "/l/ld-linux-x86-64.so.2", "ld-linux-x86-64"),
            qemu + " -S");
  EXPECT_EQ(first({"vim", qemu}, "/usr/bin/vim", "vim"), "vim " + qemu);
}

TEST(QemuArgumentsTest, ADescriptorIsNoPath) {
  EXPECT_TRUE(ParseQemuArguments({"qemu-system-x86_64", "-qmp", "unix:fd=3,server=on,wait=off"})
                  .monitors.empty());
}

const Arguments kMonitor = {"qemu-system-x86_64", "-qmp", "unix:/p,server=on,wait=off"};
constexpr char kUuid[] = "0b5f3b4e-6f1d-4d0a-9c8e-2f6a1b3c4d5e";

QemuArguments ParseWithMonitor(const Arguments& more) {
  Arguments all = kMonitor;
  all.insert(all.end(), more.begin(), more.end());
  return ParseQemuArguments(all);
}

TEST(QemuArgumentsTest, WhatIsSaidOnceIsWhatQemuAnswers) {
  for (const Arguments& form : std::vector<Arguments>{
           {"-name", "web1"},
           {"-S", "--name", "web1,process=x"},
           {"-name", "debug-threads=on,guest=web1"},
       }) {
    EXPECT_EQ(ParseWithMonitor(form).certain_name, "web1") << form.back();
  }
  EXPECT_EQ(ParseWithMonitor({"-uuid", kUuid}).certain_uuid, kUuid);
  EXPECT_EQ(ParseWithMonitor({"--uuid", "0B5F3B4E-6F1D-4D0A-9C8E-2F6A1B3C4D5E"}).certain_uuid,
            kUuid);
  EXPECT_EQ(ParseWithMonitor({"-smbios", "type=1,serial=x"}).certain_uuid, "") << "it has none";
  EXPECT_EQ(ParseWithMonitor({"-uuid", "00000000-0000-0000-0000-000000000000"}).certain_uuid, "");
}

TEST(QemuArgumentsTest, WhereThereIsDoubtOnlyQemuKnows) {
  const Arguments sound = {"-name", "web1", "-uuid", kUuid};
  for (const Arguments& form : std::vector<Arguments>{
           {"-readconfig", "/etc/vm"},
           {"-name", "web2", "-uuid", kUuid},
           {"-append", "-name", "-append", "-uuid"},
           {"-name"},
       }) {
    Arguments all = sound;
    all.insert(all.end(), form.begin(), form.end());
    const QemuArguments found = ParseWithMonitor(all);
    EXPECT_EQ(found.certain_name, std::nullopt) << form[0];
    EXPECT_EQ(found.certain_uuid.has_value(), form.size() == 1) << form[0];
  }
  EXPECT_EQ(ParseWithMonitor({}).certain_name, std::nullopt) << "its configuration may have one";
  EXPECT_EQ(ParseWithMonitor({"-name", "debug-threads=on"}).certain_name, std::nullopt);
  EXPECT_EQ(ParseWithMonitor({"-uuid", "0b5f3b4e"}).certain_uuid, std::nullopt);
  EXPECT_EQ(ParseWithMonitor({"-smbios", "type=1,uuid=x"}).certain_uuid, std::nullopt);
}

TEST(QemuArgumentsTest, TheNameIsNotCertainWithoutAMonitorOrOutsideQemu) {
  EXPECT_EQ(ParseQemuArguments({"kvm", "-name", "web1"}).certain_name, std::nullopt);
  EXPECT_EQ(ParseQemuArguments({"/usr/sbin/libvirtd", "-qmp", "unix:/p,server=on", "-name", "web1"})
                .certain_name,
            std::nullopt);
}

TEST(QemuArgumentsTest, AVmThatComesFromElsewhereIsKnown) {
  EXPECT_TRUE(ParseWithMonitor({"-incoming", "defer"}).incoming);
  EXPECT_TRUE(ParseWithMonitor({"-incoming"}).incoming);
  EXPECT_FALSE(ParseWithMonitor({"-append", "incoming"}).incoming);
}

TEST(QemuArgumentsTest, AGuestCanEndQemuByADeviceOrSemihosting) {
  const std::vector<std::vector<std::string>> kCan = {
      {"-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"},
      {"-device", "{\"driver\":\"isa-debug-exit\"}"},
      {"--device", "driver=isa-debug-exit"},
      {"-semihosting"},
      {"-semihosting-config", "enable=on,target=native"}};
  for (const auto& arguments : kCan) {
    EXPECT_TRUE(ParseWithMonitor(arguments).guest_can_exit) << arguments[0];
  }
  EXPECT_FALSE(ParseWithMonitor({"-append", "isa-debug-exit"}).guest_can_exit);
}

TEST(QemuArgumentsTest, AQemuMayStayWhenItsGuestIsDown) {
  const std::vector<std::vector<std::string>> kMay = {{"-no-shutdown"},
                                                      {"--no-shutdown"},
                                                      {"-action", "shutdown=pause"},
                                                      {"-action", "panic=pause,reboot=shutdown"},
                                                      {"-watchdog-action", "pause"}};
  for (const auto& arguments : kMay) {
    EXPECT_TRUE(ParseWithMonitor(arguments).stays_down) << arguments[0];
  }
  EXPECT_FALSE(ParseWithMonitor({"-action", "shutdown=poweroff,panic=none"}).stays_down);
  EXPECT_FALSE(ParseWithMonitor({"-append", "no-shutdown"}).stays_down);
}

TEST(QemuArgumentsTest, ThatNoDeviceReportsAPanicIsKnownOfACommandLineThatIsWhole) {
  EXPECT_TRUE(ParseWithMonitor({"-device", "virtio-net"}).no_panic_device);
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"-device", "pvpanic"},
                                             {"-device", "{\"driver\":\"pvpanic-pci\"}"},
                                             {"-cpu", "host,hv-crash=on"},
                                             {"-readconfig", "file"}}) {
    EXPECT_FALSE(ParseWithMonitor(arguments).no_panic_device) << arguments[1];
  }
}

TEST(QemuArgumentsTest, EachArgumentOfAProcessEndsWithAZero) {
  EXPECT_EQ(SplitCommandLine(absl::string_view("kvm\0\0-S\0", 8)), (Arguments{"kvm", "", "-S"}));
  EXPECT_EQ(SplitCommandLine(""), Arguments());
  EXPECT_EQ(SplitCommandLine("a title"), Arguments{"a title"});
}

TEST(GivenContainerTest, IsThatOfALibvirtLxcAlone) {
  EXPECT_EQ(GivenContainer({"/usr/lib/libvirt/libvirt_lxc", "--name", "web 1", "--console", "26"}),
            "web 1");
  EXPECT_EQ(GivenContainer({"/usr/lib/libvirt/libvirt_lxc", "--console", "26"}), "");
  EXPECT_EQ(GivenContainer({"libvirt_lxc", "--name"}), "");
  EXPECT_EQ(GivenContainer({"qemu-system-x86_64", "--name", "web1"}), "");
  EXPECT_EQ(GivenContainer({}), "");
}

// Texts for people.

v1::LastWords Words(absl::string_view text) { return WordsIn(text, LastWordsSource::kJournal); }

TEST(QemuWordsTest, WhatEachStartWritesIsNoLastWord) {
  const v1::LastWords words = Words(
      "char device redirected to /dev/pts/0 (label charserial0)\n"
      "VNC server running on 127.0.0.1:5900\n"
      "2026-11-27T00:00:00.000000Z qemu-system-x86_64: warning: TCG doesn't support requested "
      "feature: CPUID.01H:EDX.vme [bit 1]\n"
      "qemu-system-x86_64: warning: host doesn't support requested feature: MSR(490H)\n"
      "qemu-system-x86_64: error: failed to set MSR 0x38d to 0x0\n");
  EXPECT_THAT(words.lines(),
              ElementsAre("qemu-system-x86_64: error: failed to set MSR 0x38d to 0x0"));
}

TEST(QemuWordsTest, TheLastTenLinesStayWithoutEmptyOnes) {
  std::string text;
  for (int line = 1; line <= 12; ++line) absl::StrAppend(&text, "line ", line, "\r\n\n");
  const v1::LastWords words = Words(text);
  EXPECT_THAT(words.lines(), SizeIs(10));
  EXPECT_EQ(words.lines(0), "line 3");
  EXPECT_EQ(words.lines(9), "line 12");
  EXPECT_TRUE(words.truncated());
  EXPECT_FALSE(Words("one\ntwo").truncated());
  EXPECT_THAT(Words("\n \n").lines(), IsEmpty());
}

TEST(QemuWordsTest, WhatIsNoTextIsEscaped) {
  EXPECT_THAT(Words("a\x1b[31m\xff\\\tb\n").lines(), ElementsAre("a\\x1b[31m\\xff\\x5c\\x09b"));
}

TEST(QemuWordsTest, AllLinesTogetherHaveTwoKibibytes) {
  const v1::LastWords one = Words(std::string(9000, 'a'));
  EXPECT_THAT(one.lines(), ElementsAre(std::string(2048, 'a')));
  const v1::LastWords several =
      Words(absl::StrCat(std::string(1500, 'a'), "\n", std::string(1500, 'b')));
  EXPECT_THAT(several.lines(), ElementsAre(std::string(1500, 'b')));
  EXPECT_TRUE(several.truncated());
  EXPECT_THAT(Words(std::string(2048, '\x01')).lines(), ElementsAre(SizeIs(testing::Le(2048))));
}

constexpr char kLog[] =
    "2026-01-31 12:00:00.000+0000: starting up libvirt version: 9.0.0, qemu version: 7.2.22\n"
    "LC_ALL=C \\\n"
    "/usr/bin/qemu-system-x86_64 \\\n"
    "-msg timestamp=on\n"
    "2026-01-31 12:00:00.100+0000: Domain id=1 is tainted: high-privileges\n"
    "of the first life\n"
    "2026-01-31 12:00:02.000+0000: shutting down, reason=crashed\n"
    "2026-01-31 12:00:03.000+0000: starting up libvirt version: 9.0.0, qemu version: 7.2.22\n"
    "/usr/bin/qemu-system-x86_64 \\\n"
    "-msg timestamp=on\n"
    "2026-01-31T12:00:04.000000Z qemu-system-x86_64: terminating on signal 15 from pid 812 "
    "(/usr/sbin/virtqemud)\n";

absl::Time At(int seconds) {
  return absl::FromCivil(absl::CivilSecond(2026, 1, 31, 12, 0, seconds), absl::UTCTimeZone());
}

TEST(QemuWordsTest, OfLibvirtsLogALifeHasWhatItWrote) {
  const auto lines_of = [](absl::Time start) { return Words(LibvirtLife(kLog, start)).lines(); };
  EXPECT_THAT(lines_of(At(0) + absl::Milliseconds(90)), ElementsAre("of the first life"));
  EXPECT_THAT(lines_of(At(3) + absl::Milliseconds(90)), SizeIs(1));
  // Another libvirt's domain has that name, or the start is not known.
  EXPECT_THAT(lines_of(At(30)), IsEmpty());
  EXPECT_THAT(lines_of(absl::InfinitePast()), IsEmpty());
}

TEST(QemuWordsTest, QemuNamesTheSenderOfASignal) {
  const auto sender = SenderInLastWords(
      Words("a\n2026 qemu: terminating on signal 15 from pid 812 (/usr/sbin/virtqemud)\nb"));
  ASSERT_TRUE(sender.has_value());
  EXPECT_EQ(sender->signal, 15);
  EXPECT_EQ(sender->pid, 812);
  EXPECT_EQ(sender->command, "virtqemud");
  EXPECT_TRUE(sender->from_last_words);
  EXPECT_EQ(SenderInLastWords(Words("qemu: terminating on signal 1 from pid 7 (-bash)"))->command,
            "-bash");
  for (const char* text : {"terminating on signal 2", "terminating on signal x from pid 3",
                           "terminating on signal 15 from pid 0 (a)", "signal 15 from pid 3"}) {
    EXPECT_FALSE(SenderInLastWords(Words(text)).has_value()) << text;
  }
}

TEST(QemuWordsTest, TheUnitIsTheInnermostOne) {
  EXPECT_EQ(UnitOf("0::/system.slice/vm@web1.service\n"), "vm@web1.service");
  EXPECT_EQ(UnitOf("0::/machine.slice/machine-qemu\\x2d1\\x2dweb1.scope/libvirt/emulator\n"),
            "machine-qemu\\x2d1\\x2dweb1.scope");
  EXPECT_EQ(UnitOf("0::/user.slice/user-7.slice/user@7.service/app.slice/vm.service\n"),
            "vm.service");
  EXPECT_EQ(UnitOf("5:memory:/x\n1:name=systemd:/qemu.slice/100.scope\n0::/\n"), "100.scope");
  EXPECT_EQ(UnitOf("0::/kubepods/pod7/c\n"), "/kubepods/pod7/c");
  EXPECT_EQ(UnitOf("0::/\n"), "");
  EXPECT_EQ(UnitOf("0::/../a.service\n"), "");
  EXPECT_EQ(UnitOf("0::/a\x1b.service\n"), "");
}

TEST(QemuWordsTest, ACoreIsWhereTheKernelsPatternSays) {
  EXPECT_EQ(CoreOf("|/usr/lib/systemd/systemd-coredump %P %u\n", 7), "coredumpctl info 7");
  EXPECT_EQ(CoreOf("/var/crash/core.%e.%p\n", 7), "/var/crash/core.%e.7");
  EXPECT_EQ(CoreOf("core\n", 7), "core in QEMU's working directory");
  EXPECT_EQ(CoreOf("|/usr/share/apport/apport -p%p", 7),
            "with the program /usr/share/apport/apport -p%p");
}

}  // namespace
}  // namespace vmeventd
