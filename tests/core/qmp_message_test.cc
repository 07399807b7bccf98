#include "watcher/core/qmp_message.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

using ::testing::HasSubstr;

template <typename T>
T Parse(absl::string_view line) {
  absl::StatusOr<QmpMessage> message = ParseQmpMessage(line);
  if (!message.ok() || !std::holds_alternative<T>(*message)) {
    ADD_FAILURE() << "another message: " << line << " " << message.status();
    return T();
  }
  return std::get<T>(*message);
}

TEST(QmpMessageTest, ReadsTheGreetingsVersion) {
  const auto greeting = Parse<QmpGreeting>(
      R"({"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""},)"
      R"( "capabilities": ["oob"]}})");
  EXPECT_EQ(greeting.qemu_version, "7.2.22");
}

TEST(QmpMessageTest, AGreetingWithoutAVersionIsAGreeting) {
  EXPECT_EQ(Parse<QmpGreeting>(R"({"QMP": {}})").qemu_version, "");
  EXPECT_EQ(Parse<QmpGreeting>(R"({"QMP": {"version": {"qemu": {"major": "7"}}}})").qemu_version,
            "");
}

TEST(QmpMessageTest, ReadsReplies) {
  EXPECT_EQ(Parse<QmpReturn>(R"({"return": {"status": "running"}, "id": 7})").value["status"],
            "running");
  const auto error =
      Parse<QmpError>(R"({"error": {"class": "CommandNotFound", "desc": "not found"}})");
  EXPECT_EQ(error.error_class, "CommandNotFound");
  EXPECT_EQ(error.description, "not found");
}

TEST(QmpMessageTest, ReadsAnEvent) {
  const auto event = Parse<QmpEvent>(
      R"({"timestamp": {"seconds": 1795157127, "microseconds": 418552}, "event": "SHUTDOWN",)"
      R"( "data": {"guest": true, "reason": "guest-shutdown", "new_member": [1]}})");
  EXPECT_EQ(event.name, "SHUTDOWN");
  EXPECT_EQ(event.time, absl::FromUnixMicros(1795157127418552));
  EXPECT_EQ(event.data["reason"], "guest-shutdown");
}

TEST(QmpMessageTest, AnEventMayHaveNoDataAndNoTime) {
  const auto event =
      Parse<QmpEvent>(R"({"timestamp": {"seconds": -1, "microseconds": -1}, "event": "STOP"})");
  EXPECT_EQ(event.time, std::nullopt);
  EXPECT_EQ(DetailJson(event, 4096), "");
  EXPECT_EQ(Parse<QmpEvent>(R"({"event": "STOP", "timestamp": 5})").time, std::nullopt);
  EXPECT_EQ(
      Parse<QmpEvent>(R"({"event": "STOP", "timestamp": {"seconds": 1e30, "microseconds": 0}})")
          .time,
      std::nullopt);
  EXPECT_EQ(Parse<QmpEvent>(
                R"({"event":"STOP","timestamp":{"seconds":9223372036854775807,"microseconds":0}})")
                .time,
            std::nullopt);
}

TEST(QmpMessageTest, BytesThatAreNotUtf8AreEscaped) {
  const auto event = Parse<QmpEvent>("{\"event\": \"X\", \"data\": {\"device\": \"a\xFFz\"}}");
  EXPECT_EQ(event.data["device"], "a\\xffz");
  EXPECT_EQ(DetailJson(event, 4096), R"({"device":"a\\xffz"})");
}

TEST(QmpMessageTest, TakesTheGreatestDepthAndRefusesTheNext) {
  const auto nested = [](int depth) {
    return absl::StrCat(R"({"return": )", std::string(depth - 1, '['), std::string(depth - 1, ']'),
                        "}");
  };
  EXPECT_TRUE(ParseQmpMessage(nested(kMaxQmpDepth)).ok());
  EXPECT_THAT(std::string(ParseQmpMessage(nested(kMaxQmpDepth + 1)).status().message()),
              HasSubstr("nested deeper than 64"));
  EXPECT_FALSE(ParseQmpMessage(std::string(1 << 20, '[')).ok());
}

TEST(QmpMessageTest, TakesTheMostValuesAndRefusesTheNext) {
  const auto values = [](int count) {  // with the object and the list
    std::string line = R"({"return": [0)";
    for (int i = 0; i < count - 2; ++i) line += ",0";
    return line + "]}";
  };
  EXPECT_TRUE(ParseQmpMessage(values(kMaxQmpValues)).ok());
  EXPECT_THAT(std::string(ParseQmpMessage(values(kMaxQmpValues + 1)).status().message()),
              HasSubstr("more than 4096 values"));
  EXPECT_TRUE(
      ParseQmpMessage(absl::StrCat(R"({"return": ")", std::string(10'000, ','), "\"}")).ok());
}

TEST(QmpMessageTest, BracketsInTextAreNoNesting) {
  const std::string text(1000, '[');
  EXPECT_TRUE(ParseQmpMessage(absl::StrCat(R"({"return": "\")", text, R"("})")).ok());
}

TEST(QmpMessageTest, RefusesWhatIsNotQmp) {
  for (const char* line :
       {"garbage", "{", "[]", "7", "null", "{}", R"({"event": 7})", R"({"event":"A","data":[]})",
        R"({"other": 1})", "{\"return\": 1} trailing", "\xFF", R"({"return": "\ud800"})"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseQmpMessage(line).status())) << line;
  }
}

TEST(DetailJsonTest, KeepsMembersInQemusOrder) {
  EXPECT_EQ(
      DetailJson(Parse<QmpEvent>(R"({"event":"E","data":{"z": 1, "a": {"y": 2, "b": 3}}})"), 4096),
      R"({"z":1,"a":{"y":2,"b":3}})");
}

TEST(DetailJsonTest, LeavesOutWhatDoesNotFitAndSaysSo) {
  const std::string big(5000, 'x');
  const auto event =
      Parse<QmpEvent>(absl::StrCat(R"({"event":"E","data":{"a":1,"big":")", big, R"(","z":2}})"));
  EXPECT_EQ(DetailJson(event, 4096), R"({"_truncated":true,"a":1,"z":2})");
  const std::string all = R"({"_truncated":true,"a":1,"z":2})";
  EXPECT_EQ(DetailJson(event, all.size()), all);
  EXPECT_EQ(DetailJson(event, all.size() - 1), R"({"_truncated":true,"a":1})");
}

}  // namespace
}  // namespace vmeventd
