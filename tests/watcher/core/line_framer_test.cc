#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "watcher/core/qmp_message.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;

class LineFramerTest : public ::testing::Test {
 protected:
  absl::Status Feed(absl::string_view bytes) {
    return framer_.Feed(bytes, [this](absl::string_view line) {
      lines_.emplace_back(line);
      return absl::OkStatus();
    });
  }

  LineFramer framer_;
  std::vector<std::string> lines_;
};

TEST_F(LineFramerTest, CutsLinesAtBothLineEnds) {
  ASSERT_TRUE(Feed("one\r\ntwo\nthree\r\n").ok());
  EXPECT_THAT(lines_, ElementsAre("one", "two", "three"));
}

TEST_F(LineFramerTest, JoinsALineThatCameInPieces) {
  for (const char c : std::string("split\r\nnext\r\n")) ASSERT_TRUE(Feed(std::string(1, c)).ok());
  EXPECT_THAT(lines_, ElementsAre("split", "next"));
}

TEST_F(LineFramerTest, SkipsEmptyLines) {
  ASSERT_TRUE(Feed("\r\n\n\r\na\n").ok());
  EXPECT_THAT(lines_, ElementsAre("a"));
}

TEST_F(LineFramerTest, KeepsAnIncompleteLineBack) {
  ASSERT_TRUE(Feed("half").ok());
  EXPECT_TRUE(lines_.empty());
}

TEST_F(LineFramerTest, TakesALineOfTheGreatestLength) {
  const std::string line(LineFramer::kMaxLineBytes, 'x');
  ASSERT_TRUE(Feed(line).ok());
  ASSERT_TRUE(Feed("\n").ok());
  ASSERT_EQ(lines_.size(), 1u);
  EXPECT_EQ(lines_[0].size(), LineFramer::kMaxLineBytes);
}

TEST_F(LineFramerTest, RefusesALongerLineBeforeItEnds) {
  ASSERT_TRUE(Feed(std::string(LineFramer::kMaxLineBytes, 'x')).ok());
  const absl::Status status = Feed("x");
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("1 MiB"));
}

TEST_F(LineFramerTest, StopsAtALineThatIsRefused) {
  int calls = 0;
  const absl::Status status = framer_.Feed("a\nb\n", [&](absl::string_view) {
    ++calls;
    return absl::InvalidArgumentError("no");
  });
  EXPECT_EQ(status.message(), "no");
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace vmeventd
