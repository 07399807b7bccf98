#include "base/nats/consumer.h"

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace vmeventd {
namespace {

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
