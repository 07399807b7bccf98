// The account for nodes that may be hostile, with a real NATS server.

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/fleet/create_fleet.h"
#include "client/fleet/fleet_buckets.h"
#include "client/fleet/fleet_subjects.h"
#include "client/nats/connection.h"
#include "client/nats/domain.h"
#include "client/nats/jetstream.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tests/support/nats_server.h"
#include "tests/support/wait.h"
#include "tests/system/chatty_vm.h"
#include "tests/system/fleet_security.h"

namespace vmeventd::e2e {
namespace {

using client::ApiSubject;
using client::BucketStream;
using client::kFleetStream;
using client::kNodesBucket;
using client::kVmsBucket;
using client::NatsConnection;
using client::ReadLastMessage;
using client::ReadStreamState;
using client::StreamState;

using testing::UnorderedElementsAre;

// The servers' configuration that the page has for nodes that may be hostile, with two such nodes.
// A client that does not log in is the node node7.
std::string AccountForTheNodes() {
  const std::string page = ReadFile(absl::StrCat(VMEVENTD_SOURCE_DIR, "/docs/many-nodes.md"));
  const size_t begin = page.find("accounts: {", page.find("\n### An account for the nodes\n"));
  std::string text = absl::StrReplaceAll(page.substr(begin, page.find("\n```", begin) - begin),
                                         {{"\"CN=admin\"", "admin, password: p"},
                                          {"\"CN=reader\"", "reader, password: p"},
                                          {"\"CN=node7\"", "node7, password: p"}});
  const size_t user = text.find("{ user: node7");
  const std::string node7 = text.substr(user, text.find("\n    ]", user) - user);
  text.insert(user, absl::StrReplaceAll(node7, {{"node7", "node8"}}) + "\n");
  return text + "\nno_auth_user: node7\n";
}

class FleetOfTwoAccountsTest : public FleetSecurityTest {
 protected:
  std::unique_ptr<NatsConnection> ConnectAs(const std::string& user, const std::string& domain) {
    return Connect({.servers = {absl::StrCat("nats://", user, ":p@127.0.0.1:", nats_.port())},
                    .name = "a test",
                    .domain = domain,
                    .inbox_prefix = domain.empty() ? "_INBOX" : "_INBOX.vmeventd.prod." + user});
  }
  StreamState StateOf(absl::string_view stream) { return *ReadStreamState(admin_.get(), stream); }
  bool IsEmpty(absl::string_view stream) {
    const StreamState state = StateOf(stream);
    return state.first > state.last;
  }
  std::vector<std::string> SubjectsOf(absl::string_view stream) {
    const auto answer = admin_->Request(
        {.subject = ApiSubject("STREAM.INFO", stream), .data = R"({"subjects_filter": ">"})"});
    std::vector<std::string> subjects;
    const auto state = nlohmann::json::parse(*answer)["state"];
    for (const auto& [subject, count] : state["subjects"].items()) subjects.push_back(subject);
    return subjects;
  }

  NatsServer nats_{dir() / "nats", AccountForTheNodes()};
  const std::unique_ptr<NatsConnection> admin_ = ConnectAs("admin", "");
};

TEST_F(FleetOfTwoAccountsTest, ANodeCannotMakeTheServerPublishUnderAnotherNodesName) {
  const std::string events(kFleetStream);
  const std::string vms = BucketStream(kVmsBucket);
  const std::string nodes = BucketStream(kNodesBucket);
  for (const std::string& stream : {events, vms, nodes}) {
    ASSERT_TRUE(admin_
                    ->Request({.subject = ApiSubject("STREAM.CREATE", stream),
                               .data = client::CreateRequest(stream)})
                    .ok());
  }
  StartPublishing(nats_.url(), {"--push-domain", "fleet"}, "prod", {"--node", "node7"});
  ChattyVm vm(watch_dir(), "vm1");
  vm.Send(2);
  WaitUntil("the stream has the events", [&] { return StateOf(events).last == 3; });
  WaitUntil("the buckets have their values", [&] { return !IsEmpty(vms) && !IsEmpty(nodes); });
  const std::unique_ptr<NatsConnection> node8 = ConnectAs("node8", "fleet");
  const std::string own_event = "vmevents.v1.prod.node8.vm.reset";
  const std::string own_key = "$KV.VMEVENTS_VMS.prod.node8.vm";
  for (const char* const prefix : {"", "$JS.fleet.API.", "$JS.API."}) {
    for (const char* const reply :
         {"$KV.VMEVENTS_VMS.prod.node7.vm1", "$KV.VMEVENTS_NODES.prod.node7",
          "$KV.VMEVENTS_NODES.prod.nobody", "vmevents.v1.prod.node7.vm1.stopped.crash",
          "STREAM.PURGE.VMEVENTS"}) {
      const std::string to = absl::StrCat(prefix, reply);
      for (const std::string& subject :
           {own_event, own_key, std::string("$JS.API.STREAM.INFO.VMEVENTS")}) {
        ASSERT_TRUE(node8->Publish({.subject = subject, .reply = to, .data = ""}).ok());
      }
    }
  }
  // The server answers its requests in order.
  for (const std::string& subject :
       {std::string("$JS.API.STREAM.INFO.VMEVENTS"), own_event, own_key}) {
    ASSERT_TRUE(node8->Request({.subject = subject}).ok()) << subject;
  }
  vm.Send(1);
  WaitUntil("the stream has the next event", [&] {
    const auto stored = ReadLastMessage(admin_.get(), events, "vmevents.v1.prod.node7.>");
    return stored.ok() && stored->message.header("ce-id") == "4";
  });
  EXPECT_THAT(SubjectsOf(events),
              UnorderedElementsAre("vmevents.v1.prod.node7.vm1.started",
                                   "vmevents.v1.prod.node7.vm1.powerdown-requested", own_event));
  EXPECT_THAT(SubjectsOf(vms), UnorderedElementsAre("$KV.VMEVENTS_VMS.prod.node7.vm1", own_key));
  EXPECT_THAT(SubjectsOf(nodes), UnorderedElementsAre("$KV.VMEVENTS_NODES.prod.node7"));
  EXPECT_EQ(StateOf(events).last, 3 + 15 + 1 + 1) << "each event of both, and no answer";
}

}  // namespace
}  // namespace vmeventd::e2e
