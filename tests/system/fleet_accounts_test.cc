// Who may publish what, with the accounts and credentials of a real NATS server.

#include <algorithm>
#include <climits>
#include <csignal>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "client/fleet/create_fleet.h"
#include "client/fleet/fleet_buckets.h"
#include "client/fleet/fleet_subjects.h"
#include "client/nats/connection.h"
#include "client/nats/domain.h"
#include "client/nats/jetstream.h"
#include "client/nats/message.h"
#include "client/nats/options.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tests/support/fail.h"
#include "tests/support/nats_operator.h"
#include "tests/support/nats_server.h"
#include "tests/support/wait.h"
#include "tests/system/chatty_vm.h"
#include "tests/system/fleet_security.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::e2e {
namespace {

using client::ApiSubject;
using client::BucketStream;
using client::EscapeToken;
using client::KeySubject;
using client::kFleetStream;
using client::kNodesBucket;
using client::kVmsBucket;
using client::NatsConnection;
using client::NatsMessage;
using client::NodeBucketKey;
using client::NodeSubjectPrefix;
using client::ReadLastMessage;
using client::ReadStreamState;
using client::VmBucketKey;

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string ThisNode() {
  char name[HOST_NAME_MAX + 1] = {};
  gethostname(name, HOST_NAME_MAX);
  return name;
}

// The texts in quotation marks between these two.
std::vector<std::string> QuotedBetween(absl::string_view text, absl::string_view begin,
                                       absl::string_view end) {
  text.remove_prefix(std::min(text.find(begin), text.size()));
  const std::vector<absl::string_view> parts = absl::StrSplit(text.substr(0, text.find(end)), '"');
  std::vector<std::string> quoted;
  for (size_t i = 1; i < parts.size(); i += 2) quoted.emplace_back(parts[i]);
  return quoted;
}

// The permissions that docs/many-nodes.md has below a heading.
NatsPermissions DocumentedBehind(const std::string& heading) {
  const std::string page = ReadFile(absl::StrCat(VMEVENTD_SOURCE_DIR, "/docs/many-nodes.md"));
  const size_t at = page.find(absl::StrCat("\n", heading, "\n"));
  if (at == page.npos) Fail("docs/many-nodes.md has no " + heading);
  const std::string text = page.substr(page.find("permissions: {", at));
  return {QuotedBetween(text, "publish:", "]"), QuotedBetween(text, "subscribe:", "]")};
}

NatsPermissions PermissionsOf(const std::string& node) {
  NatsPermissions permissions = DocumentedBehind("## Permissions");
  for (auto* const subjects : {&permissions.publish, &permissions.subscribe}) {
    for (std::string& subject : *subjects) {
      subject = absl::StrReplaceAll(subject, {{"prod.node7", NodeBucketKey("test", node)}});
    }
  }
  return permissions;
}

NatsPermissions ReaderPermissions() { return DocumentedBehind("### Readers"); }

class FleetAccountTest : public FleetSecurityTest {
 protected:
  FleetAccountTest() {
    const CommandResult made = AskAs(admin_, {"fleet", "create"});
    if (made.exit_code != 0) Fail(made.error);
  }

