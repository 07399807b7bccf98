#include <stop_token>
#include <string>
#include <vector>

#include "client/web/api.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/fake_server.h"
#include "tests/support/server_messages.h"

namespace vmeventd::client {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::Pair;

TEST(EventIdTest, HasThePositionOfEachServer) {
  const StreamPositions positions = {{0, {42, "j0"}}, {2, {7, "j2"}}};
  const std::string id = ToEventId(positions);
  EXPECT_EQ(id, "j0:42,,j2:7");
  const auto parsed = ParseEventId(id, 3);
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(*parsed, positions);
  EXPECT_THAT(*ParseEventId("j:1", 1),
              ElementsAre(Pair(0, AllOf(Field(&WatchPosition::sequence, 1),
                                        Field(&WatchPosition::journal_id, "j")))));
}

TEST(EventIdTest, RefusesMalformedIds) {
  for (const char* id : {"x", "j:", ":1", "j:-1", "j:1:x", "j:1,j:2"}) {
    EXPECT_FALSE(ParseEventId(id, 1).ok()) << id;
  }
}

class WebApiTest : public testing::Test {
 protected:
  WebApiTest() {
    server_.Start();
    line_.servers.addresses = {server_.address()};
    line_.zone = absl::UTCTimeZone();
    server_.service().list_vms = [](const v1::ListVmsRequest&, v1::ListVmsResponse*) {
      return grpc::Status::OK;
    };
    // The filter of the request passes a GAP of the whole node.
    server_.service().list_events = [](const v1::ListEventsRequest& request,
                                       v1::ListEventsResponse* response) {
      if (!request.filter().vm_names().empty()) return grpc::Status::OK;
      for (uint64_t sequence = 4; sequence > 0; --sequence) {
        v1::Event* const event = response->add_events();
        *event = MakeEvent(sequence);
        if (sequence == 3) event->set_type(v1::EVENT_TYPE_GAP);
        if (sequence == 3) event->clear_vm();
      }
      return grpc::Status::OK;
    };
  }
  // Another node, which is away.
  void AddNode() {
    line_.servers.addresses.emplace_back();
    line_.servers.addresses.back().path = "/nowhere/vmeventd.sock";
  }
  WebAnswer Get(const std::string& path, const WebQuery& query = {}) {
    return WebApi(line_, stop_.get_token()).Answer(path, query, "");
  }

