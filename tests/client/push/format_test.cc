#include <string>

#include "client/output/formatter.h"
#include "client/output/time_text.h"
#include "client/push/request.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr char kHostile[] = "<!channel> & \x1b[31m\"web\"\n\u202e";

class PushFormatTest : public testing::Test {
 protected:
  v1::Event* Add(uint64_t sequence, v1::EventType type, const std::string& vm) {
    v1::Event* event = events_.Add();
    event->set_sequence(sequence);
    event->set_type(type);
    event->set_durable(true);
    *event->mutable_observe_time() = ToProto(absl::FromUnixSeconds(1'782'907'200));
    if (!vm.empty()) event->mutable_vm()->set_name(vm);
    nodes_.push_back({"n7.example", cluster_, {}, "journal-a"});
    return event;
  }
  v1::Event* AddStopped(uint64_t sequence, const std::string& vm,
                        v1::ShutdownClass shutdown_class) {
    v1::Event* event = Add(sequence, v1::EVENT_TYPE_STOPPED, vm);
    event->mutable_shutdown()->set_class_(shutdown_class);
    event->mutable_shutdown()->set_cause(v1::SHUTDOWN_CAUSE_GUEST_PANIC);
    event->set_message("the guest's kernel panicked");
    return event;
  }
  PushBody Body(PushFormat format) {
    return BodyOf(format, {&events_, &nodes_, 0, events_.size()}, absl::Hours(4)).value();
  }

  std::string cluster_ = "prod";
  Formatter::Events events_;
  Formatter::Nodes nodes_;
};

TEST_F(PushFormatTest, AStructuredCloudEvent) {
  Add(42, v1::EVENT_TYPE_MONITOR_LOST, "web 1")->set_message("m");
  const PushBody body = Body(PushFormat::kCloudEvents);
  EXPECT_EQ(body.content_type, "application/cloudevents+json; charset=utf-8");
  auto json = nlohmann::ordered_json::parse(body.text);
  EXPECT_EQ(json["data"], nlohmann::ordered_json::parse(ToJson(events_[0]).value()));
  json["data"] = "...";
  EXPECT_EQ(
      json.dump(),
      R"({"specversion":"1.0","id":"42","source":"/vmevents/prod/n7=2Eexample/journal-a",)"
      R"("type":"vmevents.v1.monitor-lost","subject":"web 1","time":"2026-07-01T12:00:00+00:00",)"
      R"("datacontenttype":"application/json","data":"..."})");
}

TEST_F(PushFormatTest, SeveralCloudEventsAreABatch) {
  cluster_ = "";
  AddStopped(1, "web1", v1::SHUTDOWN_CLASS_CRASH);
  Add(2, v1::EVENT_TYPE_GAP, "");
  const PushBody body = Body(PushFormat::kCloudEvents);
  EXPECT_EQ(body.content_type, "application/cloudevents-batch+json; charset=utf-8");
  const auto json = nlohmann::json::parse(body.text);
  ASSERT_EQ(json.size(), 2);
  EXPECT_EQ(json[0]["source"], "/vmevents/=/n7=2Eexample/journal-a");
  EXPECT_EQ(json[0]["type"], "vmevents.v1.stopped.crash");
  EXPECT_EQ(json[1]["type"], "vmevents.v1.gap");
  EXPECT_FALSE(json[1].contains("subject")) << "the event is of the whole node";
}

TEST_F(PushFormatTest, AGapOfNoJournalHasAnIdOfItsOwn) {
  v1::Event* gap = Add(0, v1::EVENT_TYPE_GAP, "");
  gap->mutable_missing()->set_first(43);
  EXPECT_EQ(nlohmann::json::parse(Body(PushFormat::kCloudEvents).text)["id"], "gap-after-42");
}

TEST_F(PushFormatTest, TypesOfLaterVersionsHaveNames) {
  Add(1, static_cast<v1::EventType>(99), "web1")
      ->mutable_shutdown()
      ->set_class_(static_cast<v1::ShutdownClass>(98));
  EXPECT_EQ(nlohmann::json::parse(Body(PushFormat::kCloudEvents).text)["type"],
            "vmevents.v1.type-99.class-98");
}

TEST_F(PushFormatTest, JsonIsWhatOJsonPrintsWithItsJournal) {
  Add(42, v1::EVENT_TYPE_STARTED, "web1");
  const PushBody body = Body(PushFormat::kJson);
  EXPECT_EQ(body.content_type, "application/json; charset=utf-8");
  EXPECT_THAT(body.text, testing::StartsWith(R"([{"journal_id":"journal-a","cluster":"prod",)"
                                             R"("node":"n7.example","sequence":"42",)"));
  EXPECT_EQ(nlohmann::json::parse(body.text)[0]["vm"]["name"], "web1");
}

TEST_F(PushFormatTest, SlackHasALineForEachEvent) {
  AddStopped(1, "web1", v1::SHUTDOWN_CLASS_CRASH);
  Add(2, v1::EVENT_TYPE_GAP, "")->set_message("2 events are lost");
  EXPECT_EQ(
      Body(PushFormat::kSlack).text,
      R"({"text":"2026-07-01 12:00:00Z web1 on prod/n7.example: STOPPED, CRASH (GUEST_PANIC): )"
      R"(the guest's kernel panicked\n2026-07-01 12:00:00Z prod/n7.example: GAP: )"
      R"(2 events are lost","mrkdwn":false,"unfurl_links":false,"unfurl_media":false})");
}

