#include "watcher/core/line_framer.h"

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "watcher/core/qmp_message.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

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

TEST_F(LineFramerTest, CutsLinesAtBothKindsOfLineEndHoweverInputIsSplit) {
  const std::string stream = "one\r\ntwo\n\r\n\nthree\r\nhalf";
  ASSERT_TRUE(Feed(stream).ok());
  EXPECT_THAT(lines_, ElementsAre("one", "two", "three")) << "an incomplete line waits";
  ASSERT_TRUE(Feed("\n").ok());
  lines_.clear();
  for (const char c : stream) ASSERT_TRUE(Feed(std::string(1, c)).ok());
  EXPECT_THAT(lines_, ElementsAre("one", "two", "three"));
}

TEST_F(LineFramerTest, TakesALineOfTheGreatestLengthAndRefusesALongerOneBeforeItEnds) {
  const std::string line(LineFramer::kMaxLineBytes, 'x');
  ASSERT_TRUE(Feed(line).ok());
  ASSERT_TRUE(Feed("\n").ok());
  ASSERT_EQ(lines_.size(), 1u);
  EXPECT_EQ(lines_[0].size(), LineFramer::kMaxLineBytes);
  ASSERT_TRUE(Feed(std::string(LineFramer::kMaxLineBytes, 'x')).ok());
  const absl::Status status = Feed("x");
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("1 MiB"));
}

// An event as QEMU sends it with -qmp-pretty and -mon pretty=on.
constexpr char kSpreadEvent[] =
    "{\r\n    \"timestamp\": {\r\n        \"seconds\": 1795697559,\r\n"
    "        \"microseconds\": 376973\r\n    },\r\n    \"event\": \"SHUTDOWN\",\r\n"
    "    \"data\": {\r\n        \"guest\": true,\r\n"
    "        \"reason\": \"guest-shutdown\"\r\n    }\r\n}\r\n";

TEST_F(LineFramerTest, AnObjectThatIsSpreadOverLinesIsOne) {
  const std::string reply = "{\r\n    \"return\": {\r\n    }\r\n}\r\n";
  const std::string stream = absl::StrCat(reply, kSpreadEvent, "{\"return\": {}}\r\n", reply);
  ASSERT_TRUE(Feed(stream).ok());
  ASSERT_THAT(lines_, SizeIs(4));
  EXPECT_EQ(lines_[2], "{\"return\": {}}");
  EXPECT_EQ(framer_.held(), 0u);
  const auto message = ParseQmpMessage(lines_[1]);
  ASSERT_TRUE(message.ok()) << message.status();
  const auto& event = std::get<QmpEvent>(*message);
  EXPECT_EQ(event.name, "SHUTDOWN");
  EXPECT_EQ(event.detail_json, R"({"guest":true,"reason":"guest-shutdown"})");
  EXPECT_EQ(event.time, absl::FromUnixMicros(1795697559376973));
  const std::vector<std::string> whole = std::exchange(lines_, {});
  for (const char c : stream) ASSERT_TRUE(Feed(std::string(1, c)).ok());
  EXPECT_EQ(lines_, whole);
}

TEST_F(LineFramerTest, BracketsInStringsOpenAndCloseNothing) {
  const std::string object = R"({
    "a": "}}]",
    "b\"{": ["\\", {
        "c": "\"}" }
    ], "d": "{[" 
})";
  ASSERT_TRUE(Feed(object + "\nnext\n").ok());
  EXPECT_THAT(lines_, ElementsAre(object, "next"));
}

TEST_F(LineFramerTest, ABracketThatIsNeverClosedEndsAtTheLimit) {
  ASSERT_TRUE(Feed("{\n").ok());
  EXPECT_TRUE(absl::IsResourceExhausted(Feed(std::string(LineFramer::kMaxLineBytes, '\n'))));
  EXPECT_TRUE(lines_.empty());
}

TEST_F(LineFramerTest, TextThatCannotContinueAnObjectEndsIt) {
  ASSERT_TRUE(Feed("{\n\"half\nnext\n").ok());
  ASSERT_TRUE(Feed("{ ]\n}\nlogin: {\n").ok());
  EXPECT_THAT(lines_, ElementsAre("{\n\"half", "next", "{ ]", "}", "login: {"));
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
