#include "client/push/fleet_publisher.h"

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/output/time_text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {
namespace {

const MessageNode kPublishingNode = {"node7.example", "prod", "journal-a", {}};

v1::Event CrashOf(const std::string& vm) {
  v1::Event event;
  event.set_sequence(42);
  *event.mutable_observe_time() = ToProto(absl::FromUnixMillis(1'782'907'200'123));
  event.mutable_vm()->set_name(vm);
  event.set_type(v1::EVENT_TYPE_STOPPED);
  event.mutable_shutdown()->set_shutdown_class(v1::SHUTDOWN_CLASS_CRASH);
  return event;
}

std::map<std::string, std::string> HeadersOf(const StreamMessage& message) {
  return {message.headers.begin(), message.headers.end()};
}

// The message as a server gives it back.
StoredMessage StoredAs(const StreamMessage& message) {
  StoredMessage stored;
  stored.headers = "NATS/1.0\r\n";
  for (const auto& [name, value] : message.headers) {
    absl::StrAppend(&stored.headers, name, ": ", value, "\r\n");
  }
  return stored;
}

TEST(FleetMessageOf, AnEventIsACloudEventInBinaryMode) {
  const auto message = FleetMessageOf(CrashOf("web 1%ü\""), kPublishingNode, /*json=*/false);
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(message->subject, "vmevents.v1.prod.node7=2Eexample.web=201=25=C3=BC=22.stopped.crash");
  EXPECT_EQ(HeadersOf(*message), (std::map<std::string, std::string>{
                                     {"ce-specversion", "1.0"},
                                     {"ce-id", "42"},
                                     {"ce-source", "/vmevents/prod/node7=2Eexample/journal-a"},
                                     {"ce-type", "vmevents.v1.stopped.crash"},
                                     {"ce-subject", "web%201%25%C3%BC%22"},
                                     {"ce-time", "2026-07-01T12:00:00.123+00:00"},
                                     {"ce-datacontenttype", "application/protobuf"}}));
  v1::Event event;
  ASSERT_TRUE(event.ParseFromString(message->data));
  EXPECT_EQ(event.sequence(), 42u);
}

TEST(FleetMessageOf, ThePayloadMayBeJson) {
  const auto message = FleetMessageOf(CrashOf("web1"), kPublishingNode, /*json=*/true);
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(HeadersOf(*message)["ce-datacontenttype"], "application/json");
  EXPECT_EQ(nlohmann::json::parse(message->data)["type"], "EVENT_TYPE_STOPPED");
}

TEST(FleetMessageOf, AnEventOfTheNodeHasNoVm) {
  v1::Event gap;
  gap.set_type(v1::EVENT_TYPE_GAP);
  gap.mutable_missing()->set_first(8);
  const auto message = FleetMessageOf(gap, kPublishingNode, /*json=*/false);
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(message->subject, "vmevents.v1.prod.node7=2Eexample.=.gap");
  EXPECT_EQ(HeadersOf(*message)["ce-id"], "gap-after-7");
  EXPECT_FALSE(HeadersOf(*message).contains("ce-subject"));
  EXPECT_EQ(SequenceIn(StoredAs(*message), kPublishingNode), 7u);
}

TEST(SequenceIn, TheNodesOwnMessagesAreRecognised) {
  const StreamMessage own = *FleetMessageOf(CrashOf("web1"), kPublishingNode, /*json=*/false);
  EXPECT_EQ(SequenceIn(StoredAs(own), kPublishingNode), 42u);
  MessageNode other = kPublishingNode;
  other.journal_id = "journal-b";
  EXPECT_EQ(SequenceIn(StoredAs(own), other), std::nullopt);
  EXPECT_EQ(SequenceIn({}, kPublishingNode), std::nullopt) << "a server's answer";
}

}  // namespace
}  // namespace vmeventd::client
