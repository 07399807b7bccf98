#include "watcher/core/qmp_message.h"

#include <string>
#include <variant>

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
  EXPECT_EQ(Parse<QmpGreeting>(R"({"QMP": {}})").qemu_version, "");
  EXPECT_EQ(Parse<QmpGreeting>(R"({"QMP": {"version": {"qemu": {"major": "7"}}}})").qemu_version,
            "");
}

TEST(QmpMessageTest, ReadsReplies) {
  EXPECT_EQ(Parse<QmpReturn>(R"({"return": {"status": "running"}, "id": 7})").value["status"],
            "running");
  EXPECT_TRUE(Parse<QmpReturn>(R"({"error": {"class": "CommandNotFound"}})").value.is_null());
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
  for (const char* time :
       {R"({"seconds":-1,"microseconds":-1})", "5", R"({"seconds":1e30,"microseconds":0})",
        R"({"seconds":9223372036854775807,"microseconds":0})"}) {
    const auto event =
        Parse<QmpEvent>(absl::StrCat(R"({"event": "STOP", "timestamp": )", time, "}"));
    EXPECT_EQ(event.time, std::nullopt) << time;
    EXPECT_EQ(event.detail_json, "");
  }
}

TEST(QmpMessageTest, BytesThatAreNotUtf8AreEscaped) {
  const auto event = Parse<QmpEvent>("{\"event\": \"X\", \"data\": {\"device\": \"a\xFFz\"}}");
  EXPECT_EQ(event.data["device"], "a\\xffz");
  EXPECT_EQ(event.detail_json, R"({"device":"a\\xffz"})");
}

TEST(QmpMessageTest, TakesTheMaximumDepthAndRefusesADeeperMessage) {
  const auto nested = [](int depth) {
    return absl::StrCat(R"({"return": )", std::string(depth - 1, '['), std::string(depth - 1, ']'),
                        "}");
  };
  EXPECT_TRUE(ParseQmpMessage(nested(kMaxQmpDepth)).ok());
  EXPECT_THAT(std::string(ParseQmpMessage(nested(kMaxQmpDepth + 1)).status().message()),
              HasSubstr("nested deeper than 64"));
  EXPECT_FALSE(ParseQmpMessage(std::string(1 << 20, '[')).ok());
  const std::string in_text = absl::StrCat(R"({"return": "\")", std::string(1000, '['), R"("})");
  EXPECT_TRUE(ParseQmpMessage(in_text).ok());
}

TEST(QmpMessageTest, TakesTheMaximumNumberOfValuesAndRefusesMore) {
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

TEST(QmpMessageTest, ALongTextIsUsedUpToItsLimit) {
  std::string text(kMaxQmpTextBytes - 1, 'x');
  const auto event = Parse<QmpEvent>(absl::StrCat(R"({"event": "X", "data": {"text": ")", text,
                                                  "\xc3\xa4", R"(", "last": "l"}})"));
  EXPECT_EQ(QmpText(event.data, "text"), text);
  EXPECT_EQ(QmpText(event.data, "last"), "l");
}

TEST(QmpMessageTest, RefusesWhatIsNotQmp) {
  for (const char* line :
       {"garbage", "{", "[]", "7", "null", "{}", R"({"event": 7})", R"({"event":"A","data":[]})",
        R"({"other": 1})", "{\"return\": 1} trailing", "\xFF", R"({"return": "\ud800"})"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseQmpMessage(line).status())) << line;
  }
  EXPECT_EQ(
      ParseQmpMessage("QEMU 7.2.0 monitor - type 'help' for more information").status().message(),
      "not QMP: a human monitor, of -monitor; QMP is that of -qmp or mode=control");
}

std::string DetailOf(absl::string_view data) {
  return Parse<QmpEvent>(absl::StrCat(R"({"event": "E", "data": )", data, R"(, "timestamp": 0})"))
      .detail_json;
}

TEST(DetailJsonTest, KeepsMembersInQemusOrderWithoutSpaceBetween) {
  EXPECT_EQ(DetailOf(R"({"z": 1, "a": { "y" :2, "b":	[3 , 4]} })"),
            R"({"z":1,"a":{"y":2,"b":[3,4]}})");
  EXPECT_EQ(DetailOf("{ }"), "{}");
}

TEST(DetailJsonTest, HasEachValueOnceAsQemuSentIt) {
  EXPECT_EQ(DetailOf(R"({"n":1.5,"i":18446744073709551615,"m":-1,"t":true,"z":null})"),
            R"({"n":1.5,"i":18446744073709551615,"m":-1,"t":true,"z":null})");
  EXPECT_EQ(DetailOf(R"({"s":"a  b \u00e9\/\"}],: \n"})"), "{\"s\":\"a  b \u00e9/\\\"}],: \\n\"}");
  EXPECT_EQ(DetailOf(R"({"twice":1,"other":2,"twice":3})"), R"({"twice":3,"other":2})");
}

TEST(DetailJsonTest, OmitsMembersThatDoNotFitAndMarksThat) {
  const std::string big(5000, 'x');
  const std::string data =
      absl::StrCat(R"({"a" : 1, "big": ")", big, R"(", "_truncated": 7, "z": 2.5})");
  const std::string all = R"({"_truncated":true,"a":1,"z":2.5})";
  EXPECT_EQ(DetailOf(data), all);
  const QmpObject object = QmpObject::parse(data);
  EXPECT_EQ(DetailJson(object, all.size()), all);
  EXPECT_EQ(DetailJson(object, all.size() - 1), R"({"_truncated":true,"a":1})");
  const std::string fits =
      absl::StrCat(R"({"big":")", std::string(kMaxDetailBytes - 10, 'x'), "\"}");
  EXPECT_EQ(fits.size(), kMaxDetailBytes);
  EXPECT_EQ(DetailOf(fits), fits);
}

}  // namespace
}  // namespace vmeventd
