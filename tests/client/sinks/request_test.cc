#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "client/output/json.h"
#include "client/sinks/http.h"
#include "client/sinks/push_body.h"
#include "client/sinks/push_target.h"
#include "client/sinks/set_aside_line.h"
#include "client/sinks/signature.h"
#include "client/sinks/sink_table.h"
#include "client/sinks/sinks.h"
#include "client/sinks/trial_event.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/filled_message.h"
#include "tests/support/loopback.h"
#include "tests/support/status_matchers.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr char kHostile[] = "<!channel> & \x1b[31m\"web\"\n\u202e";

class PushFormatTest : public testing::Test {
 protected:
  v1::Event* Add(uint64_t sequence, v1::EventType type, const std::string& vm) {
    events_.push_back({{}, {"n7.example", cluster_, "journal-a"}});
    v1::Event* event = &events_.back().event;
    event->set_sequence(sequence);
    event->set_type(type);
    event->set_durable(true);
    *event->mutable_observe_time() = ToTimestamp(absl::FromUnixSeconds(1'782'907'200));
    if (!vm.empty()) event->mutable_vm()->set_name(vm);
    return event;
  }
  v1::Event* AddStopped(uint64_t sequence, const std::string& vm,
                        v1::ShutdownClass shutdown_class) {
    v1::Event* event = Add(sequence, v1::EVENT_TYPE_STOPPED, vm);
    event->mutable_shutdown()->set_shutdown_class(shutdown_class);
    event->mutable_shutdown()->set_cause(v1::SHUTDOWN_CAUSE_GUEST_PANIC);
    event->set_message("the guest's kernel panicked");
    return event;
  }
  PushBody Body(PushFormat format, const std::string& form = R"({"text": "{{text}} {{vm}}"})") {
    return BodyOf(format, form, events_).value();
  }

  std::string cluster_ = "prod";
  NodeEvents events_;
};

TEST_F(PushFormatTest, AnEventIsAStructuredCloudEvent) {
  Add(42, v1::EVENT_TYPE_MONITOR_LOST, "web 1")->set_message("m");
  const PushBody body = Body(PushFormat::kCloudEvents);
  EXPECT_EQ(body.content_type, "application/cloudevents+json; charset=utf-8");
  auto json = nlohmann::ordered_json::parse(body.text);
  EXPECT_EQ(json["data"], nlohmann::ordered_json::parse(ToJson(events_[0].event).value()));
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

TEST_F(PushFormatTest, AGapWithoutASequenceHasItsOwnId) {
  v1::Event* gap = Add(0, v1::EVENT_TYPE_GAP, "");
  gap->mutable_missing()->set_first(43);
  EXPECT_EQ(nlohmann::json::parse(Body(PushFormat::kCloudEvents).text)["id"], "gap-after-42");
}

TEST_F(PushFormatTest, TypesOfLaterVersionsHaveNames) {
  Add(1, static_cast<v1::EventType>(99), "web1")
      ->mutable_shutdown()
      ->set_shutdown_class(static_cast<v1::ShutdownClass>(98));
  EXPECT_EQ(nlohmann::json::parse(Body(PushFormat::kCloudEvents).text)["type"],
            "vmevents.v1.type-99.class-98");
}

TEST_F(PushFormatTest, JsonIsTheClientsJsonWithTheJournalAdded) {
  Add(42, v1::EVENT_TYPE_STARTED, "web1");
  const PushBody body = Body(PushFormat::kJson);
  EXPECT_EQ(body.content_type, "application/json; charset=utf-8");
  EXPECT_THAT(body.text, testing::StartsWith(R"([{"journal_id":"journal-a","cluster":"prod",)"
                                             R"("node":"n7.example","sequence":"42",)"));
  EXPECT_EQ(nlohmann::json::parse(body.text)[0]["vm"]["name"], "web1");
}

TEST_F(PushFormatTest, ForeignTextIsHarmlessInEachFormat) {
  AddStopped(1, kHostile, v1::SHUTDOWN_CLASS_CRASH)->set_message(kHostile);
  for (const PushFormat format :
       {PushFormat::kCloudEvents, PushFormat::kJson, PushFormat::kTemplate}) {
    const std::string text = Body(format).text;
    EXPECT_THAT(text, AllOf(Not(HasSubstr("\x1b")), Not(HasSubstr("\n")))) << NameOf(format);
    EXPECT_TRUE(nlohmann::json::accept(text)) << NameOf(format);
  }
  EXPECT_EQ(nlohmann::json::parse(Body(PushFormat::kCloudEvents).text)["subject"], kHostile);
  EXPECT_EQ(nlohmann::json::parse(Body(PushFormat::kTemplate, R"(["{{vm}}"])").text)[0],
            "<!channel> & \\x1b[31m\"web\"\\x0a\\u202e");
}

TEST_F(PushFormatTest, PlaceholdersInTheStringsOfATemplateAreReplaced) {
  AddStopped(7, "web1", v1::SHUTDOWN_CLASS_CRASH)->mutable_vm()->set_uuid("u-1");
  const PushBody body = Body(PushFormat::kTemplate, R"({
    "title": "{{vm}}: {{class}}, {{cause}}",
    "deep": [{"id": "{{event_id}}"}, 5, null],
    "text": "{{text}}",
    "of": "{{cluster}}/{{node}} {{uuid}}{{actor}}"})");
  EXPECT_EQ(body.content_type, "application/json; charset=utf-8");
  EXPECT_EQ(nlohmann::json::parse(body.text), nlohmann::json::parse(R"({
    "title": "web1: CRASH, GUEST_PANIC",
    "deep": [{"id": "/vmevents/prod/n7=2Eexample/journal-a#7"}, 5, null],
    "text": "web1 on prod/n7.example: STOPPED, CRASH (GUEST_PANIC): The guest's kernel panicked.",
    "of": "prod/n7.example u-1"})"));
}

TEST_F(PushFormatTest, ATemplateHasASubjectAndASeverity) {
  const auto fields = [this] {
    const std::string text = Body(PushFormat::kTemplate, R"(["{{subject}} {{severity}}"])").text;
    events_.clear();
    return std::string(nlohmann::json::parse(text)[0]);
  };
  AddStopped(1, "<!channel>&@a*", v1::SHUTDOWN_CLASS_CRASH);
  EXPECT_EQ(fields(), "_!channel___a_ critical");
  AddStopped(2, "web1", v1::SHUTDOWN_CLASS_UNKNOWN);
  EXPECT_EQ(fields(), "web1 error");
  AddStopped(3, "web1", v1::SHUTDOWN_CLASS_USER);
  EXPECT_EQ(fields(), "web1 info");
  Add(4, v1::EVENT_TYPE_GAP, "");
  EXPECT_EQ(fields(), "prod/n7.example warning");
}

TEST_F(PushFormatTest, TheEventOfATestReadsLikeAnEnd) {
  events_ = {TrialEvent("node1", absl::UnixEpoch())};
  EXPECT_EQ(nlohmann::json::parse(Body(PushFormat::kTemplate, R"(["{{text}}"])").text)[0],
            "vmevents-test on node1: STOPPED, UNKNOWN (UNOBSERVED): This is a test of vmevents "
            "push, and no VM has ended.");
}

TEST_F(PushFormatTest, AnUnseenEndHasTheTimesBetweenWhichItHappened) {
  *AddStopped(7, "web1", v1::SHUTDOWN_CLASS_UNKNOWN)->mutable_shutdown()->mutable_last_seen_time() =
      ToTimestamp(absl::FromUnixSeconds(1'782'907'186));
  const auto json =
      nlohmann::json::parse(Body(PushFormat::kTemplate, R"({"text": "{{text}}"})").text);
  EXPECT_EQ(json["text"],
            "web1 on prod/n7.example: STOPPED, UNKNOWN (GUEST_PANIC): ended between 2026-07-01 "
            "11:59:46 and 12:00:00 UTC: The guest's kernel panicked.");
}

// Slack refuses a text of more than 3,000 characters, PagerDuty one of more than 1,024.
TEST_F(PushFormatTest, ATextForPeopleHasALimit) {
  v1::Event* event = AddStopped(7, std::string(255, '\xff'), v1::SHUTDOWN_CLASS_CRASH);
  event->mutable_shutdown()->mutable_last_words()->add_lines(std::string(2048, 'w'));
  const std::string text =
      nlohmann::json::parse(Body(PushFormat::kTemplate, R"(["{{text}}"])").text)[0];
  EXPECT_THAT(text, AllOf(testing::StartsWith("\\xff"), testing::EndsWith("…")));
  EXPECT_EQ(text.size(), 999 + std::string("…").size());
}

TEST_F(PushFormatTest, AWrongTemplateIsRefusedWithTheReason) {
  const auto fault = [](const char* form) {
    return std::string(CheckTemplate(form).status().message());
  };
  EXPECT_THAT(fault("{\"a\": \n{{vm}}}"), HasSubstr("is not JSON: a fault in line 2"));
  EXPECT_THAT(fault("{\"a\": \n{{vm}}}"), HasSubstr("line 2"));
  EXPECT_THAT(fault("\"{{vm}}\""), HasSubstr("no JSON object"));
  EXPECT_THAT(fault(R"({"a": ["{{vn}}"]})"),
              HasSubstr(R"(has "{{vn}}", which is no field; write one of actor, cause, class, )"));
  EXPECT_THAT(fault(R"({"a": "{{vm"})"), HasSubstr("has \"{{vm\"}\", which is no field"));
  EXPECT_EQ(fault(R"({"a": "REPLACE-BY-YOUR-KEY"})"),
            "has \"REPLACE-BY-YOUR-KEY\"; write your own value there");
  EXPECT_EQ(fault(R"({"a": "{vm} }} {"})"), "");
}

TEST_F(PushFormatTest, AnEventThatWasSetAsideIsReadUnchanged) {
  AddStopped(7, kHostile, v1::SHUTDOWN_CLASS_CRASH)->mutable_vm()->set_uuid("u-1");
  Add(0, v1::EVENT_TYPE_GAP, "")->mutable_missing()->set_first(43);
  Fill(true, Add(0, v1::EVENT_TYPE_UNSPECIFIED, ""));
  for (const NodeEvent& one : events_) {
    const auto read = ParseSetAside(SetAsideLine(one, "https://x", "no", absl::UnixEpoch()));
    ASSERT_TRUE(read.ok());
    EXPECT_EQ(Differences(one.event, read->event), "");
    EXPECT_EQ(read->node, one.node);
  }
  for (const char* wrong : {"", "x", "[]", "{}", R"({"event":null})", R"({"event":{"type":[]}})"}) {
    EXPECT_FALSE(ParseSetAside(wrong).ok()) << wrong;
  }
}

// The signature, an answer, and the URL.

const absl::Time kRequestTime =
    absl::FromUnixSeconds(1'782'907'200);  // 2026-07-01 12:00:00, Wednesday

TEST(PushSignatureTest, IsTheHmacOfTimeAndBody) {
  // printf '1782907200.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
  EXPECT_EQ(Signature({"0123456789abcdef"}, R"({"a":1})", kRequestTime),
            "t=1782907200,v1=996fda2f366381349c3925d4aba54777713a8c9e38f1ead099873ad88f2bb994");
}

TEST(PushSignatureTest, TwoSecretsSignTwice) {
  const std::string first = Signature({"0123456789abcdef"}, "x", kRequestTime);
  const std::string both = Signature({"0123456789abcdef", "fedcba9876543210"}, "x", kRequestTime);
  EXPECT_THAT(both, testing::StartsWith(first + ",v1="));
}

TEST(PushSignatureTest, SecretsAreOneOrTwoLinesOfAMinimumLength) {
  EXPECT_EQ(ParseSecrets("0123456789abcdef\r\n")->front(), "0123456789abcdef");
  EXPECT_EQ(ParseSecrets("0123456789abcdef\n\nfedcba9876543210")->size(), 2);
  for (const char* wrong :
       {"", "\n", "short", "0123456789abcdef\n0123456789abcdef\n0123456789abcdef"}) {
    EXPECT_FALSE(ParseSecrets(wrong).ok()) << wrong;
  }
  EXPECT_THAT(ParseSecrets("hunter2"), Not(Says("hunter2")));
}

// A server's treatment of its connection once it has sent its response.
enum class Afterwards { kCloses, kHolds };

// The answer to a request, of a server that sends this response.
HttpAnswer AnswerOf(const std::string& response, Afterwards afterwards = Afterwards::kCloses) {
  uint16_t port = 0;
  const UniqueFd listener = e2e::ListenOnLoopback(&port);
  std::thread server([&] {
    const UniqueFd connection(accept(listener.get(), nullptr, nullptr));
    std::string request(4096, '\0');
    for (std::string all; !absl::StrContains(all, "the body");) {
      const ssize_t size = read(connection.get(), request.data(), request.size());
      if (size <= 0) return;
      all.append(request, 0, static_cast<size_t>(size));
    }
    (void)send(connection.get(), response.data(), response.size(), MSG_NOSIGNAL);
    if (afterwards == Afterwards::kCloses) return;
    while (read(connection.get(), request.data(), request.size()) > 0) {  // until the client closes
    }
  });
  const auto post =
      MakeHttpPost(absl::StrCat("http://127.0.0.1:", port), {}, absl::Seconds(30), {});
  HttpAnswer answer = (*post)("the body", {});
  server.join();
  return answer;
}

TEST(PushAnswerTest, RetryAfterIsANumberOrADate) {
  const auto after = [](const std::string& value) {
    return AnswerOf(absl::StrCat("HTTP/1.1 429 Busy\r\nContent-Length: 2\r\n", value, "\r\nno"));
  };
  EXPECT_EQ(after("").retry_after, absl::ZeroDuration());
  const HttpAnswer number = after("Retry-After: 120\r\n");
  EXPECT_EQ(number.retry_after, absl::Minutes(2));
  EXPECT_EQ(number.status, 429);
  EXPECT_EQ(number.body, "no");
  EXPECT_GT(after("Retry-After: Wed, 01 Jul 2099 12:01:00 GMT\r\n").retry_after, absl::Hours(1));
  EXPECT_LE(after("Retry-After: Wed, 01 Jul 2020 12:01:00 GMT\r\n").retry_after,
            absl::ZeroDuration());
}

// The body does not matter: a receiver that has the events must not get them for ever.
TEST(PushAnswerTest, AnAnswerIsValidOnceItsHeadersAreComplete) {
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  const std::string bodies[] = {
      ok + "Content-Length: 10\r\n\r\nhalf",                   // cut
      ok + "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",  // without a last chunk
      ok + "Content-Length: 10\r\n\r\n",                       // none at all
      ok + "\r\n",                                             // without a length
      "HTTP/1.1 100 Continue\r\n\r\n" + ok + "Content-Length: 10\r\n\r\nhalf",
  };
  for (const std::string& response : bodies) {
    for (const Afterwards afterwards : {Afterwards::kCloses, Afterwards::kHolds}) {
      const HttpAnswer answer = AnswerOf(response, afterwards);
      EXPECT_EQ(answer.status, 200) << response;
      EXPECT_EQ(answer.fault, "") << response;
    }
  }
  EXPECT_EQ(AnswerOf("HTTP/1.1 503 Busy\r\nContent-Length: 10\r\n\r\nno").status, 503);
  for (const char* response :
       {"HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 100 Continue\r\n\r\n", ""}) {
    const HttpAnswer answer = AnswerOf(response);
    EXPECT_EQ(answer.status, 0) << response;
    EXPECT_NE(answer.fault, "") << response;
  }
}

TEST(PushAnswerTest, APortOnWhichNobodyListensIsNamed) {
  uint16_t port = 0;
  const UniqueFd held = e2e::HoldOnLoopback(&port);
  setenv("no_proxy", "*", 1);  // whatever proxy the environment of the tests has
  for (const auto& [scheme, and_proxy] :
       {std::pair("http", ""), std::pair("https", ", or at the proxy if $https_proxy names one")}) {
    const std::string url = absl::StrCat(scheme, "://127.0.0.1:", port, "/secret");
    const auto post = MakeHttpPost(url, {}, absl::Seconds(30), {});
    EXPECT_EQ(ReasonOf((*post)("the body", {})),
              absl::StrCat("nobody listens at 127.0.0.1:", port, and_proxy));
  }
}

std::string UrlComplaint(const std::string& url) {
  const auto target = ParsePushTarget(AllSinks(), url, false);
  EXPECT_FALSE(target.ok()) << url;
  return std::string(target.status().message());
}

TEST(PushTargetTest, TheShownTargetHidesThePathOfTheUrl) {
  const auto target =
      ParsePushTarget(AllSinks(), "https://hooks.example:8443/T0/secret?x=y", false);
  ASSERT_TRUE(target.ok());
  EXPECT_EQ(target->urls.front(), "https://hooks.example:8443/T0/secret?x=y");
  EXPECT_EQ(target->shown, "https://hooks.example:8443");
  EXPECT_THAT(target->key, testing::MatchesRegex("hooks[.]example-[0-9a-f]{16}"));
  EXPECT_NE(target->key, ParsePushTarget(AllSinks(), "https://hooks.example/other", false)->key);
}

TEST(PushTargetTest, PlainHttpIsPermittedForLoopbackOnly) {
  for (const char* url : {"http://127.0.0.1:80/x", "http://localhost/", "http://[::1]:9093"}) {
    EXPECT_TRUE(ParsePushTarget(AllSinks(), url, false).ok()) << url;
  }
  for (const char* url : {"http://10.0.0.1/", "http://localhost.example/", "http://[::2]/"}) {
    EXPECT_THAT(UrlComplaint(url), HasSubstr("--insecure-http"));
    EXPECT_TRUE(ParsePushTarget(AllSinks(), url, true).ok()) << url;
  }
}

TEST(PushTargetTest, ATextThatIsNoUrlIsRefused) {
  for (const char* url :
       {"", "hooks.example/x", "https://", "https://a b/", "https://a/\n", "ftp://x/", "x://y/"}) {
    EXPECT_THAT(UrlComplaint(url), HasSubstr("write https://HOST/PATH")) << url;
  }
  EXPECT_EQ(UrlComplaint("hunter2"),
            "URL: it does not begin with https://, http://, tls:// or nats://; write "
            "https://HOST/PATH or nats://HOST");
  EXPECT_THAT(UrlComplaint("https://me:hunter2@x/"), HasSubstr("--header-file"));
  EXPECT_THAT(UrlComplaint("https://me:hunter2@x/"), Not(HasSubstr("hunter2")));
  EXPECT_THAT(UrlComplaint("https://x/#y"), HasSubstr("never sent"));
}

}  // namespace
}  // namespace vmeventd::client
