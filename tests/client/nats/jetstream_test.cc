#include "client/nats/jetstream.h"

#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/fleet/create_fleet.h"
#include "client/nats/ack_subject.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/answering_nats.h"

namespace vmeventd::client {
namespace {

using testing::HasSubstr;

absl::StatusOr<StreamState> StateIn(const std::string& answer) {
  AnsweringNats nats(answer);
  return ReadStreamState(&nats, "S");
}

// The state of an empty stream with these settings.
StreamState EmptyStream(const std::string& config) {
  return *StateIn(
      absl::StrCat(R"({"created":"x","config":)", config, R"(,"state":{"messages":0,"last_seq":7,)",
                   R"("first_ts":"0001-01-01T00:00:00Z","last_ts":"0001-01-01T00:00:00Z"}})"));
}

std::string Stored(const std::string& headers) {
  return absl::StrCat(R"({"type":"x","message":{"subject":"s","seq":7,"hdrs":")",
                      absl::Base64Escape(headers),
                      R"(","data":"aGVsbG8=","time":"2026-11-21T06:51:46.209350739Z"}})");
}

absl::StatusOr<StoredMessage> MessageIn(const std::string& answer) {
  AnsweringNats nats(answer);
  return ReadMessage(&nats, "S", 7);
}

absl::StatusOr<uint64_t> AckOf(const absl::StatusOr<std::string>& answer) {
  AnsweringNats nats(answer);
  return Store(&nats, "S", {}, absl::Seconds(1));
}

TEST(JetStreamApi, AnAcknowledgementOfAnotherStreamIsAnError) {
  EXPECT_EQ(*AckOf(R"({"stream":"S","seq":7})"), 7u);
  EXPECT_THAT(std::string(AckOf(R"({"stream":"T","seq":7})").status().message()),
              HasSubstr("the messages go into the stream T instead of S"));
  EXPECT_TRUE(absl::IsUnavailable(AckOf(absl::NotFoundError("nobody answers")).status()));
}

TEST(JetStreamApi, ARefusalNamesTheReason) {
  const auto ack = AckOf(
      R"({"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"S","seq":0})");
  EXPECT_EQ(ack.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(ack.status().message()), HasSubstr("maximum bytes exceeded"));
  const auto code_of = [](int code) {
    return AckOf(absl::StrCat(R"({"error":{"err_code":)", code, R"(,"description":"x"}})"))
        .status()
        .code();
  };
  EXPECT_EQ(code_of(10054), absl::StatusCode::kInvalidArgument) << "too large for the stream";
  EXPECT_EQ(code_of(10077), absl::StatusCode::kUnavailable);
}

TEST(JetStreamApi, AMalformedResponseIsAnError) {
  for (const char* const text : {"", "x", "[]", "{}", R"({"stream":3,"seq":"x"})",
                                 R"({"stream":"S","seq":-1})", R"({"error":3})", "{\"stream\":"}) {
    EXPECT_EQ(AckOf(text).status().code(), absl::StatusCode::kUnavailable) << text;
    EXPECT_FALSE(MessageIn(text).ok()) << text;
  }
}

TEST(JetStreamApi, AStoredMessageIsReadWithItsHeaders) {
  const auto stored = MessageIn(Stored("NATS/1.0\r\nce-id: 5\r\nce-type: x:5\r\n\r\n"));
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(stored->message.subject, "s");
  EXPECT_EQ(stored->message.data, "hello");
  EXPECT_EQ(stored->message.header("ce-type"), "x:5");
  EXPECT_EQ(stored->message.header("CE-ID"), "5");
  EXPECT_EQ(stored->message.header("ce"), "");
  EXPECT_TRUE(MessageIn(R"({"message":{"subject":"s","seq":7,"data":""}})").ok());
  EXPECT_FALSE(MessageIn(R"({"message":{"seq":7,"data":"%"}})").ok());
}

TEST(StreamState, NamesTheSettingsThatLetNodesChangeMessagesOfOthers) {
  EXPECT_EQ(EmptyStream(R"({"allow_rollup_hdrs":true,"deny_purge":true})").unsafe,
            "allow_rollup_hdrs is on, deny_delete is off");
  EXPECT_THAT(EmptyStream(R"({"allow_msg_schedules":true})").unsafe,
              HasSubstr("allow_msg_schedules is on, deny_purge is off"));
  EXPECT_EQ(EmptyStream(R"({"retention":"workqueue","deny_purge":true,"deny_delete":true})").unsafe,
            "its retention is workqueue");
  for (const char* const stream : {"s", "KV_s"}) {
    EXPECT_EQ(EmptyStream(CreateRequest(stream)).unsafe, "") << stream;
  }
}

TEST(StreamState, AnEmptyStreamBeginsAfterItsLastMessage) {
  EXPECT_EQ(EmptyStream("{}").first, 8u);
}

TEST(StreamState, AMalformedStateIsAnError) {
  for (const char* text : {"", "[]", "{}", R"({"created":"x"})", R"({"created":1,"state":[]})"}) {
    EXPECT_TRUE(absl::IsUnavailable(StateIn(text).status())) << text;
  }
}

TEST(ParseAckSubject, TakesBothForms) {
  const auto old = ParseAckSubject("$JS.ACK.S.c.1.42.7.1782907200000000000.3");
  ASSERT_TRUE(old.has_value());
  EXPECT_EQ(old->stream_sequence, 42u);
  EXPECT_EQ(old->number, 7u);
  EXPECT_EQ(old->pending, 3u);
  const auto later =
      ParseAckSubject("$JS.ACK.domain.account.S.c.1.42.7.1782907200000000000.3.random");
  ASSERT_TRUE(later.has_value());
  EXPECT_EQ(later->stream_sequence, 42u);
  EXPECT_EQ(later->pending, 3u);
  for (const char* text :
       {"", "$JS.ACK", "_INBOX.1", "$JS.ACK.S.c.1.x.7.1.3", "a.b.c.d.1.2.3.4.5"}) {
    EXPECT_FALSE(ParseAckSubject(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace vmeventd::client
