#include "watcher/qmp/qmp_source.h"

#include "gtest/gtest.h"

namespace vmeventd {
namespace {

TEST(QmpSourceTest, IsNamedAfterTheDirectoryOfTheSocket) {
  EXPECT_EQ(QmpSourceName("/run/ctrl/web1.kvmd"), "qmp:/run/ctrl");
  EXPECT_EQ(QmpSourceName("/web1.kvmd"), "qmp:/");
  EXPECT_EQ(QmpSourceName("web1.kvmd"), "qmp:");
}

}  // namespace
}  // namespace vmeventd