TEST_F(PushFormatTest, ForeignTextIsHarmlessInEachFormat) {
  AddStopped(1, kHostile, v1::SHUTDOWN_CLASS_CRASH)->set_message(kHostile);
  for (const PushFormat format : {PushFormat::kCloudEvents, PushFormat::kSlack,
                                  PushFormat::kAlertmanager, PushFormat::kJson}) {
    const std::string text = Body(format).text;
    EXPECT_THAT(text, AllOf(Not(HasSubstr("\x1b")), Not(HasSubstr("\n")))) << NameOf(format);
    EXPECT_TRUE(nlohmann::json::accept(text)) << NameOf(format);
  }
  EXPECT_EQ(nlohmann::json::parse(Body(PushFormat::kCloudEvents).text)["subject"], kHostile);
  const std::string slack = nlohmann::json::parse(Body(PushFormat::kSlack).text)["text"];
  EXPECT_THAT(slack, HasSubstr("&lt;!channel&gt; &amp; \\x1b[31m\"web\"\\x0a\\u202e on prod/"));
  EXPECT_THAT(slack, Not(testing::ContainsRegex("[<>\n]")));
  EXPECT_EQ(nlohmann::json::parse(Body(PushFormat::kAlertmanager).text)[0]["labels"]["vm"],
            "<!channel> & \\x1b[31m\"web\"\\x0a\\u202e");
}

TEST_F(PushFormatTest, ATextForSlackIsNeverTooLong) {
  for (int i = 0; i < MostEventsOf(PushFormat::kSlack); ++i) {
    AddStopped(1, "web1", v1::SHUTDOWN_CLASS_CRASH)->set_message(std::string(5000, '<') + "ü");
  }
  const std::string text = nlohmann::json::parse(Body(PushFormat::kSlack).text)["text"];
  EXPECT_LE(text.size(), 40'000);
  EXPECT_THAT(text, testing::EndsWith("&lt;…"));
}

TEST_F(PushFormatTest, AlertsOfCrashesAndUnexplainedEnds) {
  AddStopped(7, "web1", v1::SHUTDOWN_CLASS_CRASH)->mutable_vm()->set_uuid("u-1");
  AddStopped(8, "web2", v1::SHUTDOWN_CLASS_USER);
  EXPECT_EQ(
      Body(PushFormat::kAlertmanager).text,
      R"([{"labels":{"alertname":"VmCrashed","severity":"critical","cluster":"prod",)"
      R"("node":"n7.example","vm":"web1"},"annotations":{"summary":"web1 on prod/n7.example: )"
      R"(STOPPED, CRASH (GUEST_PANIC): the guest's kernel panicked",)"
      R"("event":"/vmevents/prod/n7=2Eexample/journal-a#7","class":"CRASH","cause":"GUEST_PANIC",)"
      R"("uuid":"u-1"},"startsAt":"2026-07-01T12:00:00+00:00",)"
      R"("endsAt":"2026-07-01T16:00:00+00:00"}])");
  AddStopped(9, "web3", v1::SHUTDOWN_CLASS_UNKNOWN);
  Add(10, v1::EVENT_TYPE_GAP, "");
  const auto json = nlohmann::json::parse(Body(PushFormat::kAlertmanager).text);
  ASSERT_EQ(json.size(), 3);
  EXPECT_EQ(json[1]["labels"]["alertname"], "VmEndedUnexplained");
  EXPECT_EQ(json[2]["labels"]["alertname"], "VmEventsMissing");
  EXPECT_FALSE(json[2]["labels"].contains("vm"));
}

TEST_F(PushFormatTest, AStartResolvesTheAlertsOfItsVm) {
  AddStopped(7, "web1", v1::SHUTDOWN_CLASS_CRASH);
  Add(8, v1::EVENT_TYPE_STARTED, "web1");
  const auto json = nlohmann::json::parse(Body(PushFormat::kAlertmanager).text);
  ASSERT_EQ(json.size(), 3);
  EXPECT_EQ(json[1]["labels"], json[0]["labels"]) << "or it would be another alert";
  EXPECT_EQ(json[1]["endsAt"], "2026-07-01T12:00:00+00:00");
  EXPECT_EQ(json[2]["labels"]["alertname"], "VmEndedUnexplained");
}

TEST_F(PushFormatTest, WhatIsNoAlertHasNoBody) {
  AddStopped(7, "web1", v1::SHUTDOWN_CLASS_USER);
  Add(8, v1::EVENT_TYPE_PAUSED, "web1");
  EXPECT_EQ(Body(PushFormat::kAlertmanager).text, "");
}

}  // namespace
}  // namespace vmeventd::client