  NatsServer& nats() { return nats_; }
  // The path of the credentials of a new user.
  std::string MakeUser(const std::string& name, const NatsPermissions& permissions) {
    return Write(name + ".creds", operator_.MakeCredentials(name, permissions));
  }
  // Starts a node with its permissions; the path of its credentials.
  std::string StartNode() {
    std::string credentials = MakeUser("node", PermissionsOf(ThisNode()));
    StartPublishing(nats().url(), {"--push-credentials", credentials});
    return credentials;
  }
  void WaitForEvents(uint64_t count) {
    WaitUntil("the stream has the events", [&] { return CountMessages(kFleetStream) == count; });
  }
  std::unique_ptr<NatsConnection> ConnectAs(const std::string& credentials) {
    return Connect({.servers = {nats_.url()}, .name = "a test", .credentials = credentials});
  }
  // Connects as the node of this name, with its permissions and its own inbox.
  std::unique_ptr<NatsConnection> ConnectNode(const std::string& node) {
    return Connect({.servers = {nats_.url()},
                    .name = "a test",
                    .credentials = MakeUser(node, PermissionsOf(node)),
                    .inbox_prefix = "_INBOX.vmeventd." + NodeBucketKey("test", node)});
  }
  // The server's acknowledgement of a message with headers.
  std::string Publish(NatsConnection* connection, const std::string& subject,
                      const std::vector<std::pair<std::string, std::string>>& headers,
                      const std::string& data = "x") {
    const std::string inbox = connection->NewInbox();
    const auto answers = connection->Subscribe(inbox);
    EXPECT_TRUE(
        connection->Publish({.subject = subject, .reply = inbox, .data = data, .headers = headers})
            .ok());
    const auto answer = (*answers)->Next(Patience());
    return answer.ok() && answer->has_value() ? (*answer)->data : "no answer";
  }
  // The last message of a subject; nullopt: there is none.
  std::optional<NatsMessage> LastOf(const std::string& stream, const std::string& subject) {
    auto stored = ReadLastMessage(ConnectAs(admin_).get(), stream, subject);
    if (!stored.ok()) return std::nullopt;
    return std::move(stored->message);
  }
  std::vector<uint64_t> PublishedSequences() {
    const CommandResult events = AskAs(admin_, {"events", "--node", ThisNode()});
    std::vector<uint64_t> sequences;
    for (const absl::string_view line : absl::StrSplit(events.output, '\n', absl::SkipEmpty())) {
      sequences.push_back(
          std::stoull(nlohmann::json::parse(std::string(line))["sequence"].get<std::string>()));
    }
    return sequences;
  }
  static std::vector<uint64_t> UpTo(uint64_t last) {
    std::vector<uint64_t> sequences(last);
    std::iota(sequences.begin(), sequences.end(), 1);
    return sequences;
  }
  // Expects that the server answers nothing to a message of this user, and says why.
  void ExpectRefused(const std::string& credentials, const std::string& subject) {
    WaitUntil(subject + " is refused", [&] {
      const auto answer = ConnectAs(credentials)
                              ->Request({.subject = subject, .data = "x"}, absl::Milliseconds(200));
      EXPECT_FALSE(answer.ok()) << subject;
      return absl::StrContains(answer.status().message(), "Permissions Violation");
    });
  }
  // NATS's own tools create buckets like this.
  void PermitRollups() {
    const std::unique_ptr<NatsConnection> connection = ConnectAs(admin_);
    for (const std::string& stream :
         {std::string(kFleetStream), BucketStream(kVmsBucket), BucketStream(kNodesBucket)}) {
      auto request = nlohmann::json::parse(client::CreateRequest(stream));
      request["allow_rollup_hdrs"] = true;
      request["deny_purge"] = false;
      ASSERT_TRUE(connection->Request({.subject = ApiSubject("STREAM.DELETE", stream)}).ok());
      ASSERT_TRUE(
          connection
              ->Request({.subject = ApiSubject("STREAM.CREATE", stream), .data = request.dump()})
              .ok());
      EXPECT_THAT(ReadStreamState(connection.get(), stream)->unsafe, HasSubstr("rollup"));
    }
  }
  const std::string& admin() const { return admin_; }
  // What vmevents answers with these credentials.
  CommandResult AskAs(const std::string& credentials, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--credentials", credentials});
    return Vmevents(nats().url(), std::move(arguments));
  }
  uint64_t CountMessages(absl::string_view stream) {
    return ReadStreamState(ConnectAs(admin_).get(), stream)->last;
  }

