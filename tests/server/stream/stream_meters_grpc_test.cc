// What the hub counts of its streams.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/test_server.h"

namespace vmeventd {
namespace {

uint64_t Timed(TestServer& server) {
  const auto counts = server.hub().meters().public_to_sent.Read().counts;
  return std::accumulate(counts.begin(), counts.end(), uint64_t{0});
}

TEST(StreamMeters, CountWhatIsSentAndTimeWhatIsLive) {
  TestServer server;
  TestStream live(server.stub(), Live());
  live.Next();
  server.PushEach("a", 3);
  live.NextSequences(3);
  // How far a stream is comes last of what is counted of a message.
  const auto delivered_all = [&server] { return server.hub().Lag(3).behind == 0; };
  ASSERT_TRUE(Eventually(delivered_all));
  const StreamMeters& meters = server.hub().meters();
  EXPECT_EQ(meters.sent_events.value(), 3u);
  const uint64_t timed = Timed(server);
  EXPECT_GE(timed, 1u);
  EXPECT_LE(timed, 3u);

  server.clock().Advance(absl::Seconds(1));
  TestStream replay(server.stub(), FromTheOldest());
  replay.NextSequences(3);
  ASSERT_TRUE(Eventually([&] { return meters.sent_events.value() == 6 && delivered_all(); }));
  EXPECT_EQ(Timed(server), timed) << "what was public before was not late";
  EXPECT_EQ(meters.opened.value(), 2u);
  EXPECT_GT(meters.sent_bytes.value(), 0u);
}

TEST(StreamMeters, TellHowFarAStreamIsBehindAndWhyItEnded) {
  TestServer server;
  TestStream slow(server.stub(), Live());
  slow.Next();
  std::vector<VmUpdate> updates;
  for (int i = 0; i < 10'000; ++i) {
    updates.push_back(Update("a", EventType::kReset));
    updates.back().event->detail_json = std::string(1000, 'x');
  }
  server.Push(std::move(updates));
  const StreamLag lag = server.hub().Lag(10'000);
  EXPECT_EQ(lag.behind, 1);
  EXPECT_GT(lag.max_events, 0u);
  EXPECT_EQ(lag.max_events, lag.summed_events);
  EXPECT_TRUE(Eventually([&] {
    server.Pass(absl::Seconds(61));
    return server.hub().meters().ends(StreamEnd::kStalledWrite) == 1;
  }));
  EXPECT_EQ(server.hub().meters().ends(StreamEnd::kClient), 0u);
}

TEST(StreamMeters, TellRefusalsByTheirReason) {
  TestServer server;
  TestStream first(server.stub(), Live());
  first.Next();
  v1::WatchEventsRequest beyond;
  beyond.set_after_sequence(1000);
  beyond.set_journal_id(kJournal);
  EXPECT_EQ(TestStream(server.stub(), beyond).End().error_code(), grpc::OUT_OF_RANGE);
  EXPECT_EQ(server.hub().meters().ends(StreamEnd::kOutOfRange), 1u);
  const auto ended_by_clients = [&server](uint64_t count) {
    return Eventually([&] {
      return server.hub().meters().ends(StreamEnd::kClient) == count &&
             server.hub().stream_count() == 0;
    });
  };
  first.Cancel();
  EXPECT_TRUE(ended_by_clients(1));
  server.hub().Drain(absl::Seconds(5));
  EXPECT_EQ(TestStream(server.stub(), Live()).End().error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(server.hub().meters().ends(StreamEnd::kShutdown), 1u);
}

}  // namespace
}  // namespace vmeventd
