#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "client/doctor/diagnosis.h"
#include "client/doctor/settings.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// A node with QEMUs in unusual layouts, and a daemon that watches /run/qemu.
class DoctorLayoutsTest : public testing::Test {
 protected:
  DoctorLayoutsTest() {
    facts_.examined = true;
    facts_.is_root = true;
    facts_.watches = {{{"/run/qemu", "*.qmp"}, true}};
  }

  // Adds a QEMU with this command line, which listens at these paths. Valid until the next one.
  NodeProcess& AddQemu(absl::string_view arguments, const std::vector<std::string>& paths = {}) {
    NodeProcess qemu = {.pid = static_cast<int64_t>(facts_.processes.size()) + 7,
                        .program = "qemu-system-x86",
                        .arguments = absl::StrSplit(arguments, ' '),
                        .state = 'S',
                        .user = "root",
                        .sees_descriptors = true};
    for (const std::string& path : paths) {
      const auto inode = static_cast<uint32_t>(facts_.sockets.size()) + 100;
      qemu.sockets[static_cast<int>(inode)] = inode;
      facts_.sockets.push_back({inode, path, true});
    }
    facts_.processes.push_back(std::move(qemu));
    return facts_.processes.back();
  }

  std::vector<Finding> Findings() const { return Diagnose(facts_).findings; }

  // The only finding.
  Finding Found() const {
    const std::vector<Finding> findings = Findings();
    EXPECT_EQ(findings.size(), 1);
    return findings.empty() ? Finding() : findings[0];
  }

  NodeFacts facts_;
};

TEST_F(DoctorLayoutsTest, TheExtraMonitorOfOneKataVmIsWatchedWithoutKatasOwn) {
  const std::string own = "/run/vc/vm/0a/qmp.sock";
  const std::string extra = "/run/vc/vm/0a/extra-monitor.sock";
  AddQemu(absl::StrCat("qemu-system-x86_64 -name sandbox-0a -qmp unix:", own,
                       ",server=on -qmp unix:", extra, ",server=on"),
          {own, extra});
  EXPECT_EQ(Found().line(), "watch = [\"/run/qemu:*.qmp\", \"/run/vc/vm/*:extra-monitor.sock\"]");
}

TEST_F(DoctorLayoutsTest, AWatchThatVmeventdRefusesIsNotProposed) {
  for (const char* const path :
       {"/srv/vm#1/web1.qmp", "/srv/../a/web1.qmp", "/srv/a'\\b/web1.qmp"}) {
    facts_.processes.clear();
    facts_.sockets.clear();
    AddQemu(absl::StrCat("qemu-system-x86_64 -name web1 -qmp unix:", path, ",server=on"), {path});
    EXPECT_THAT(Found().line(),
                AllOf(HasSubstr("path=/run/qemu/web1.qmp"), Not(HasSubstr("watch"))));
  }
}

TEST_F(DoctorLayoutsTest, AMonitorInTheRootDirectoryHasItsWatch) {
  AddQemu("qemu-system-x86_64 -name web1 -qmp unix:/web1.qmp,server=on", {"/web1.qmp"});
  EXPECT_EQ(Found().line(), "watch = [\"/run/qemu:*.qmp\", \"/:*.qmp\"]");
}

TEST(SettingsTest, TextsAreQuotedAsVmeventdReadsThem) {
  EXPECT_EQ(QuoteForFile("/run/my vms:*.qmp"), "\"/run/my vms:*.qmp\"");
  EXPECT_EQ(QuoteForFile("/run/a\\x2db:*.qmp"), "'/run/a\\x2db:*.qmp'");
  EXPECT_EQ(QuoteForFile("/run/a \"b\":*.qmp"), "'/run/a \"b\":*.qmp'");
  EXPECT_EQ(QuoteForFile("/run/it's \"b\":*.qmp"), "\"/run/it's \\\"b\\\":*.qmp\"");
  for (const char* const text : {"a#b", "a\nb", "a\xff", "it's\\a", "it's a\"]", "it's, \"a\""}) {
    EXPECT_FALSE(FileHolds(text)) << text;
  }
  for (const char* const text : {"a b", "a\\b", "a\"]", "it's a,b \"c\""}) {
    EXPECT_TRUE(FileHolds(text)) << text;
  }
}

}  // namespace
}  // namespace vmeventd::client
