#include "client/nats/jetstream.h"

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace vmeventd {
namespace {

using testing::HasSubstr;

constexpr char kNoStream[] =
    R"({"type":"io.nats.jetstream.api.v1.stream_info_response","error":{"code":404,"err_code":10059,"description":"stream not found"}})";

std::string Stored(const std::string& headers) {
  return absl::StrCat(R"({"type":"x","message":{"subject":"s","seq":7,"hdrs":")",
                      absl::Base64Escape(headers),
                      R"(","data":"aGVsbG8=","time":"2026-11-21T06:51:46.209350739Z"}})");
}

TEST(JetStreamApi, AnAcknowledgementNamesTheStream) {
  EXPECT_EQ(*ParseAck(R"({"stream":"VMEVENTS", "seq":3})"), "VMEVENTS");
}

TEST(JetStreamApi, ARefusalSaysWhy) {
  const auto ack = ParseAck(
      R"({"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"S","seq":0})");
  EXPECT_EQ(ack.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(ack.status().message()), HasSubstr("maximum bytes exceeded"));
  const auto code_of = [](int code) {
    return ParseAck(absl::StrCat(R"({"error":{"err_code":)", code, R"(,"description":"x"}})"))
        .status()
        .code();
  };
  EXPECT_EQ(code_of(10054), absl::StatusCode::kInvalidArgument) << "too large for the stream";
  EXPECT_EQ(code_of(10077), absl::StatusCode::kUnavailable);
}

TEST(JetStreamApi, WhatIsNoAnswerIsAnError) {
  for (const char* const text : {"", "x", "[]", "{}", R"({"stream":3,"seq":"x"})",
                                 R"({"stream":"S","seq":-1})", R"({"error":3})", "{\"stream\":"}) {
    EXPECT_EQ(ParseAck(text).status().code(), absl::StatusCode::kUnavailable) << text;
    EXPECT_FALSE(ParseStoredMessage(text).ok()) << text;
  }
}

TEST(JetStreamApi, AMissingStreamOrMessageIsNotFound) {
  EXPECT_TRUE(absl::IsNotFound(ParseStreamState(kNoStream).status()));
  EXPECT_TRUE(absl::IsNotFound(
      ParseStoredMessage(
          R"({"error":{"code":404,"err_code":10037,"description":"no message found"}})")
          .status()));
}

TEST(JetStreamApi, AStoredMessageIsReadWithItsHeaders) {
  const auto stored = ParseStoredMessage(Stored("NATS/1.0\r\nce-id: 5\r\nce-type: x:5\r\n\r\n"));
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(stored->message.subject, "s");
  EXPECT_EQ(stored->message.data, "hello");
  EXPECT_EQ(stored->message.header("ce-type"), "x:5");
  EXPECT_EQ(stored->message.header("CE-ID"), "5");
  EXPECT_EQ(stored->message.header("ce"), "");
}

TEST(JetStreamApi, AStoredMessageMayHaveNoHeaders) {
  const auto stored = ParseStoredMessage(R"({"message":{"subject":"s","seq":7,"data":""}})");
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(stored->message.header("ce-id"), "");
  EXPECT_FALSE(ParseStoredMessage(R"({"message":{"seq":7,"data":"%"}})").ok());
}

TEST(ParseStreamState, SaysWhatItsSettingsLetHappen) {
  const auto unsafe = [](const std::string& config) {
    return ParseStreamState(R"({"created":"2026-11-21T06:51:46Z","config":)" + config +
                            R"(,"state":{"first_ts":"0001-01-01T00:00:00Z",)"
                            R"("last_ts":"0001-01-01T00:00:00Z"}})")
        ->unsafe;
  };
  EXPECT_THAT(unsafe(R"({"allow_rollup_hdrs":true})"), testing::HasSubstr("rollups"));
  EXPECT_THAT(unsafe(R"({"allow_msg_schedules":true})"), testing::HasSubstr("schedules"));
  EXPECT_THAT(unsafe(R"({"deny_delete":true})"), testing::HasSubstr("purging"));
  EXPECT_EQ(unsafe(CreateStreamRequest("s", 1)), "");
  EXPECT_EQ(unsafe(CreateBucketRequest("s", 1)), "");
}

TEST(ParseStreamState, TakesTheServersAnswer) {
  const auto state = ParseStreamState(
      R"({"created":"2026-07-01T12:00:00.5Z","state":{"messages":2,"first_seq":3,"last_seq":9,)"
      R"("first_ts":"2026-07-01T13:00:00Z","last_ts":"2026-07-01T14:00:00Z"}})");
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->created, "2026-07-01T12:00:00.5Z");
  EXPECT_EQ(state->first, 3u);
  EXPECT_EQ(state->last, 9u);
  EXPECT_EQ(state->last_time - state->first_time, absl::Hours(1));
}

