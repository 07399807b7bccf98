#include "client/fleet/fleet_message.h"

#include "gtest/gtest.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {
namespace {

TEST(ParseOrigin, TakesWhatVmeventdWrites) {
  EXPECT_EQ(*ParseOrigin("/vmevents/prod/n1=2Eexample/j"),
            (MessageNode{"n1.example", "prod", "j"}));
  // A name that was cut stays recognisable.
  EXPECT_EQ(ParseOrigin("/vmevents/prod/nn=h0123456789ABCDEF/j")->name, "nn=h0123456789ABCDEF");
  for (const char* source : {"", "/", "/vmevents/prod/n1", "/vmevents/prod/n1/", "/other/prod/n1/j",
                             "vmevents/prod/n1/j/", "/vmevents/prod/n1/j/x"}) {
    EXPECT_FALSE(ParseOrigin(source).ok()) << source;
  }
}

TEST(ParseOrigin, RefusesANameThatIsNoText) {
  for (const char* source : {"/vmevents/prod/n=FF/j", "/vmevents/=C3/n1/j", "/vmevents/p/n=1Bc/j",
                             "/vmevents/p/n\xff/j", "/vmevents/p/n1/j\x1b[2J"}) {
    EXPECT_FALSE(ParseOrigin(source).ok()) << source;
  }
}

TEST(ParsePayload, TakesProtobufAndJson) {
  v1::Event event;
  event.set_sequence(7);
  event.set_message("seven");
  v1::Event parsed;
  ASSERT_TRUE(ParsePayload(event.SerializeAsString(), &parsed).ok());
  EXPECT_EQ(parsed.sequence(), 7u);
  v1::Event from_json;
  ASSERT_TRUE(
      ParsePayload(R"({"sequence":"7","message":"seven","later_field":1})", &from_json).ok());
  EXPECT_EQ(from_json.SerializeAsString(), parsed.SerializeAsString());
  EXPECT_FALSE(ParsePayload("{", &parsed).ok());
  EXPECT_FALSE(ParsePayload("\xff", &parsed).ok());
}

// One such message would stop every reader that writes JSON.
TEST(ParsePayload, RefusesTimesThatCannotBeWritten) {
  v1::Event event;
  event.mutable_observe_time()->set_seconds(253'402'300'800);  // the year 10000
  EXPECT_FALSE(ParsePayload(event.SerializeAsString(), &event).ok());
  event.Clear();
  event.mutable_observe_time()->set_nanos(-1);
  EXPECT_FALSE(ParsePayload(event.SerializeAsString(), &event).ok());
  event.Clear();
  event.mutable_shutdown()->add_evidence()->mutable_time()->set_seconds(-100'000'000'000);
  EXPECT_FALSE(ParsePayload(event.SerializeAsString(), &event).ok());
}

}  // namespace
}  // namespace vmeventd::client
