#include "server/fleet/cloud_event.h"

#include <map>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "base/nats/jetstream_api.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/test_events.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {
namespace {

using testing::Contains;
using testing::Key;
using testing::Not;
using testing::Pair;

const FleetIdentity kIdentity = {"prod", "node1.example.org", kJournal};

EventBlockPtr BlockOf(const std::string& vm, v1::EventType type, v1::ShutdownClass shutdown_class) {
  v1::Event event;
  event.set_sequence(42);
  if (!vm.empty()) event.mutable_vm()->set_name(vm);
  event.set_type(type);
  event.set_message("something happened");
  event.mutable_observe_time()->set_seconds(1'700'000'000);
  event.mutable_observe_time()->set_nanos(5'000'000);
  if (shutdown_class != v1::SHUTDOWN_CLASS_UNSPECIFIED) {
    event.mutable_shutdown()->set_class_(shutdown_class);
  }
  EventBlockBuilder builder;
  builder.Add(event);
  return builder.Finish();
}

FleetMessage MessageOf(const EventBlockPtr& block,
                       PublishFormat format = PublishFormat::kProtobuf) {
  return FleetEncoder(kIdentity, format, "").Encode(block->at(0), block->EncodedView(0));
}

std::map<std::string, std::string> HeadersOf(const FleetMessage& message) {
  return {message.headers.begin(), message.headers.end()};
}

TEST(CloudEvent, HasTheAttributesOfTheEvent) {
  const FleetMessage message =
      MessageOf(BlockOf("web1", v1::EVENT_TYPE_STOPPED, v1::SHUTDOWN_CLASS_CRASH));
  EXPECT_EQ(message.sequence, 42u);
  EXPECT_EQ(message.subject, "vmevents.v1.prod.node1=2Eexample=2Eorg.web1.stopped.crash");
  EXPECT_THAT(
      HeadersOf(message),
      testing::UnorderedElementsAre(
          Pair("Nats-Msg-Id", std::string(kJournal) + ":42"), Pair("ce-specversion", "1.0"),
          Pair("ce-id", "42"),
          Pair("ce-source", "/vmevents/prod/node1=2Eexample=2Eorg/" + std::string(kJournal)),
          Pair("ce-type", "vmevents.v1.stopped.crash"), Pair("ce-subject", "web1"),
          Pair("ce-time", "2023-11-14T22:13:20.005+00:00"),
          Pair("ce-datacontenttype", "application/protobuf")));
}

TEST(CloudEvent, ThePayloadIsTheEventAlone) {
  const FleetMessage message =
      MessageOf(BlockOf("web1", v1::EVENT_TYPE_STARTED, v1::SHUTDOWN_CLASS_UNSPECIFIED));
  v1::Event event;
  ASSERT_TRUE(event.ParseFromString(message.payload));
  EXPECT_EQ(event.sequence(), 42u);
  EXPECT_EQ(event.vm().name(), "web1");
  EXPECT_EQ(event.message(), "something happened");
}

TEST(CloudEvent, ALargeEventIsWholeToo) {
  v1::Event large;
  large.set_sequence(1);
  large.set_type(v1::EVENT_TYPE_RESET);
  large.set_detail_json(std::string(100'000, 'x'));
  EventBlockBuilder builder;
  builder.Add(large);
  v1::Event event;
  ASSERT_TRUE(event.ParseFromString(MessageOf(builder.Finish()).payload));
  EXPECT_EQ(event.detail_json(), large.detail_json());
}

TEST(CloudEvent, ThePayloadMayBeJson) {
  const FleetMessage message = MessageOf(
      BlockOf("web1", v1::EVENT_TYPE_STOPPED, v1::SHUTDOWN_CLASS_USER), PublishFormat::kJson);
  EXPECT_THAT(HeadersOf(message), Contains(Pair("ce-datacontenttype", "application/json")));
  const auto json = nlohmann::json::parse(message.payload);
  EXPECT_EQ(json["sequence"], "42");
  EXPECT_EQ(json["type"], "EVENT_TYPE_STOPPED");
  EXPECT_EQ(json["shutdown"]["class"], "SHUTDOWN_CLASS_USER");
}

TEST(CloudEvent, HeadersArePercentEncoded) {
  const FleetMessage message = MessageOf(
      BlockOf("a b\"%\r\nX: \xc3\xa9", v1::EVENT_TYPE_STARTED, v1::SHUTDOWN_CLASS_UNSPECIFIED));
  EXPECT_THAT(HeadersOf(message), Contains(Pair("ce-subject", "a%20b%22%25%0D%0AX:%20%C3%A9")));
}

TEST(CloudEvent, AMessageIsThatOfItsOwnEvent) {
  const FleetEncoder encoder(kIdentity, PublishFormat::kProtobuf, "");
  for (const auto& [type, shutdown_class, event] :
       {std::tuple(v1::EVENT_TYPE_STARTED, v1::SHUTDOWN_CLASS_UNSPECIFIED, "started"),
        std::tuple(v1::EVENT_TYPE_STOPPED, v1::SHUTDOWN_CLASS_USER, "stopped.user"),
        std::tuple(v1::EVENT_TYPE_STOPPED, v1::SHUTDOWN_CLASS_CRASH, "stopped.crash"),
        std::tuple(v1::EVENT_TYPE_STARTED, v1::SHUTDOWN_CLASS_UNSPECIFIED, "started")}) {
    const EventBlockPtr block = BlockOf("web1", type, shutdown_class);
    const FleetMessage message = encoder.Encode(block->at(0), block->EncodedView(0));
    EXPECT_EQ(message.subject, absl::StrCat("vmevents.v1.prod.node1=2Eexample=2Eorg.web1.", event));
    EXPECT_THAT(HeadersOf(message), Contains(Pair("ce-type", absl::StrCat("vmevents.v1.", event))));
  }
}

TEST(CloudEvent, AnEventOfTheNodeHasNoSubjectAttribute) {
  const FleetMessage message =
      MessageOf(BlockOf("", v1::EVENT_TYPE_GAP, v1::SHUTDOWN_CLASS_UNSPECIFIED));
  EXPECT_THAT(HeadersOf(message), Not(Contains(Key("ce-subject"))));
  EXPECT_EQ(message.subject, "vmevents.v1.prod.node1=2Eexample=2Eorg.=.gap");
}

TEST(CloudEvent, AGapNamesWhatIsMissingAndTakesTheLastOfItsSequences) {
  const FleetMessage message =
      FleetEncoder(kIdentity, PublishFormat::kProtobuf, "").EncodeGap(5, 9, "a test", At(0));
  EXPECT_EQ(message.sequence, 9u);
  EXPECT_THAT(HeadersOf(message), Contains(Pair(kMessageIdHeader, std::string(kJournal) + ":9")));
  v1::Event event;
  ASSERT_TRUE(event.ParseFromString(message.payload));
  EXPECT_EQ(event.type(), v1::EVENT_TYPE_GAP);
  EXPECT_TRUE(event.durable());
  EXPECT_EQ(event.missing().first(), 5u);
  EXPECT_EQ(event.missing().last(), 9u);
}

TEST(CloudEvent, AMessageIdIsReadAsItWasWritten) {
  for (const char* const secret : {"", "s"}) {
    const auto id = ParseMessageId(ToMessageId({kJournal, 18}, "v.c.n.", secret));
    ASSERT_TRUE(id.has_value());
    EXPECT_EQ(id->journal_id, kJournal);
    EXPECT_EQ(id->sequence, 18u);
  }
  for (const char* const text :
       {"", "j", ":1", "j:", "j:0", "j:01", "j:-1", "j:x", "j:1:", "j:1:0123456789abcde",
        "j:1:0123456789abcdeg", "j:1:0123456789abcdef:1"}) {
    EXPECT_FALSE(ParseMessageId(text).has_value()) << text;
  }
}

// The stream drops a message whose id it has seen, whichever node sent it.
TEST(CloudEvent, AnIdCannotBeGuessedWithoutTheSecret) {
  const auto code = [](uint64_t sequence, const std::string& secret) {
    const FleetMessageId id{kJournal, sequence};
    return ToMessageId(id, "v.c.n.", secret).substr(ToMessageId(id, "v.c.n.", "").size());
  };
  EXPECT_EQ(code(18, "s"), code(18, "s")) << "a repetition has the same";
  EXPECT_NE(code(18, "s"), code(18, "t"));
  EXPECT_NE(code(18, "s"), code(19, "s"));
}

// What it published under its old name is no repetition of what it publishes under the new one.
TEST(CloudEvent, ANodeThatIsRenamedHasOtherIds) {
  EXPECT_NE(ToMessageId({kJournal, 18}, "v.c.n.", "s"), ToMessageId({kJournal, 18}, "v.c.m.", "s"));
}

TEST(CloudEvent, EventsAreNamedAfterTheirTypeAndClass) {
  EXPECT_EQ(EventToken(v1::EVENT_TYPE_STARTED, v1::SHUTDOWN_CLASS_UNSPECIFIED), "started");
  EXPECT_EQ(EventToken(v1::EVENT_TYPE_STOPPED, v1::SHUTDOWN_CLASS_CRASH), "stopped.crash");
  EXPECT_EQ(EventToken(v1::EVENT_TYPE_GUEST_SHUTDOWN, v1::SHUTDOWN_CLASS_USER),
            "guest-shutdown.user");
  EXPECT_EQ(EventToken(v1::EVENT_TYPE_MONITOR_LOST, v1::SHUTDOWN_CLASS_UNSPECIFIED),
            "monitor-lost");
}

TEST(CloudEvent, ATypeOfALaterVersionHasItsNumber) {
  EXPECT_EQ(EventToken(static_cast<v1::EventType>(99), static_cast<v1::ShutdownClass>(77)),
            "type-99.class-77");
}

}  // namespace
}  // namespace vmeventd