TEST(ParseStreamState, SaysWhyNodesCannotPublishIntoIt) {
  const auto unfit = [](const std::string& config) {
    const auto state = ParseStreamState(absl::StrCat(
        R"({"created":"x","config":)", config, R"(,"state":{"messages":0,"last_seq":0,)",
        R"("first_ts":"0001-01-01T00:00:00Z","last_ts":"0001-01-01T00:00:00Z"}})"));
    return state.ok() ? state->unfit : std::string(state.status().message());
  };
  EXPECT_EQ(unfit(R"({"retention":"limits"})"), "");
  EXPECT_EQ(unfit("{}"), "");
  EXPECT_THAT(unfit(R"({"retention":"interest"})"), testing::HasSubstr("its retention is"));
  EXPECT_THAT(unfit(R"({"retention":"workqueue"})"), testing::HasSubstr("\"workqueue\""));
}

TEST(ParseStreamState, AnEmptyStreamBeginsBehindItsLast) {
  const auto state =
      ParseStreamState(R"({"created":"x","state":{"messages":0,"first_seq":0,"last_seq":0,)"
                       R"("first_ts":"0001-01-01T00:00:00Z","last_ts":"0001-01-01T00:00:00Z"}})");
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->first, 1u);
}

TEST(ParseStreamState, WhatIsNoStreamIsAnError) {
  for (const char* text : {"", "[]", "{}", R"({"created":"x"})", R"({"created":1,"state":[]})"}) {
    EXPECT_TRUE(absl::IsUnavailable(ParseStreamState(text).status())) << text;
  }
}

TEST(JetStreamApi, ABucketKeepsTheLastValueOfEachKey) {
  const auto create = nlohmann::json::parse(CreateBucketRequest("B", 3));
  EXPECT_EQ(create["name"], "KV_B");
  EXPECT_EQ(create["subjects"], nlohmann::json::array({"$KV.B.>"}));
  EXPECT_EQ(create["max_msgs_per_subject"], 1);
  EXPECT_EQ(create["allow_rollup_hdrs"], false) << "of one key it would delete all others";
  EXPECT_EQ(create["num_replicas"], 3);
}

TEST(JetStreamApi, RequestsAreJson) {
  EXPECT_EQ(ApiSubject("STREAM.INFO", "VMEVENTS"), "$JS.API.STREAM.INFO.VMEVENTS");
  EXPECT_EQ(InDomain("hub", "$JS.API.STREAM.INFO.VMEVENTS"), "$JS.hub.API.STREAM.INFO.VMEVENTS");
  EXPECT_EQ(InDomain("hub", "$KV.B.k"), "$JS.hub.API.$KV.B.k");
  EXPECT_EQ(InDomain("hub", "vmevents.v1.c.n.vm.stopped"), "vmevents.v1.c.n.vm.stopped");
  EXPECT_EQ(InDomain("hub", "$JS.ACK.a.b"), "$JS.ACK.a.b");
  EXPECT_EQ(InDomain("", "$KV.B.k"), "$KV.B.k");
  EXPECT_TRUE(CheckDomain("site-1").ok());
  for (const char* const bad : {"", "a.b", "*", ">", "a b", "\xc3\xa4"}) {
    EXPECT_FALSE(CheckDomain(bad).ok()) << bad;
  }
  const auto create = nlohmann::json::parse(CreateStreamRequest("VMEVENTS", 3));
  EXPECT_EQ(create["name"], "VMEVENTS");
  EXPECT_EQ(create["subjects"], nlohmann::json::array({"vmevents.v1.>"}));
  EXPECT_EQ(create["num_replicas"], 3);
}

TEST(ParseDelivery, TakesBothForms) {
  const auto old = ParseDelivery("$JS.ACK.S.c.1.42.7.1782907200000000000.3");
  ASSERT_TRUE(old.has_value());
  EXPECT_EQ(old->stream_sequence, 42u);
  EXPECT_EQ(old->number, 7u);
  EXPECT_EQ(old->pending, 3u);
  const auto later =
      ParseDelivery("$JS.ACK.domain.account.S.c.1.42.7.1782907200000000000.3.random");
  ASSERT_TRUE(later.has_value());
  EXPECT_EQ(later->stream_sequence, 42u);
  EXPECT_EQ(later->pending, 3u);
  for (const char* text :
       {"", "$JS.ACK", "_INBOX.1", "$JS.ACK.S.c.1.x.7.1.3", "a.b.c.d.1.2.3.4.5"}) {
    EXPECT_FALSE(ParseDelivery(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace vmeventd
