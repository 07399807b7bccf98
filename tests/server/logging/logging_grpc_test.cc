#include <fcntl.h>
#include <gmock/gmock.h>
#include <grpc/grpc.h>
#include <grpc/support/log.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/unique_fd.h"
#include "server/logging/logging.h"
#include "spdlog/spdlog.h"
#include "tests/support/manual_clock.h"

namespace vmeventd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

TEST(Logging, GrpcErrorsAreWarningsAndItsInfoIsNotLogged) {
  grpc_init();  // sets gRPC's verbosity
  const auto before = spdlog::default_logger();
  ManualClock clock;
  testing::internal::CaptureStderr();
  {
    const Logging logging(spdlog::level::info, LogFormat::kText, &clock);
    gpr_log(GPR_INFO, "chatter");
    for (int i = 0; i < 120; ++i) gpr_log(GPR_ERROR, "a handshake\nfailed");
    spdlog::info("ours");
  }
  gpr_set_log_function(nullptr);
  spdlog::drop_all();  // they use the clock
  spdlog::set_default_logger(before);
  grpc_shutdown();
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, HasSubstr(" warn  gRPC: a handshake\\x0afailed\n"));
  EXPECT_THAT(text, HasSubstr("kind=\"grpc warn\" lines=20\n"));
  EXPECT_THAT(text, HasSubstr(" info  ours\n"));
  EXPECT_THAT(text, Not(HasSubstr("chatter")));
  const std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
  EXPECT_THAT(lines, SizeIs(102));
}

TEST(Logging, RecognisesTheJournalByDeviceAndInode) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd out(ends[0]);
  const UniqueFd in(ends[1]);
  struct stat status {};
  ASSERT_EQ(fstat(in.get(), &status), 0);
  const std::string name = absl::StrCat(status.st_dev, ":", status.st_ino);
  EXPECT_TRUE(IsJournal(in.get(), name.c_str()));
  EXPECT_FALSE(IsJournal(in.get(), (name + "0").c_str()));
  EXPECT_FALSE(IsJournal(in.get(), ""));
  EXPECT_FALSE(IsJournal(in.get(), nullptr));
}

}  // namespace
}  // namespace vmeventd
