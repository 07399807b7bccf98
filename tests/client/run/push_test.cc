#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_split.h"
#include "client/run/run.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd::client {
namespace {

TEST(RunPush, AWrongTargetIsWrongUsage) {
  for (const auto& [arguments, complaint] :
       {std::pair("push http://x", "--insecure-http"),
        std::pair("push nats://n1 --cluster c", "--insecure-http"),
        std::pair("push nats://u:p@localhost --cluster c", "--push-credentials"),
        std::pair("push nats://localhost", "needs --cluster NAME, the cluster of this node"),
        std::pair("push https://x --cluster c", "is not a NATS server; remove --cluster")}) {
    const auto parsed = ParseCommandLine(absl::StrSplit(arguments, ' '), {});
    ASSERT_TRUE(std::holds_alternative<CommandLine>(parsed)) << arguments;
    const auto& line = std::get<CommandLine>(parsed);
    testing::internal::CaptureStderr();
    EXPECT_EQ(RunPush(std::get<PushCommand>(line.command), line, nullptr), ExitCode::kUsage);
    EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::HasSubstr(complaint)) << arguments;
  }
}

}  // namespace
}  // namespace vmeventd::client
