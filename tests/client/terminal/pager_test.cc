#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <string>

#include "client/run/terminal.h"
#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"

namespace vmeventd::client {
namespace {

bool Everything(const std::string& /*program*/) { return true; }
bool Nothing(const std::string& /*program*/) { return false; }

TEST(ChoosePager, TakesTheFirstThatIsSet) {
  EXPECT_EQ(ChoosePager("more -x", "most", Everything), "more -x");
  EXPECT_EQ(ChoosePager(std::nullopt, "most", Everything), "most");
  EXPECT_EQ(ChoosePager(std::nullopt, std::nullopt, Everything), "less -FRSXMK");
}

TEST(ChoosePager, ThereMayBeNone) {
  EXPECT_EQ(ChoosePager(std::nullopt, std::nullopt, Nothing), "");
  EXPECT_EQ(ChoosePager("", "most", Everything), "");
  EXPECT_EQ(ChoosePager(" cat ", "most", Everything), "");
}

TEST(Pager, GetsWhatIsWrittenAndIsWaitedFor) {
  const TemporaryDirectory directory;
  const std::string out = directory / "out";
  {
    const auto pager = Pager::Start("cat > " + out);
    ASSERT_NE(pager, nullptr);
    EXPECT_EQ(write(pager->descriptor(), "text", 4), 4);
  }
  std::string text;
  std::ifstream(out) >> text;
  EXPECT_EQ(text, "text");
}

TEST(Pager, SaysThatItCannotBeRun) {
  const auto missing = Pager::Start("/nowhere/pager");
  ASSERT_NE(missing, nullptr);
  EXPECT_FALSE(missing->Wait());
  const auto fails = Pager::Start("exit 1");
  ASSERT_NE(fails, nullptr);
  EXPECT_TRUE(fails->Wait());
}

// Ctrl-C reaches both; the pager may go on.
TEST(Pager, IsWaitedForThroughAnInterrupt) {
  const TemporaryDirectory directory;
  const std::string out = directory / "out";
  const auto pager = Pager::Start("trap : INT; kill -INT $$; cat > " + out);
  ASSERT_NE(pager, nullptr);
  EXPECT_EQ(raise(SIGINT), 0);
  EXPECT_EQ(write(pager->descriptor(), "text", 4), 4);
  EXPECT_TRUE(pager->Wait());
  std::string text;
  std::ifstream(out) >> text;
  EXPECT_EQ(text, "text");
}

TEST(SizeOfTerminal, AFileHasNone) {
  const UniqueFd file(open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(SizeOfTerminal(file.get()).columns, 0U);
}

}  // namespace
}  // namespace vmeventd::client
