#include "watcher/core/qemu_words.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

LastWords Words(absl::string_view text) { return WordsIn(text, WordsSource::kJournal); }

TEST(QemuWordsTest, TheLastTenLinesStayWithoutEmptyOnes) {
  std::string text;
  for (int line = 1; line <= 12; ++line) absl::StrAppend(&text, "line ", line, "\r\n\n");
  const LastWords words = Words(text);
  EXPECT_THAT(words.lines, SizeIs(10));
  EXPECT_EQ(words.lines.front(), "line 3");
  EXPECT_EQ(words.lines.back(), "line 12");
  EXPECT_TRUE(words.truncated);
  EXPECT_FALSE(Words("one\ntwo").truncated);
  EXPECT_THAT(Words("\n \n").lines, IsEmpty());
}

TEST(QemuWordsTest, WhatIsNoTextIsEscaped) {
  EXPECT_THAT(Words("a\x1b[31m\xff\\\tb\n").lines, ElementsAre("a\\x1b[31m\\xff\\x5c\\x09b"));
}

TEST(QemuWordsTest, AllLinesTogetherHaveTwoKibibytes) {
  const LastWords one = Words(std::string(9000, 'a'));
  EXPECT_THAT(one.lines, ElementsAre(std::string(2048, 'a')));
  const LastWords several =
      Words(absl::StrCat(std::string(1500, 'a'), "\n", std::string(1500, 'b')));
  EXPECT_THAT(several.lines, ElementsAre(std::string(1500, 'b')));
  EXPECT_TRUE(several.truncated);
  EXPECT_THAT(Words(std::string(2048, '\x01')).lines, ElementsAre(SizeIs(testing::Le(2048))));
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
  const auto lines_of = [](absl::Time start) { return Words(LibvirtLife(kLog, start)).lines; };
  EXPECT_THAT(lines_of(At(0) + absl::Milliseconds(90)), ElementsAre("of the first life"));
  EXPECT_THAT(lines_of(At(3) + absl::Milliseconds(90)), SizeIs(1));
  // Another libvirt's domain has that name, or the start is not known.
  EXPECT_THAT(lines_of(At(30)), IsEmpty());
  EXPECT_THAT(lines_of(absl::InfinitePast()), IsEmpty());
}

TEST(QemuWordsTest, QemuNamesTheSenderOfASignal) {
  const auto sender = SenderInWords(
      {"a", "2026 qemu: terminating on signal 15 from pid 812 (/usr/sbin/virtqemud)", "b"});
  ASSERT_TRUE(sender.has_value());
  EXPECT_EQ(sender->signal, 15);
  EXPECT_EQ(sender->pid, 812);
  EXPECT_EQ(sender->command, "virtqemud");
  EXPECT_TRUE(sender->said_by_qemu);
  EXPECT_EQ(SenderInWords({"qemu: terminating on signal 1 from pid 7 (-bash)"})->command, "-bash");
  for (const char* text : {"terminating on signal 2", "terminating on signal x from pid 3",
                           "terminating on signal 15 from pid 0 (a)", "signal 15 from pid 3"}) {
    EXPECT_FALSE(SenderInWords({text}).has_value()) << text;
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
