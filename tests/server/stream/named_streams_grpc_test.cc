// Streams whose filter names VMs without wildcards: they are woken for events of these VMs only.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "tests/support/event_log_for_tests.h"
#include "tests/support/test_server.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;

v1::WatchEventsRequest OfVms(const std::vector<std::string>& names) {
  v1::WatchEventsRequest request;
  for (const std::string& name : names) request.mutable_filter()->add_vm_names(name);
  return request;
}

// A stream that has had its first message, and so is open.
std::unique_ptr<TestStream> OpenStream(v1::VmEventService::Stub* stub,
                                       const v1::WatchEventsRequest& request) {
  auto stream = std::make_unique<TestStream>(stub, request);
  stream->Next();
  return stream;
}

// Until every stream has had what was published, or does not want it.
bool AreAllAtTheHead(TestServer* server) {
  return Eventually(
      [&] { return server->hub().Lag(server->pumped().live_state().range().newest).behind == 0; });
}

TEST(NamedStreams, GetTheEventsOfTheirVmsAndOfTheNode) {
  TestServer server;
  const auto a = OpenStream(server.stub(), OfVms({"a"}));
  const auto b = OpenStream(server.stub(), OfVms({"b", "none"}));
  const auto both = OpenStream(server.stub(), OfVms({"a", "b"}));
  server.PushEach("a", 2);
  server.PushEach("c", 3);
  server.Push({Update("b", EventType::kReset), Update("a", EventType::kReset)});
  server.pumped().pump().PublishGap("something is missing");
  server.PushEach("b", 1);
  EXPECT_THAT(a->NextSequences(4), ElementsAre(1, 2, 7, 8));
  EXPECT_THAT(b->NextSequences(3), ElementsAre(6, 8, 9));
  EXPECT_THAT(both->NextSequences(6), ElementsAre(1, 2, 6, 7, 8, 9));
}

TEST(NamedStreams, AreNotWokenForOtherVms) {
  constexpr uint64_t kStreams = 100;
  constexpr uint64_t kEvents = 50;
  TestServer server;
  std::vector<std::unique_ptr<TestStream>> named;
  for (uint64_t i = 0; i < kStreams; ++i) {
    named.push_back(OpenStream(server.stub(), OfVms({absl::StrCat("vm", i)})));
  }
  const auto all = OpenStream(server.stub(), {});
  for (uint64_t i = 0; i < kEvents; ++i) {
    server.PushEach("another", 1);
    EXPECT_THAT(all->NextSequences(1), ElementsAre(i + 1));
  }
  // Two of each stream at its opening, and of `all` two for each event; woken for each event the
  // others would have taken some thousand.
  EXPECT_LE(server.hub().meters().turns.value(), 4 * kStreams + 4 * kEvents + 4);
  server.PushEach("vm7", 1);
  EXPECT_THAT(named[7]->NextSequences(1), ElementsAre(kEvents + 1));
}

TEST(NamedStreams, StayAtTheHeadThoughNothingIsForThem) {
  TestServer server({}, RingOf(3), {.retention_events = 3});
  const auto a = OpenStream(server.stub(), OfVms({"a"}));
  for (int i = 0; i < 20; ++i) {
    server.PushEach("b", 1);
    ASSERT_TRUE(AreAllAtTheHead(&server)) << "after event " << i + 1;
  }
  // What it did not look at is neither in the ring nor in the journal.
  server.PushEach("a", 1);
  EXPECT_THAT(a->NextSequences(1), ElementsAre(21));
}

// Keeps the history thread from its next turn for as long as it lives.
class HeldHistory {
 public:
  explicit HeldHistory(TestServer* server) {
    EventLogForTests::PartsOf(server->pumped().log())
        .read_queue.PostForStream("test", [gate = gate_](const absl::StatusOr<JournalReader*>&) {
          gate->held.Notify();
          gate->released.WaitForNotification();
          return absl::OkStatus();
        });
    gate_->held.WaitForNotification();
  }
  ~HeldHistory() { gate_->released.Notify(); }
  HeldHistory(const HeldHistory&) = delete;
  HeldHistory& operator=(const HeldHistory&) = delete;