 private:
  const NatsOperator operator_;
  NatsServer nats_{dir() / "nats", operator_.Configuration()};
  const std::string admin_ = MakeUser("admin", {});
};

TEST_F(FleetAccountTest, ANodePublishesWithItsCredentialsAndDoesNotLogThem) {
  const std::string credentials = StartNode();
  ChattyVm vm(watch_dir(), "vm1");
  vm.Send(10);
  WaitForEvents(11);
  WaitUntil("the buckets have their values", [&] {
    return CountMessages(BucketStream(kVmsBucket)) > 0 &&
           CountMessages(BucketStream(kNodesBucket)) > 0;
  });
  EXPECT_EQ(push().End(SIGTERM), 0);
  for (const absl::string_view line : absl::StrSplit(ReadFile(credentials), '\n')) {
    if (line.empty() || absl::StrContains(line, "---")) continue;
    EXPECT_THAT(push().log(), Not(HasSubstr(std::string(line))));
  }
}

// The library signs some challenges wrongly.
TEST_F(FleetAccountTest, EveryConnectionWithCredentialsSucceeds) {
  const std::string credentials = MakeUser("node", {});
  constexpr int kConnections = 300;
  for (int i = 0; i < kConnections; ++i) ASSERT_NE(ConnectAs(credentials), nullptr);
}

TEST_F(FleetAccountTest, TheStreamsOfAFleetAreMadeByACommand) {
  EXPECT_EQ(AskAs(admin(), {"fleet", "create", "--replicas", "1"}).output,
            "VMEVENTS: exists already\nKV_VMEVENTS_VMS: exists already\nKV_VMEVENTS_NODES: exists "
            "already\n");
  PermitRollups();
  EXPECT_THAT(AskAs(admin(), {"fleet", "create"}).output,
              AllOf(HasSubstr("\nKV_VMEVENTS_VMS: made safe: allow_rollup_hdrs is on"),
                    HasSubstr("VMEVENTS: made safe: allow_rollup_hdrs is on")));
  const std::unique_ptr<NatsConnection> connection = ConnectAs(admin());
  for (const std::string& stream : {std::string(kFleetStream), BucketStream(kVmsBucket)}) {
    EXPECT_EQ(ReadStreamState(connection.get(), stream)->unsafe, "");
  }
  const CommandResult node =
      AskAs(MakeUser("b", PermissionsOf("b")), {"fleet", "create", "--replicas", "1"});
  EXPECT_NE(node.exit_code, 0);
  const CommandResult three = AskAs(admin(), {"fleet", "create", "--replicas", "3"});
  EXPECT_EQ(three.exit_code, 1) << "one server has one copy";
  EXPECT_THAT(three.error, HasSubstr("VMEVENTS has 1 replica, and its server is in no cluster"));
}

TEST_F(FleetAccountTest, AnUnsafeStreamIsLogged) {
  PermitRollups();
  StartNode();
  push().WaitLog("the stream VMEVENTS is unsafe: allow_rollup_hdrs is on, deny_purge is off");
}

TEST_F(FleetAccountTest, ANodeCannotPublishUnderAnotherNodesName) {
  const std::string credentials = MakeUser("b", PermissionsOf("b"));
  const std::unique_ptr<NatsConnection> b = ConnectNode("b");
  EXPECT_TRUE(b->Request({.subject = "vmevents.v1.test.b.vm.started", .data = "x"}).ok());
  EXPECT_TRUE(b->Request({.subject = "$KV.VMEVENTS_VMS.test.b.vm", .data = "x"}).ok());
  EXPECT_TRUE(b->Request({.subject = "$KV.VMEVENTS_NODES.test.b", .data = "x"}).ok());
  for (const char* const subject :
       {"vmevents.v1.test.a.vm.started", "vmevents.v1.other.b.vm.started",
        "$KV.VMEVENTS_VMS.test.a.vm", "$KV.VMEVENTS_NODES.test.a", "$JS.API.STREAM.DELETE.VMEVENTS",
        "$JS.API.STREAM.PURGE.KV_VMEVENTS_VMS", "$JS.API.STREAM.UPDATE.VMEVENTS",
        "$JS.API.STREAM.MSG.DELETE.VMEVENTS"}) {
    ExpectRefused(credentials, subject);
  }
  EXPECT_EQ(CountMessages(kFleetStream), 1u);
  EXPECT_EQ(CountMessages(BucketStream(kVmsBucket)), 1u);
  EXPECT_EQ(CountMessages(BucketStream(kNodesBucket)), 1u);
}

// A rollup deletes what is stored before it: all of the stream, if it says so.
TEST_F(FleetAccountTest, ANodeCannotWipeTheKeysOfOthers) {
  const std::unique_ptr<NatsConnection> a = ConnectNode("a");
  const std::unique_ptr<NatsConnection> b = ConnectNode("b");
  for (const auto& [stream, subject] :
       {std::pair("VMEVENTS", "vmevents.v1.test.%.vm.started"),
        std::pair("KV_VMEVENTS_VMS", "$KV.VMEVENTS_VMS.test.%.vm"),
        std::pair("KV_VMEVENTS_NODES", "$KV.VMEVENTS_NODES.test.%")}) {
    const std::string of_a = absl::StrReplaceAll(subject, {{"%", "a"}});
    const std::string of_b = absl::StrReplaceAll(subject, {{"%", "b"}});
    EXPECT_THAT(Publish(a.get(), of_a, {}), HasSubstr("\"seq\":"));
    for (const char* const what : {"all", "sub"}) {
      EXPECT_THAT(Publish(b.get(), of_b, {{"Nats-Rollup", what}}), HasSubstr("rollup"));
    }
    EXPECT_TRUE(LastOf(stream, of_a).has_value()) << stream;
  }
}

// The stream drops a message whose Nats-Msg-Id it has seen, no matter who sent it: events have
// none. A reader takes what another node says of this one's journal for that other node's.
TEST_F(FleetAccountTest, ANodeCannotSuppressTheEventsOfAnother) {
  StartNode();
  ChattyVm vm(watch_dir(), "vm1");
  vm.Send(1);
  WaitForEvents(2);
  const std::string journal_id = daemon().GetServerInfo().journal_id();
  const auto own = LastOf(std::string(kFleetStream), NodeSubjectPrefix("test", ThisNode()) + ">");
  ASSERT_TRUE(own.has_value());
  EXPECT_EQ(own->header("Nats-Msg-Id"), "");
  const std::unique_ptr<NatsConnection> b = ConnectNode("b");
  v1::Event event;
  event.set_type(v1::EVENT_TYPE_RESET);
  for (uint64_t sequence = 3; sequence <= 10; ++sequence) {
    event.set_sequence(sequence);
    EXPECT_THAT(Publish(b.get(), "vmevents.v1.test.b.vm.reset",
                        {{"Nats-Msg-Id", absl::StrCat(journal_id, ":", sequence)},
                         {"ce-source", "/vmevents/test/b/" + journal_id},
                         {"ce-id", absl::StrCat(sequence)},
                         {"ce-type", "vmevents.v1.reset"}},
                        event.SerializeAsString()),
                HasSubstr("\"seq\":"));
  }
  vm.Send(8);
  WaitUntil("its events are in the stream", [&] { return CountMessages(kFleetStream) >= 18; });
  EXPECT_EQ(PublishedSequences(), UpTo(10));
}

// The server writes its acknowledgement to the subject that the publisher chose.
TEST_F(FleetAccountTest, AnAcknowledgementThatOverwritesAnotherNodesStateIsRepaired) {
  StartNode();
  auto vm = std::make_unique<ChattyVm>(watch_dir(), "vm1");
  vm->Send(2);
  const std::string key = KeySubject(kVmsBucket, VmBucketKey("test", ThisNode(), "vm1"));
  const auto state_of = [&] {
    const auto value = LastOf("KV_VMEVENTS_VMS", key);
    v1::Vm state;
    return value.has_value() && state.ParseFromString(value->data) ? state.last_sequence() : 0;
  };
  WaitUntil("the bucket has the state", [&] { return state_of() == 3; });
  const std::unique_ptr<NatsConnection> b = ConnectNode("b");
  const std::string events = NodeSubjectPrefix("test", ThisNode());
  for (const std::string& reply : {key, events + "vm1.stopped.crash"}) {
    for (const char* const subject :
         {"vmevents.v1.test.b.vm.reset", "$JS.API.STREAM.INFO.VMEVENTS"}) {
      ASSERT_TRUE(b->Publish({.subject = subject, .reply = reply, .data = ""}).ok());
    }
  }
  ASSERT_TRUE(b->Request({.subject = "$JS.API.STREAM.INFO.VMEVENTS"}).ok())
      << "the server has read it";
  WaitUntil("the server has overwritten it", [&] { return state_of() != 3; });
  // The first of the two is the server's; the daemon's own last message is before it.
  WaitUntil("the stream has messages of the server", [&] {
    const auto last = LastOf(std::string(kFleetStream), events + ">");
    return last.has_value() && last->headers.empty();
  });
  // A new connection writes all states; without one that takes up to 10 minutes.
  push().End(SIGKILL);
  push().Start();
  WaitUntil("the bucket has the state again", [&] { return state_of() == 3; });
  vm->Send(1);
  WaitUntil("the bucket has the new state", [&] { return state_of() == 4; });
  EXPECT_EQ(PublishedSequences(), UpTo(4));
  EXPECT_THAT(AskAs(admin(), {"vms"}).output, HasSubstr(R"("last_sequence":"4")"));
}

// A server of NATS 2.9 takes its answer for a request, where that is what the publisher wants: the
// answer to a repetition names the message of another node.
TEST_F(FleetAccountTest, ANodeCannotMakeTheServerDeleteMessages) {
  const std::unique_ptr<NatsConnection> a = ConnectNode("a");
  const std::unique_ptr<NatsConnection> b = ConnectNode("b");
  const auto publish = [](NatsConnection* from, const std::string& subject, const char* id,
                          const std::string& reply) {
    const std::vector<std::pair<std::string, std::string>> headers = {{"Nats-Msg-Id", id}};
    ASSERT_TRUE(
        from->Publish({.subject = subject, .reply = reply, .data = "x", .headers = headers}).ok());
  };
  for (const auto& [stream, subject] :
       {std::pair("VMEVENTS", "vmevents.v1.test.%.vm.started"),
        std::pair("KV_VMEVENTS_VMS", "$KV.VMEVENTS_VMS.test.%.vm"),
        std::pair("KV_VMEVENTS_NODES", "$KV.VMEVENTS_NODES.test.%")}) {
    const std::string of_a = absl::StrReplaceAll(subject, {{"%", "a"}});
    const std::string of_b = absl::StrReplaceAll(subject, {{"%", "b"}});
    EXPECT_THAT(Publish(a.get(), of_a, {{"Nats-Msg-Id", "id"}}), HasSubstr("\"seq\":1"));
    for (const char* const api : {"MSG.DELETE", "PURGE", "DELETE"}) {
      const std::string reply = absl::StrCat("$JS.API.STREAM.", api, ".", stream);
      publish(b.get(), of_b, "id", reply);
      publish(b.get(), of_b, api, reply);
    }
    EXPECT_THAT(Publish(b.get(), of_b, {}), HasSubstr("\"seq\":"));
    EXPECT_EQ(AskAs(admin(), {"fleet", "create"}).exit_code, 0)
        << "what the API did before is done";
    EXPECT_TRUE(LastOf(stream, of_a).has_value()) << stream;
  }
}

TEST_F(FleetAccountTest, ANodeCannotReadResponsesToAnotherNode) {
  for (const char* const subject :
       {"_INBOX.>", "_INBOX.vmeventd.>", "_INBOX.vmeventd.test.a.>", "_INBOX.vmevents.>", ">"}) {
    const std::unique_ptr<NatsConnection> one = ConnectNode("b");
    const auto subscription = one->Subscribe(subject);
    ASSERT_TRUE(one->Request({.subject = "$JS.API.STREAM.INFO.VMEVENTS"}).ok());
    WaitUntil("the server refuses it",
              [&] { return absl::StrContains(one->complaint(), "Permissions Violation"); });
  }
}

TEST_F(FleetAccountTest, APushWithAnotherNodesCredentialsPublishesNothingAndLogsTheRefusal) {
  const std::string credentials = MakeUser("b", PermissionsOf("b"));
  StartPublishing(nats().url(), {"--push-credentials", credentials});
  ChattyVm vm(watch_dir(), "vm1");
  vm.Send(1);
  push().WaitLog("Permissions Violation");
  EXPECT_EQ(CountMessages(kFleetStream), 0u);
  EXPECT_EQ(CountMessages(BucketStream(kVmsBucket)), 0u);
  EXPECT_EQ(CountMessages(BucketStream(kNodesBucket)), 0u);
}

TEST_F(FleetAccountTest, AReaderCanReadEverythingAndWriteNothing) {
  StartNode();
  ChattyVm vm(watch_dir(), "vm1");
  vm.Send(3);
  WaitForEvents(4);
  WaitUntil("the bucket has the state after them", [&] {
    return absl::StrContains(AskAs(admin(), {"vms"}).output, R"("last_sequence":"4")");
  });
  const std::string reader = MakeUser("reader", ReaderPermissions());
  for (const std::vector<std::string>& command : std::vector<std::vector<std::string>>{
           {"events"},
           {"events", "--type", "started", "-n", "1"},
           {"watch", "--from", "oldest", "--type", "started,stopped", "--count", "1"},
           {"vms"},
           {"vm", "vm1"},
           {"fleet"}}) {
    const CommandResult of_reader = AskAs(reader, command);
    EXPECT_EQ(of_reader.exit_code, 0) << of_reader.error;
    EXPECT_THAT(of_reader.output, HasSubstr("\"node\":\"" + ThisNode()))
        << absl::StrJoin(command, " ");
  }
  for (const char* const subject :
       {"vmevents.v1.test.a.vm.started", "$KV.VMEVENTS_VMS.test.a.vm", "$KV.VMEVENTS_NODES.test.a",
        "$JS.API.STREAM.DELETE.VMEVENTS", "$JS.API.STREAM.PURGE.VMEVENTS"}) {
    ExpectRefused(reader, subject);
  }
}

TEST_F(FleetAccountTest, TheExampleWorksWithTheDocumentedPermissionsAndTrustsSubjectsOnly) {
  StartNode();
  ChattyVm vm(watch_dir(), "vm1");
  vm.Send(2);
  WaitForEvents(3);
  const std::unique_ptr<NatsConnection> b = ConnectNode("b");
  EXPECT_THAT(Publish(b.get(), "vmevents.v1.test.b.vm1.stopped.crash",
                      {{"ce-source", "/vmevents/test/" + EscapeToken(ThisNode()) + "/j"},
                       {"ce-id", "4"},
                       {"ce-time", "2026-07-01T12:00:00Z"},
                       {"ce-type", "vmevents.v1.stopped.crash"}}),
              HasSubstr("\"seq\":4"));
  vm.Send(1);
  ChildOptions child;
  child.arguments = {
      "/usr/bin/python3", absl::StrCat(VMEVENTD_SOURCE_DIR, "/examples/fleet/follow_fleet.py"),
      "--server",         absl::StrCat("127.0.0.1:", nats().port()),
      "--record",         dir() / "record.db",
      "--durable",        "tickets",
      "--credentials",    MakeUser("tickets", DocumentedBehind("### A consumer")),
      "--count",          "4"};
  const CommandResult followed = RunCommand(child);
  EXPECT_EQ(followed.exit_code, 0) << followed.error;
  const std::vector<std::string> lines = absl::StrSplit(followed.output, '\n', absl::SkipEmpty());
  EXPECT_EQ(lines.size(), 4u) << followed.output;
  EXPECT_THAT(followed.output, Not(HasSubstr("crash")));
  EXPECT_THAT(followed.error, HasSubstr("vmevents.v1.test.b.vm1.stopped.crash is no event"));
}

TEST_F(FleetAccountTest, TheErrorOfAReaderNamesMissingCredentialsOrPermissions) {
  const CommandResult without = Vmevents(nats().url(), {"events"});
  EXPECT_EQ(without.exit_code, 4);
  EXPECT_THAT(without.error, HasSubstr("Authorization Violation"));
  EXPECT_THAT(without.error, Not(HasSubstr(".c:"))) << "no line of the library's source";
  const CommandResult missing = AskAs(dir() / "missing.creds", {"events"});
  EXPECT_NE(missing.exit_code, 0);
  EXPECT_THAT(missing.error, HasSubstr("missing.creds"));
  const CommandResult node = AskAs(MakeUser("b", PermissionsOf("b")), {"events"});
  EXPECT_NE(node.exit_code, 0);
  EXPECT_THAT(node.error, HasSubstr("Permissions Violation"));
}

}  // namespace
}  // namespace vmeventd::e2e
