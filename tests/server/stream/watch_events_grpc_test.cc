// WatchEvents over a real gRPC server.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <thread>

#include "absl/strings/str_cat.h"
#include "server/config/listen_address.h"
#include "tests/support/costly_patterns.h"
#include "tests/support/error_info.h"
#include "tests/support/proto_text.h"
#include "tests/support/pumped_state.h"
#include "tests/support/test_server.h"
#include "tests/support/test_stream.h"
#include "tests/support/vm_updates.h"
#include "tests/support/wait.h"
#include "tests/support/watch_requests.h"

namespace vmeventd {
namespace {

using ::testing::HasSubstr;

std::vector<uint64_t> Range(uint64_t first, uint64_t last) {
  std::vector<uint64_t> out(last - first + 1);
  std::iota(out.begin(), out.end(), first);
  return out;
}

// No write takes too long, however fast the test's time passes.
StreamOptions WithPatience() { return {.write_timeout = absl::Hours(100'000)}; }

// Events of which few hundred fill a megabyte.
std::vector<VmUpdate> LargeEvents(int count) {
  return std::vector<VmUpdate>(static_cast<size_t>(count), LargeUpdate("a"));
}

uint64_t Timed(TestServer& server) {
  const auto counts = server.hub().meters().public_to_sent.Read().counts;
  return std::accumulate(counts.begin(), counts.end(), uint64_t{0});
}

TEST(WatchEvents, SentEventsAreCountedAndLiveOnesTimed) {
  TestServer server;
  TestStream live(server.stub(), Live());
  live.Next();
  server.PushEach("a", 3);
  live.NextSequences(3);
  // The lag is the last that is counted of a message.
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

TEST(WatchEvents, RefusesAStartThatItCannotServe) {
  TestServer server({}, RingOf(3), {.retention_events = 3});
  server.PushEach("a", 10);
  const auto code = [&server](const v1::WatchEventsRequest& request) {
    return TestStream(server.stub(), request).End().error_code();
  };
  EXPECT_EQ(code(After(6, kJournal)), grpc::OUT_OF_RANGE);
  EXPECT_EQ(code(After(11, kJournal)), grpc::OUT_OF_RANGE);
  EXPECT_EQ(code(After(10, "another")), grpc::OUT_OF_RANGE);
  EXPECT_EQ(code(After(10, "")), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(server.hub().meters().ends(StreamEnd::kOutOfRange), 3u);
  EXPECT_EQ(server.hub().meters().ends(StreamEnd::kInvalidRequest), 1u);
  EXPECT_TRUE(Eventually([&] { return server.hub().stream_count() == 0; }));
}

// Its filters of 64 KiB take some 200 KB each.
TEST(WatchEvents, RefusesFiltersThatTakeTooMuchMemory) {
  TestServer server(GrpcServerOptions{.addresses = {ParseListenAddress("127.0.0.1:0").value()}});
  v1::WatchEventsRequest large;
  for (int i = 0; i < 1'000; ++i) {
    large.mutable_filter()->add_vm_names(absl::StrCat(std::string(60, 'x'), i));
  }
  std::vector<std::unique_ptr<TestStream>> open;
  const auto is_refused = [&] { return server.refusals().value(Refusal::kUnread) > 0; };
  while (!is_refused()) {
    open.push_back(std::make_unique<TestStream>(server.stub(), large));
    ASSERT_TRUE(Eventually(
        [&] { return is_refused() || server.hub().stream_count() == std::ssize(open); }));
  }
  const grpc::Status refused = open.back()->End();
  open.pop_back();
  EXPECT_EQ(refused.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.error_message(), HasSubstr("filters of streams"));
  EXPECT_EQ(ReasonOf(refused), "TOO_MUCH_UNREAD");
  EXPECT_GT(open.size(), 50u);
  EXPECT_EQ(server.refusals().value(Refusal::kUnread), 1u);
  open.pop_back();
  EXPECT_TRUE(Eventually([&] { return server.hub().stream_count() == std::ssize(open); }));
  // What is closed counts no longer, as soon as its call has ended.
  EXPECT_TRUE(Eventually([&] {
    grpc::ClientContext context;
    const auto reader = server.stub()->WatchEvents(&context, large);
    v1::WatchEventsResponse first;
    const bool is_open = reader->Read(&first) && first.has_progress();
    context.TryCancel();
    reader->Finish();
    return is_open;
  }));
}

TEST(WatchEvents, CostlyFiltersLoseNothingAndHoldUpNobody) {
  TestServer server;
  v1::WatchEventsRequest costly;
  for (const std::string& pattern : CostlyPatterns()) {
    costly.mutable_filter()->add_vm_names(pattern);
  }
  TestStream live(server.stub(), Live());
  live.Next();
  std::vector<std::unique_ptr<TestStream>> streams;
  for (int i = 0; i < 4; ++i) {
    streams.push_back(std::make_unique<TestStream>(server.stub(), costly));
    streams.back()->Next();
  }
  // Each takes a turn of each stream, and all together a second of an instrumented build.
  const std::string name(240, 'a');
  server.Push(std::vector<VmUpdate>(15, Update(name, EventType::kReset)));
  server.Push({Update(name + "b", EventType::kReset)});
  EXPECT_EQ(live.NextSequences(16), Range(1, 16));
  for (const auto& stream : streams) EXPECT_EQ(stream->NextSequences(1), Range(16, 16));
}

TEST(WatchEvents, CutsAReaderThatDoesNotReadAndReportsWhy) {
  TestServer server;
  TestStream slow(server.stub(), Live());
  slow.Next();
  {
    TestStream other(server.stub(), Live());
    other.Next();
    server.Push(LargeEvents(10'000));
    EXPECT_EQ(other.NextSequences(10'000), Range(1, 10'000)) << "who reads is not held up";
  }
  EXPECT_TRUE(Eventually([&] { return server.hub().Lag(10'000).behind == 1; }));
  const StreamLag lag = server.hub().Lag(10'000);
  EXPECT_GT(lag.max_events, 0u);
  EXPECT_EQ(lag.max_events, lag.summed_events);
  EXPECT_TRUE(Eventually([&] { return server.hub().stream_count() == 1; }));
  EXPECT_TRUE(Eventually([&] {
    server.Pass(absl::Seconds(61));
    return server.hub().stream_count() == 0;
  }));
  const grpc::Status status = slow.End();
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_THAT(status.error_message(), HasSubstr("read nothing for"));
  EXPECT_EQ(server.hub().meters().ends(StreamEnd::kStalledWrite), 1u);
  EXPECT_EQ(server.hub().meters().ends(StreamEnd::kClient), 1u) << "the other";
}

TEST(WatchEvents, AReaderOfALargeJournalIsCutWheneverItStopsReading) {
  TestServer server({}, RingOf(10));
  for (int i = 0; i < 500; ++i) server.Push(LargeEvents(20));
  for (const int messages : {1, 2, 50}) {
    const auto stub = server.NewStub();
    TestStream slow(stub.get(), FromTheOldest());
    for (int i = 0; i < messages; ++i) slow.Next();
    // What the buffers on the way take counts as read; then a write is pending.
    EXPECT_TRUE(Eventually([&] {
      server.Pass(absl::Seconds(7));
      return server.hub().stream_count() == 0;
    })) << messages;
    const grpc::Status status = slow.End();
    EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED) << status.error_message();
  }
}

TEST(WatchEvents, DrainSendsEverythingAndThenThePositionToResumeFrom) {
  TestServer server;
  TestStream stream(server.stub(), Live());
  stream.Next();
  server.Push(LargeEvents(400));
  std::thread drain([&server] { server.hub().Drain(Patience()); });
  EXPECT_EQ(stream.NextSequences(400), Range(1, 400));
  const grpc::Status status = stream.End();
  drain.join();
  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "vmeventd is shutting down; resume after sequence 400");
  EXPECT_EQ(server.hub().stream_count(), 0);
  EXPECT_EQ(TestStream(server.stub(), Live()).End().error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(server.hub().meters().ends(StreamEnd::kShutdown), 2u);
}

TEST(WatchEvents, DrainCutsStreamsThatDoNotRead) {
  TestServer server;
  TestStream slow(server.stub(), Live());
  slow.Next();
  server.Push(LargeEvents(10'000));
  server.hub().Drain(absl::Milliseconds(50));
  EXPECT_TRUE(Eventually([&] { return server.hub().stream_count() == 0; }));
  EXPECT_EQ(slow.End().error_code(), grpc::UNAVAILABLE);
}

TEST(WatchEvents, StreamsComeAndGoWhileEventsFlow) {
  // A beat is due in every tenth round, but the clock runs no faster than the real one: a new
  // connection, and the request of a new call, have ten seconds of it.
  StreamOptions options = WithPatience();
  options.progress_interval = absl::Milliseconds(10);
  TestServer server(options);
  std::atomic<bool> stop{false};
  std::thread events([&] {
    while (!stop) {
      server.PushEach("a", 5);
      server.Pass(absl::Milliseconds(1));
    }
  });
  std::vector<std::thread> clients;
  clients.reserve(8);
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&server] {
      const auto stub = server.NewStub();
      for (int round = 0; round < 50; ++round) {
        TestStream stream(stub.get(), round % 2 == 0 ? Live() : FromTheOldest());
        if (round % 3 != 0) stream.Next();
        stream.Cancel();
      }
    });
  }
  for (std::thread& client : clients) client.join();
  stop = true;
  events.join();
  EXPECT_TRUE(Eventually([&] { return server.hub().stream_count() == 0; }));
}

}  // namespace
}  // namespace vmeventd
