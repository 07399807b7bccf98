#include "base/nats/jetstream_api.h"

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

TEST(JetStreamApi, AnAcknowledgementHasThePlaceInTheStream) {
  const auto ack = ParseAck(R"({"stream":"VMEVENTS", "seq":3})");
  ASSERT_TRUE(ack.ok()) << ack.status();
  EXPECT_EQ(ack->stream, "VMEVENTS");
  EXPECT_EQ(ack->stream_sequence, 3u);
  EXPECT_FALSE(ack->repeated);
  EXPECT_TRUE(ParseAck(R"({"stream":"VMEVENTS","seq":3,"duplicate":true})")->repeated);
}

// Close to the way in which servers write it.
TEST(JetStreamApi, AnAcknowledgementMayBeWrittenInOtherWays) {
  for (const char* const text :
       {R"({"stream":"S","seq":3})", R"({"stream":"S", "seq":3})", R"( {"stream":"S","seq":3} )",
        R"({"stream":"\u0053","seq":3})", R"({"seq":3,"stream":"S"})",
        R"({"stream":"S","seq":3,"domain":"hub"})", R"({"stream":"S","seq": 3})"}) {
    const auto ack = ParseAck(text);
    ASSERT_TRUE(ack.ok()) << text << ack.status();
    EXPECT_EQ(ack->stream, "S") << text;
    EXPECT_EQ(ack->stream_sequence, 3u) << text;
  }
  for (const char* const text :
       {R"({"stream":"S","seq":03})", R"({"stream":"S","seq":})", R"({"stream":"S""seq":3})",
        R"({"stream":"","seq":3})", R"({"stream":"S","seq":99999999999999999999})",
        R"({"stream":"S","seq":0})", "{\"stream\":\"S\n\",\"seq\":3}"}) {
    EXPECT_FALSE(ParseAck(text).ok()) << text;
  }
}

TEST(JetStreamApi, ARefusalSaysWhy) {
  const auto ack = ParseAck(
      R"({"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"S","seq":0})");
  EXPECT_EQ(ack.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(ack.status().message()), HasSubstr("maximum bytes exceeded"));
}

TEST(JetStreamApi, WhatIsNoAnswerIsAnError) {
  for (const char* const text : {"", "x", "[]", "{}", R"({"stream":3,"seq":"x"})",
                                 R"({"stream":"S","seq":-1})", R"({"error":3})", "{\"stream\":"}) {
    EXPECT_EQ(ParseAck(text).status().code(), absl::StatusCode::kUnavailable) << text;
    EXPECT_FALSE(ParseStoredMessage(text).ok()) << text;
  }
}

TEST(JetStreamApi, AMissingStreamOrMessageIsNotFound) {
  EXPECT_TRUE(absl::IsNotFound(CheckAnswer(kNoStream)));
  EXPECT_TRUE(absl::IsNotFound(
      ParseStoredMessage(
          R"({"error":{"code":404,"err_code":10037,"description":"no message found"}})")
          .status()));
  EXPECT_TRUE(CheckAnswer(R"({"config":{},"state":{}})").ok());
}

TEST(JetStreamApi, AStoredMessageIsReadWithItsHeaders) {
  const auto stored =
      ParseStoredMessage(Stored("NATS/1.0\r\nce-id: 5\r\nNats-Msg-Id: j:5\r\n\r\n"));
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(stored->stream_sequence, 7u);
  EXPECT_EQ(stored->subject, "s");
  EXPECT_EQ(stored->data, "hello");
  EXPECT_EQ(HeaderIn(stored->headers, kMessageIdHeader), "j:5");
  EXPECT_EQ(HeaderIn(stored->headers, "CE-ID"), "5");
  EXPECT_EQ(HeaderIn(stored->headers, "ce"), "");
}

TEST(JetStreamApi, AStoredMessageMayHaveNoHeaders) {
  const auto stored = ParseStoredMessage(R"({"message":{"subject":"s","seq":7,"data":""}})");
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(HeaderIn(stored->headers, "ce-id"), "");
  EXPECT_FALSE(ParseStoredMessage(R"({"message":{"seq":7,"data":"%"}})").ok());
}

TEST(JetStreamApi, AStreamSaysWhenItWasMadeAndWhichSubjectsItHas) {
  EXPECT_EQ(StreamInfoRequest(""), "");
  EXPECT_EQ(nlohmann::json::parse(StreamInfoRequest("a.>"))["subjects_filter"], "a.>");
  const auto info = ParseStreamInfo(
      R"({"created":"2026-11-21T06:51:46Z","state":{"last_seq":9,"subjects":{"a.b":1,"a.c":2}}})");
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->created, "2026-11-21T06:51:46Z");
  EXPECT_EQ(info->last_sequence, 9u);
  EXPECT_THAT(info->subjects, testing::UnorderedElementsAre("a.b", "a.c"));
  EXPECT_TRUE(absl::IsNotFound(ParseStreamInfo(kNoStream).status()));
  EXPECT_TRUE(absl::IsUnavailable(ParseStreamInfo("{}").status()));
}

TEST(JetStreamApi, ABucketKeepsTheLastValueOfEachKey) {
  const auto create = nlohmann::json::parse(CreateBucketRequest("B", 3));
  EXPECT_EQ(create["name"], "KV_B");
  EXPECT_EQ(create["subjects"], nlohmann::json::array({"$KV.B.>"}));
  EXPECT_EQ(create["max_msgs_per_subject"], 1);
  EXPECT_EQ(create["num_replicas"], 3);
}

TEST(JetStreamApi, RequestsAreJson) {
  EXPECT_EQ(ApiSubject("STREAM.INFO", "VMEVENTS"), "$JS.API.STREAM.INFO.VMEVENTS");
  const auto create = nlohmann::json::parse(CreateStreamRequest("VMEVENTS", 3));
  EXPECT_EQ(create["name"], "VMEVENTS");
  EXPECT_EQ(create["subjects"], nlohmann::json::array({"vmevents.v1.>"}));
  EXPECT_EQ(create["num_replicas"], 3);
  EXPECT_EQ(create["duplicate_window"], 120'000'000'000);
  EXPECT_EQ(nlohmann::json::parse(LastMessageRequest("a.>"))["last_by_subj"], "a.>");
  const auto next = nlohmann::json::parse(NextMessageRequest("a.>", 9));
  EXPECT_EQ(next["next_by_subj"], "a.>");
  EXPECT_EQ(next["seq"], 9);
}

}  // namespace
}  // namespace vmeventd
