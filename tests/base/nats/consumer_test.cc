#include "base/nats/consumer.h"

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace vmeventd {
namespace {

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

TEST(ParseStreamState, AnEmptyStreamBeginsBehindItsLast) {
  const auto state =
      ParseStreamState(R"({"created":"x","state":{"messages":0,"first_seq":0,"last_seq":0,)"
                       R"("first_ts":"0001-01-01T00:00:00Z","last_ts":"0001-01-01T00:00:00Z"}})");
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->first, 1u);
}

TEST(ParseStreamState, WhatIsNoStreamIsAnError) {
  EXPECT_TRUE(absl::IsNotFound(
      ParseStreamState(R"({"error":{"err_code":10059,"description":"stream not found"}})")
          .status()));
  for (const char* text : {"", "[]", "{}", R"({"created":"x"})", R"({"created":1,"state":[]})"}) {
    EXPECT_TRUE(absl::IsUnavailable(ParseStreamState(text).status())) << text;
  }
}

TEST(CreateConsumerRequest, SaysWhereToBegin) {
  const auto config = [](const std::vector<std::string>& subjects, const ReadStart& start) {
    return nlohmann::json::parse(CreateConsumerRequest("S", subjects, start))["config"];
  };
  EXPECT_EQ(config({}, uint64_t{7})["opt_start_seq"], 7);
  EXPECT_EQ(config({}, absl::FromUnixSeconds(0))["opt_start_time"], "1970-01-01T00:00:00+00:00");
  EXPECT_EQ(config({}, LastOfEachSubject{})["deliver_policy"], "last_per_subject");
  EXPECT_EQ(config({"a"}, uint64_t{1})["filter_subject"], "a");
  EXPECT_EQ(config({"a", "b"}, uint64_t{1})["filter_subjects"].size(), 2u);
}

TEST(ParseConsumerState, TakesTheServersAnswer) {
  const auto state = ParseConsumerState(
      R"({"name":"c","num_pending":4,"delivered":{"consumer_seq":5,"stream_seq":6}})");
  ASSERT_TRUE(state.ok());
  EXPECT_EQ(state->name, "c");
  EXPECT_EQ(state->pending, 4u);
  EXPECT_EQ(state->delivered, 5u);
  EXPECT_EQ(state->scanned, 6u);
  EXPECT_FALSE(ParseConsumerState("{}").ok());
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
