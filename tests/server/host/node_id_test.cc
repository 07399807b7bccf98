#include "server/host/node_id.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "tests/support/temporary_directory.h"

namespace vmeventd {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

constexpr char kUuid[] = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}";

TEST(NodeId, IsWhatSystemdDerivesFromTheMachineId) {
  // systemd-id128 machine-id --app-specific=cfa051b179e349de98d50d35ed0d0b37
  EXPECT_EQ(NodeIdOfMachine("3d1219c7c4c5404aaa1f6d2a48adfda4").value(),
            "6887eb09-e18d-4dd0-aeeb-24ea58ad1a67");
  EXPECT_NE(NodeIdOfMachine("3d1219c7c4c5404aaa1f6d2a48adfda5").value(),
            "6887eb09-e18d-4dd0-aeeb-24ea58ad1a67");
}

TEST(NodeId, RefusesAnInvalidMachineId) {
  for (const char* text :
       {"", "uninitialized", "3d1219c7c4c5404aaa1f6d2a48adfda",
        "3d1219c7-c4c5-404a-aa1f-6d2a48adfda4", "00000000000000000000000000000000"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(NodeIdOfMachine(text).status())) << text;
  }
}

TEST(NodeId, ComesFromTheMachineIdIfThereIsOne) {
  const TemporaryDirectory directory;
  std::ofstream(directory / "machine-id") << "3d1219c7c4c5404aaa1f6d2a48adfda4\n";
  EXPECT_EQ(NodeId(directory.path(), directory / "machine-id").value(),
            NodeIdOfMachine("3d1219c7c4c5404aaa1f6d2a48adfda4").value());
  EXPECT_FALSE(std::ifstream(directory / "node_id").good());
}

TEST(NodeId, IsKeptInTheStateDirectoryOtherwise) {
  const TemporaryDirectory directory;
  for (const char* text : {"", "uninitialized\n"}) {
    std::ofstream(directory / "machine-id") << text;
    const std::string id = NodeId(directory.path(), directory / "machine-id").value();
    EXPECT_THAT(id, MatchesRegex(kUuid));
    EXPECT_EQ(NodeId(directory.path(), directory / "machine-id").value(), id);
    EXPECT_EQ(NodeId(directory.path(), directory / "missing").value(), id);
  }
}

TEST(NodeId, ADamagedFileIsReplaced) {
  const TemporaryDirectory directory;
  std::ofstream(directory / "node_id") << "garbage";
  const std::string id = NodeId(directory.path(), directory / "missing").value();
  EXPECT_THAT(id, MatchesRegex(kUuid));
  EXPECT_EQ(NodeId(directory.path(), directory / "missing").value(), id);
}

TEST(NodeId, NamesTheFileThatCannotBeCreated) {
  const TemporaryDirectory directory;
  const auto id = NodeId(directory / "missing", directory / "missing");
  EXPECT_THAT(std::string(id.status().message()), HasSubstr("missing/node_id"));
}

}  // namespace
}  // namespace vmeventd