 private:
  struct Gate {
    absl::Notification held;
    absl::Notification released;
  };
  const std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();
};

// Many messages of history, in which every third event is of `name`.
constexpr uint64_t kHistory = 900;
void PushHistory(TestServer* server, const std::string& name) {
  const VmUpdate other = LargeUpdate("other");
  for (uint64_t i = 0; i < kHistory; i += 3) server->Push({other, other, LargeUpdate(name)});
}

class NamedStreamsInHistory : public ::testing::TestWithParam<bool> {
 protected:
  static v1::WatchEventsRequest Request() {
    v1::WatchEventsRequest request = OfVms({"a"});
    if (GetParam()) {
      request.set_from_oldest(true);
    } else {
      request.mutable_since()->set_seconds(absl::ToUnixSeconds(At(0)));
    }
    return request;
  }
  // The sequences up to `last`, which comes in any case.
  static std::vector<uint64_t> SequencesTo(uint64_t last, TestStream* stream) {
    std::vector<uint64_t> out;
    while ((out.empty() || out.back() < last) && !HasFailure()) {
      const std::vector<uint64_t> next = stream->NextSequences(1);
      out.insert(out.end(), next.begin(), next.end());
    }
    return out;
  }
  static std::vector<uint64_t> EveryThird(uint64_t last) {
    std::vector<uint64_t> out;
    for (uint64_t sequence = 3; sequence <= last; sequence += 3) out.push_back(sequence);
    return out;
  }
};

TEST_P(NamedStreamsInHistory, MissNoneWhereTheirVmHasEventsBeforeTheFirstMessage) {
  TestServer server({}, RingOf(3));
  PushHistory(&server, "a");
  std::unique_ptr<TestStream> stream;
  {
    const HeldHistory held(&server);
    stream = std::make_unique<TestStream>(server.stub(), Request());
    const auto turns = [&server] { return server.hub().meters().turns.value(); };
    // The stream is woken once more if a thread of the hub is late with the history's end.
    ASSERT_TRUE(Eventually([&] { return turns() >= 1; }));
    const uint64_t before = turns();
    server.PushEach("other", 2);
    server.PushEach("a", 1);
    // It was woken for this one.
    ASSERT_TRUE(Eventually([&] { return turns() > before; }));
  }
  EXPECT_EQ(SequencesTo(kHistory + 3, stream.get()), EveryThird(kHistory + 3));
  server.PushEach("a", 1);
  EXPECT_THAT(stream->NextSequences(1), ElementsAre(kHistory + 4));
}

INSTANTIATE_TEST_SUITE_P(Starts, NamedStreamsInHistory, ::testing::Bool(),
                         [](const auto& oldest) { return oldest.param ? "FromOldest" : "Since"; });

TEST(NamedStreams, ThatOpenAmongEventsMissNone) {
  constexpr uint64_t kVms = 5;
  constexpr uint64_t kEvents = 400;
  const auto name_of = [](uint64_t sequence) { return absl::StrCat("vm", sequence % kVms); };
  TestServer server;
  const auto read = [&](uint64_t vm) {
    const auto stub = server.NewStub();
    for (int round = 0; round < 20; ++round) {
      TestStream stream(stub.get(), OfVms({absl::StrCat("vm", vm)}));
      uint64_t sequence = stream.Next().progress().sequence();
      for (++sequence; sequence % kVms != vm; ++sequence) {
      }
      std::vector<uint64_t> wanted;
      for (; sequence <= kEvents && sequence % 7 != 0; sequence += kVms) wanted.push_back(sequence);
      std::vector<uint64_t> got = stream.NextSequences(wanted.size());
      ASSERT_GE(got.size(), wanted.size());
      got.resize(wanted.size());  // one message may hold some that follow
      ASSERT_EQ(got, wanted);
    }
  };
  std::vector<std::thread> readers;
  for (uint64_t vm = 0; vm < kVms; ++vm) readers.emplace_back([&read, vm] { read(vm); });
  for (uint64_t sequence = 1; sequence <= kEvents; ++sequence) {
    server.PushEach(name_of(sequence), 1);
  }
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace vmeventd
