#include "watcher/core/qemu_words.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "vmeventd/contract/enums.h"
#include "watcher/core/libvirt_log.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

v1::LastWords Words(absl::string_view text) { return WordsIn(text, LastWordsSource::kJournal); }

TEST(QemuWordsTest, UsualLinesOfAStartAreNotTakenForLastWords) {
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

TEST(QemuWordsTest, TheLastTenNonEmptyLinesAreKept) {
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

TEST(QemuWordsTest, ControlCharactersAndBrokenUtf8AreEscaped) {
  EXPECT_THAT(Words("a\x1b[31m\xff\\\tb\n").lines(), ElementsAre("a\\x1b[31m\\xff\\x5c\\x09b"));
}

TEST(QemuWordsTest, AllLinesTogetherHaveAtMostTwoKibibytes) {
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

TEST(QemuWordsTest, OnlyTheLinesOfThisLifeAreReadFromLibvirtsLog) {
  const auto lines_of = [](absl::Time start) { return Words(LibvirtLife(kLog, start)).lines(); };
  EXPECT_THAT(lines_of(At(0) + absl::Milliseconds(90)), ElementsAre("of the first life"));
  EXPECT_THAT(lines_of(At(3) + absl::Milliseconds(90)), SizeIs(1));
  // Another libvirt's domain has that name, or the start is not known.
  EXPECT_THAT(lines_of(At(30)), IsEmpty());
  EXPECT_THAT(lines_of(absl::InfinitePast()), IsEmpty());
}

TEST(QemuWordsTest, LibvirtsLogIsRecognizedByItsPath) {
  EXPECT_TRUE(IsLibvirtLog("/var/log/libvirt/qemu/web1.log", "web1"));
  EXPECT_TRUE(IsLibvirtLog("/host/var/log/libvirt/qemu/web1.log", "web1"));
  EXPECT_FALSE(IsLibvirtLog("/var/log/libvirt/qemu/web1.log", "web2"));
  EXPECT_FALSE(IsLibvirtLog("/var/log/qemu/web1.log", "web1"));
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
                           "terminating on signal 15 from pid 0 (a)", "signal 15 from pid 3",
                           "terminating: signal 15 of process 812 (/usr/sbin/virtqemud)"}) {
    EXPECT_FALSE(SenderInLastWords(Words(text)).has_value()) << text;
  }
}

}  // namespace
}  // namespace vmeventd
