#include "watcher/qmp/qmp_source.h"

#include <utility>

#include "gtest/gtest.h"
#include "watcher/core/run_info.h"

namespace vmeventd {
namespace {

TEST(QmpSourceTest, IsNamedAfterTheDirectoryOfTheSocket) {
  EXPECT_EQ(QmpSourceName("/run/ctrl/web1.kvmd"), "qmp:/run/ctrl");
  EXPECT_EQ(QmpSourceName("/web1.kvmd"), "qmp:/");
  EXPECT_EQ(QmpSourceName("web1.kvmd"), "qmp:");
}

// Only Ganeti reads the file, and a directory of others need not be writable.
TEST(QmpSourceTest, ShutdownFilesAreForGanetisMonitors) {
  for (const auto& [path, is_written] :
       {std::pair("/run/ctrl/web1.kvmd", true), std::pair("/run/qemu/web1.qmp", false),
        std::pair("/run/qemu/web1.kvmd.qmp", false)}) {
    RunInfo run;
    run.raw_path = path;
    DescribeGanetisFiles(&run);
    EXPECT_EQ(run.has_shutdown_file, is_written) << path;
    EXPECT_EQ(run.log.directory, "") << path;
  }
}

TEST(QmpSourceTest, AQemuOfGanetisDirectoryHasALog) {
  for (const char* path : {"/run/ganeti/kvm-hypervisor/ctrl/web1.kvmd",
                           "/var/run/ganeti/kvm-hypervisor/ctrl/web1.kvmd"}) {
    RunInfo run;
    run.raw_path = path;
    DescribeGanetisFiles(&run);
    EXPECT_EQ(run.log.directory, "/var/log/ganeti/kvm") << path;
    EXPECT_EQ(run.log.format, LastWordsSource::kStandardError) << path;
  }
}

}  // namespace
}  // namespace vmeventd
