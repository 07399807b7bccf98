#include "server/host/node_id.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace vmeventd {
namespace {

using ::testing::MatchesRegex;

constexpr char kUuid[] = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}";

TEST(NodeId, IsStoredInTheStateDirectoryIfThereIsNoMachineId) {
  const TemporaryDirectory directory;
  const std::string id = StoredNodeId(directory.path()).value();
  EXPECT_THAT(id, MatchesRegex(kUuid));
  EXPECT_EQ(StoredNodeId(directory.path()).value(), id);
  std::ofstream(directory / "node_id") << "garbage";
  const std::string next = StoredNodeId(directory.path()).value();
  EXPECT_THAT(next, MatchesRegex(kUuid));
  EXPECT_NE(next, id) << "a damaged file is replaced";
  EXPECT_EQ(StoredNodeId(directory.path()).value(), next);
  EXPECT_THAT(StoredNodeId(directory / "missing"), Says("missing/node_id"));
}

// Another id would be another node for everybody who knows this one.
TEST(NodeId, EqualsTheApplicationsIdThatSystemdPrints) {
  const TemporaryDirectory directory;
  FILE* const systemd =
      popen("systemd-id128 machine-id --uuid --app-specific=cfa051b179e349de98d50d35ed0d0b37", "r");
  char printed[37] = {};
  const bool has_machine_id = fread(printed, 1, 36, systemd) == 36;
  pclose(systemd);
  const std::string id = NodeId(directory.path()).value();
  EXPECT_EQ(id, has_machine_id ? printed : StoredNodeId(directory.path()).value());
}

}  // namespace
}  // namespace vmeventd