  FakeServer server_;
  CommandLine line_;
  std::stop_source stop_;
};

TEST_F(WebApiTest, AListOfEventsHasTheSameObjectsAsTheCommand) {
  const auto sequences = [this](const WebQuery& query) {
    const auto body = nlohmann::json::parse(Get("/api/v1/events", query).body);
    std::vector<std::string> list;
    for (const auto& event : body["events"]) list.push_back(event["sequence"]);
    return list;
  };
  EXPECT_THAT(sequences({{"class", "CRASH"}, {"last", "3"}}), ElementsAre("1", "2", "4"));
  EXPECT_THAT(sequences({{"last", "3"}}), ElementsAre("2", "3", "4"));
  EXPECT_THAT(sequences({{"type", "gap"}, {"last", "4"}}), ElementsAre("1", "2", "3", "4"));
}

TEST_F(WebApiTest, AVmThatNoReachableNodeKnowsIsNotFoundAndUnreachableNodesAreNamed) {
  EXPECT_EQ(Get("/api/v1/vms/nosuch").status, 404);
  AddNode();
  const WebAnswer answer = Get("/api/v1/vms/nosuch");
  EXPECT_EQ(answer.status, 404);
  const auto body = nlohmann::json::parse(answer.body);
  EXPECT_THAT(std::string(body["error"]),
              testing::StartsWith("no such VM is known on the nodes that answer; there is no "
                                  "socket /nowhere/vmeventd.sock"));
  ASSERT_EQ(body["problems"].size(), 1u);
  EXPECT_THAT(std::string(body["problems"][0]),
              testing::StartsWith("there is no socket /nowhere/vmeventd.sock"));
  line_.servers.addresses.erase(line_.servers.addresses.begin());
  EXPECT_EQ(Get("/api/v1/vms/nosuch").status, 503) << "no node answers";
}

TEST_F(WebApiTest, AnErrorNamesTheParameterWithoutDashes) {
  struct Case {
    const char* path;
    WebQuery query;
    const char* error;
  };
  for (const Case& one : std::vector<Case>{
           {"events", {{"last", "x"}}, "last: \"x\" is not a number from 1 to 100000"},
           {"events", {{"last", "3"}, {"limit", "3"}}, "last cannot be combined with limit; "},
           {"events", {{"since", "1h"}, {"until", "2h"}}, "since is not before until, "},
           {"events",
            {{"until", "+5m"}},
            "until: \"+5m\" is relative to since, which is not given"},
           {"events", {{"type", "crash"}}, "type: \"crash\" is not a known type; it is a class"},
           {"events", {{"label", "a="}, {"label", ",b"}}, "label: \",b\" has an empty condition"},
           {"events", {{"newest-first", "up"}}, "newest-first: \"up\" is neither true nor false"},
           {"events/stream", {{"journal", "j"}}, "journal: needs from with a sequence number"},
           {"vms", {{"node", "n1"}}, "node: asks NATS servers; "},
           {"vms",
            {{"since", "1h"}},
            "\"since\" is not a parameter here; the parameters are all, "},
           {"vms", {{"follow", ""}}, "\"follow\" is not a parameter here; "},
           {"nodes",
            {{"pid", "7"}},
            "\"pid\" is not a parameter here; the parameters are node, "}}) {
    const WebAnswer answer = Get(std::string("/api/v1/") + one.path, one.query);
    EXPECT_EQ(answer.status, 400) << one.error;
    EXPECT_THAT(std::string(nlohmann::json::parse(answer.body)["error"]),
                testing::StartsWith(one.error));
  }
}

TEST_F(WebApiTest, ANameInBracketsIsOneName) {
  std::vector<std::string> asked;
  server_.service().list_events = [&](const v1::ListEventsRequest& request,
                                      v1::ListEventsResponse* /*response*/) {
    const auto& names = request.filter().vm_names();
    asked.insert(asked.end(), names.begin(), names.end());
    return grpc::Status::OK;
  };
  EXPECT_EQ(Get("/api/v1/events", {{"vm", "[ab]"}, {"type", "stopped,gap"}}).status, 200);
  EXPECT_THAT(asked, AllOf(testing::Not(testing::IsEmpty()), testing::Each("[ab]")));
}

TEST_F(WebApiTest, AFlagIsSetByItsNameAloneOrByTrue) {
  for (const auto& [value, first] : {std::pair("", "4"), {"true", "4"}, {"false", "1"}}) {
    const WebAnswer answer = Get("/api/v1/events", {{"newest-first", value}, {"class", "crash"}});
    EXPECT_EQ(nlohmann::json::parse(answer.body)["events"][0]["sequence"], first) << value;
  }
}

TEST_F(WebApiTest, RefusesUnknownZones) {
  for (const char* wrong : {"Europe/Berlim", "/etc/localtime", "../zoneinfo/UTC", "Asia"}) {
    for (const char* path : {"/api/v1/vms", "/api/v1/events/stream"}) {
      const WebAnswer answer = Get(path, {{"zone", wrong}});
      EXPECT_EQ(answer.status, 400) << wrong;
      EXPECT_THAT(answer.body, testing::HasSubstr("{\"error\":\"zone: \\\""));
    }
  }
  const WebAnswer answer = Get("/api/v1/vms", {{"zone", "UTC"}});
  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.body, testing::HasSubstr("\"zone\":\"UTC\""));
}

TEST_F(WebApiTest, AZoneWithoutANameIsAnOffset) {
  line_.zone = absl::FixedTimeZone(9 * 3600);
  for (const char* path : {"/api/v1/vms", "/api/v1/events"}) {
    EXPECT_THAT(Get(path).body, testing::HasSubstr("\"zone\":\"+09:00\"")) << path;
  }
}

}  // namespace
}  // namespace vmeventd::client
