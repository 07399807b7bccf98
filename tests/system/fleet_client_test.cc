// vmevents and the example in Python read what nodes publish into a real NATS server.

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <filesystem>
#include <map>
#include <memory>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tests/support/loopback.h"
#include "tests/support/nats_server.h"
#include "tests/support/wait.h"
#include "tests/system/chatty_vm.h"
#include "tests/system/fleet_push.h"
#include "tests/system/journal_test_base.h"
#include "tests/system/vmevents_command.h"

namespace vmeventd::e2e {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::vector<json> Lines(const std::string& text) {
  std::vector<json> objects;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    objects.push_back(json::parse(std::string(line)));
  }
  return objects;
}

// The example in Python, which reads the stream of a server on this port.
ChildOptions FollowFleet(uint16_t port, const std::string& record, const std::string& count,
                         const std::vector<std::string>& more = {}) {
  ChildOptions child;
  child.arguments = {
      "/usr/bin/python3", absl::StrCat(VMEVENTD_SOURCE_DIR, "/examples/fleet/follow_fleet.py"),
      "--server",         absl::StrCat("127.0.0.1:", port),
      "--record",         record,
      "--count",          count};
  child.arguments.insert(child.arguments.end(), more.begin(), more.end());
  return child;
}

// Sends messages whose headers are these bytes, under one subject.
void PublishRaw(uint16_t port, const std::string& subject,
                const std::vector<std::pair<std::string, std::string>>& messages) {
  const UniqueFd fd = ConnectToLoopback(port);
  std::string text = "CONNECT {\"verbose\":false,\"headers\":true}\r\n";
  for (const auto& [headers, payload] : messages) {
    absl::StrAppend(&text, "HPUB ", subject, " ", headers.size(), " ",
                    headers.size() + payload.size(), "\r\n", headers, payload, "\r\n");
  }
  text += "PING\r\n";
  ASSERT_EQ(send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(text.size()));
  std::string answer;
  std::array<char, 4096> buffer{};
  while (!absl::StrContains(answer, "PONG")) {
    const ssize_t size = read(fd.get(), buffer.data(), buffer.size());
    ASSERT_GT(size, 0) << answer;
    answer.append(buffer.data(), static_cast<size_t>(size));
  }
}

// Two nodes, n1 and n2, each with a daemon that has a host name of its own.
class FleetClientTest : public JournalTestBase {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "gives daemons a host name, which takes root";
    nats().CreateFleet();
    for (const char* const node : {"n1", "n2"}) StartNode(node);
  }

  // `name`: of the host; empty: as the node.
  void StartNode(const std::string& node, const std::string& name = "") {
    DaemonOptions options = Options();
    const std::string home = dir() / node;
    fs::create_directories(Watched(node));
    options.watches = {Watched(node) + ":*.kvmd"};
    options.socket = home + "/run/vmeventd.sock";
    options.state_dir = home + "/state";
    options.log_file = home + "/log";
    options.tuning = {"event-limits=off"};
    options.wrapper = {"unshare",
                       "--uts",
                       "sh",
                       "-c",
                       "hostname \"$0\" && exec \"$@\"",
                       name.empty() ? node : name};
    daemons_[node] = std::make_unique<Daemon>(options);
    if (!pushes_.contains(node)) {
      pushes_[node] = std::make_unique<FleetPush>(daemons_[node]->server_address(), nats().url(),
                                                  "prod", home + "/push");
    }
  }
  std::string Watched(const std::string& node) const { return dir() / node + "/vms"; }
  Daemon& node(const std::string& name) { return *daemons_.at(name); }
  FleetPush& push(const std::string& name) { return *pushes_.at(name); }
  void KillNode(const std::string& name) {
    node(name).Signal(SIGKILL);
    node(name).WaitExit();
    daemons_.erase(name);
  }
  NatsServer& nats() { return nats_; }
  uint64_t Newest(const std::string& name) { return node(name).GetServerInfo().newest_sequence(); }
  // Waits until everything that the nodes have seen is in the stream.
  void WaitPublished(uint64_t events) {
    WaitUntil("the stream has the events", [&] { return nats().last_sequence() >= events; });
  }

  ChildOptions Command(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"-o", "json"});
    return {.arguments = VmeventsCommand(nats().url(), arguments)};
  }
  std::vector<json> Ask(const std::vector<std::string>& arguments) {
    constexpr int kUnavailable = 4;  // the code of a server that does not respond for seconds
    CommandResult result;
    WaitUntil("the server answers in a command's time", [&] {
      result = RunCommand(Command(arguments));
      return result.exit_code != kUnavailable;
    });
    EXPECT_EQ(result.exit_code, 0) << result.error;
    return Lines(result.output);
  }
  // Runs a watch that continues where the previous one ended.
  CommandResult WatchOn(const std::string& count) {
    return RunCommand(Command(
        {"watch", "--from", "oldest", "--cursor-file", dir() / "cursor", "--count", count}));
  }
  // Reads `count` events of a watch that runs.
  static std::vector<json> Read(ChildProcess* watch, size_t count) {
    std::vector<json> events;
    for (size_t i = 0; i < count; ++i) events.push_back(json::parse(watch->ReadUntil("\n")));
    return events;
  }
  // Expects each node's sequences without a hole or a repetition.
  static void ExpectEachOnceInOrder(const std::vector<json>& events) {
    std::map<std::string, uint64_t> last;
    for (const json& event : events) {
      uint64_t& before = last[event["node"]];
      EXPECT_EQ(event["sequence"], absl::StrCat(before + 1)) << event["node"];
      ++before;
    }
  }

 private:
  NatsServer nats_{dir() / "nats"};
  std::map<std::string, std::unique_ptr<Daemon>> daemons_;
  std::map<std::string, std::unique_ptr<FleetPush>> pushes_;
};

TEST_F(FleetClientTest, AWatchSeesEveryEventOnceThroughKilledServersPushesAndDaemons) {
  ChildOptions command = Command({"watch", "--from", "oldest"});
  command.error_file = dir() / "watch-errors";
  ChildProcess watch(command);
  ChattyVm one(Watched("n1"), "web1");
  auto two = std::make_unique<ChattyVm>(Watched("n2"), "web.2");
  one.Send(100);
  two->Send(100);
  std::vector<json> events = Read(&watch, 202);
  WaitUntil("n1 has a position", [&] { return fs::exists(push("n1").cursor()); });
  fs::copy_file(push("n1").cursor(), dir() / "position");
  nats().Kill();
  push("n1").End(SIGKILL);
  one.Send(100);
  WaitUntil("n1 has recorded it", [&] { return Newest("n1") == 201; });
  nats().Start();
  push("n1").Start();
  two->Send(100);
  for (json& event : Read(&watch, 200)) events.push_back(std::move(event));
  // Its saved position is older: it publishes again what the stream already has.
  push("n1").End(SIGKILL);
  fs::copy_file(dir() / "position", push("n1").cursor(), fs::copy_options::overwrite_existing);
  push("n1").Start();
  one.Send(1);
  for (json& event : Read(&watch, 1)) events.push_back(std::move(event));
  EXPECT_GT(nats().last_sequence(), 403u) << "some came again";
  KillNode("n2");
  two.reset();
  StartNode("n2");  // finds that web.2 has ended
  const std::vector<json> last = Read(&watch, 2);
  EXPECT_EQ(last[0]["type"], "EVENT_TYPE_GAP") << "what it had not written";
  EXPECT_EQ(last[1]["type"], "EVENT_TYPE_STOPPED");
  EXPECT_EQ(last[1]["node"], "n2");
  EXPECT_EQ(last[1]["cluster"], "prod");
  EXPECT_EQ(last[1]["vm"]["name"], "web.2");
  ExpectEachOnceInOrder(events);
  watch.Signal(SIGINT);
  EXPECT_EQ(watch.Wait(), 0);
  EXPECT_THAT(ReadFile(command.error_file),
              AllOf(HasSubstr("reading the stream VMEVENTS"), testing::Not(HasSubstr("GAP"))));
}

TEST_F(FleetClientTest, ACursorFileContinuesAndReportsWhatIsMissing) {
  ChattyVm vm(Watched("n1"), "web1");
  vm.Send(9);
  WaitPublished(10);
  std::vector<json> events = Lines(WatchOn("4").output);
  for (json& event : Lines(WatchOn("6").output)) events.push_back(std::move(event));
  EXPECT_THAT(events, SizeIs(10));
  ExpectEachOnceInOrder(events);
  vm.Send(5);
  WaitPublished(15);
  json limited = nats().Ask("$JS.API.STREAM.INFO.VMEVENTS")["config"];
  limited["max_msgs"] = 2;
  nats().Ask("$JS.API.STREAM.UPDATE.VMEVENTS", limited.dump());
  CommandResult result = WatchOn("1");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.error, HasSubstr("GAP: events may be missing: the stream no longer has"));
  EXPECT_EQ(Lines(result.output).at(0)["sequence"], "14");
  // It repeats the events of the last 5 minutes, which are all events.
  push("n1").End(SIGKILL);
  nats().DeleteStream("VMEVENTS");
  nats().CreateStream("VMEVENTS");
  push("n1").Start();
  vm.Send(1);
  result = WatchOn("1");
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_THAT(result.error, HasSubstr("the position 14 is of another stream"));
}

// A server before 2.10 knows one subject for each consumer.
TEST_F(FleetClientTest, ListsAndWatchesSelectSeveralNodesAndVms) {
  ChattyVm one(Watched("n1"), "web1");
  ChattyVm two(Watched("n2"), "db1");
  ChattyVm three(Watched("n2"), "db2");
  for (ChattyVm* const vm : {&one, &two, &three}) vm->Send(2);
  WaitPublished(9);
  WaitUntil("the VMs are in the bucket", [&] { return Ask({"vms"}).size() == 3; });
  EXPECT_THAT(Ask({"events", "--node", "n1", "--node", "n2"}), SizeIs(9));
  EXPECT_THAT(Ask({"events", "--node", "prod/n1", "--node", "n2", "--vm", "web1,db2"}), SizeIs(6));
  EXPECT_THAT(Ask({"vms", "--node", "n1", "--node", "n2"}), SizeIs(3));
  EXPECT_THAT(Ask({"vms", "web1", "db1"}), SizeIs(2));
  WaitUntil("both have a heartbeat", [&] {
    return Ask({"fleet", "--node", "n1", "--node", "n2"}).size() == 2;
  });
  EXPECT_THAT(Ask({"watch", "--from", "oldest", "--node", "n1", "--node", "n2", "--count", "9"}),
              SizeIs(9));
  EXPECT_THAT(Ask({"events", "--node", "test/*"}), IsEmpty());
  EXPECT_THAT(Ask({"events", "--type", "started", "-n", "2"}), SizeIs(2));
  EXPECT_THAT(Ask({"events", "--until", "1h"}), IsEmpty());
}

TEST_F(FleetClientTest, TwoNodesOfOneNameAreNoticed) {
  ChattyVm one(Watched("n1"), "web1");
  one.Send(1);
  WaitPublished(2);
  push("n1").WaitPosition(2);
  StartNode("n3", "n1");
  ChattyVm other(Watched("n3"), "web2");
  other.Send(1);
  WaitPublished(4);
  // The first node checks its name at its next heartbeat, and at a start.
  push("n1").End(SIGTERM);
  push("n1").Start();
  push("n1").WaitLog("another node publishes as prod/n1");
  WaitUntil("the fleet says so", [&] {
    const std::vector<json> nodes = Ask({"fleet", "--node", "n1"});
    return nodes.size() == 1 && nodes[0]["state"] == "name shared";
  });
}

TEST_F(FleetClientTest, TheExampleRecordsEachEventOnce) {
  ChattyVm vm(Watched("n1"), "web.1");
  vm.Send(9);
  WaitPublished(10);
  const auto follow = [&](const std::string& count, const std::vector<std::string>& more = {}) {
    return FollowFleet(nats().port(), dir() / "record.db", count, more);
  };
  CommandResult result = RunCommand(follow("4"));
  EXPECT_EQ(result.exit_code, 0) << result.error;
  std::vector<std::string> lines = absl::StrSplit(result.output, '\n', absl::SkipEmpty());
  EXPECT_THAT(lines, SizeIs(4));
  EXPECT_THAT(lines[0], HasSubstr(" /vmevents/prod/n1 vmevents.v1.started web.1"));
  ChildOptions child = follow("1000000");
  child.error_file = dir() / "follow-errors";
  ChildProcess follower(child);
  for (int i = 0; i < 6; ++i) lines.push_back(follower.ReadUntil("\n"));
  nats().Kill();
  vm.Send(5);
  nats().Start();
  for (int i = 0; i < 5; ++i) lines.push_back(follower.ReadUntil("\n"));
  follower.Signal(SIGTERM);
  EXPECT_EQ(follower.Wait(), 0);
  EXPECT_THAT(ReadFile(child.error_file), HasSubstr("trying again"));
  // A program that starts again with the same record has nothing left to do.
  ChildProcess repeated(follow("1", {"--durable", "another"}));
  vm.Send(1);
  repeated.ReadUntil("powerdown-requested");
  EXPECT_EQ(repeated.Wait(), 0);
}

// A publisher can give its message any bytes as headers, the status of a server's word too.
TEST_F(FleetClientTest, MessagesOfAHostileNodeDoNotStopReaders) {
  ChattyVm vm(Watched("n1"), "web1");
  vm.Send(2);
  WaitPublished(3);
  const std::string own =
      "NATS/1.0\r\nce-source: /vmevents/prod/evil/j\r\nce-type: vmevents.v1.reset\r\n";
  PublishRaw(nats().port(), "vmevents.v1.prod.evil.vm.reset",
             {{"NATS/1.0 503\r\n\r\n", ""},
              {"NATS/1.0\r\nStatus: 503\r\n\r\n", ""},
              {"NATS/1.0 404 No Messages\r\n\r\n", ""},
              {"NATS/1.0 409 Consumer Deleted\r\n\r\n", ""},
              {"NATS/1.0\r\nce-id: \xff\xfe\r\n\r\n", "\xff"},
              {own + "\r\n", "\xff"},
              {own + "ce-id: 1\r\nce-subject: %1B%5B2J\r\n\r\n", "\xff"}});
  vm.Send(1);
  WaitPublished(11);
  const auto of_n1 = [](const std::vector<json>& events) {
    return std::count_if(events.begin(), events.end(),
                         [](const json& event) { return event["node"] == "n1"; });
  };
  EXPECT_EQ(of_n1(Ask({"watch", "--from", "oldest", "--count", "4"})), 4);
  EXPECT_EQ(of_n1(Ask({"events"})), 4);
  const CommandResult followed = RunCommand(FollowFleet(nats().port(), dir() / "record.db", "5"));
  EXPECT_EQ(followed.exit_code, 0) << followed.error;
  EXPECT_THAT(followed.output, AllOf(HasSubstr(" /vmevents/prod/evil vmevents.v1.reset ?[2J\n"),
                                     HasSubstr(" /vmevents/prod/n1 vmevents.v1.started web1\n")));
  EXPECT_THAT(followed.error, testing::Not(HasSubstr("trying again")));
}

// Servers at the node that are leaf nodes of those with the stream.
class LeafNodeTest : public JournalTestBase {
 protected:
  // `configuration`: of the leaf node's JetStream.
  void Begin(const std::string& jetstream) {
    const std::string log = hub_.log();
    std::smatch found;
    ASSERT_TRUE(
        std::regex_search(log, found, std::regex(R"(leafnode connections on 127\.0\.0\.1:(\d+))")))
        << log;
    leaf_ = std::make_unique<NatsServer>(
        dir() / "leaf",
        absl::StrCat(jetstream, "\nleafnodes { remotes: [{ url: \"nats://127.0.0.1:",
                     found[1].str(), "\" }] }\n"));
    hub_.CreateFleet();
  }
  CommandResult Ask(const std::vector<std::string>& arguments) {
    return RunCommand({.arguments = VmeventsCommand(leaf_->url(), arguments)});
  }
  void PublishesAndReads() {
    StartDaemon(Options());
    const FleetPush push(daemon().server_address(), leaf_->url(), "test", dir() / "push",
                         {"--push-domain", "hub"});
    {
      ChattyVm vm(watch_dir(), "web1");
      vm.Send(10);
      WaitNewest(11);
    }
    WaitUntil("the hub has the events", [&] { return hub_.last_sequence() == 12; });
    WaitUntil("the hub has the VM's state", [&] {
      const CommandResult vms = Ask({"--nats-domain", "hub", "vms", "--all", "-o", "json"});
      return vms.exit_code == 0 && absl::StrContains(vms.output, "SHUTDOWN_CLASS_UNKNOWN");
    });
    const CommandResult events =
        Ask({"--nats-domain", "hub", "watch", "--from", "oldest", "--count", "12", "-o", "name"});
    EXPECT_EQ(events.exit_code, 0) << events.error;
    EXPECT_THAT(std::vector<std::string>(absl::StrSplit(events.output, '\n', absl::SkipEmpty())),
                SizeIs(12));
    EXPECT_NE(Ask({"fleet"}).exit_code, 0) << "of its own it has no stream";
    const CommandResult followed =
        RunCommand(FollowFleet(leaf_->port(), dir() / "record.db", "12", {"--domain", "hub"}));
    EXPECT_EQ(followed.exit_code, 0) << followed.error;
    EXPECT_THAT(std::vector<std::string>(absl::StrSplit(followed.output, '\n', absl::SkipEmpty())),
                SizeIs(12));
  }

 private:
  NatsServer hub_{dir() / "hub",
                  absl::StrCat("jetstream { store_dir: \"", dir() / "hub/js",
                               "\", domain: hub }\nleafnodes { host: 127.0.0.1, port: -1 }\n")};
  std::unique_ptr<NatsServer> leaf_;
};

TEST_F(LeafNodeTest, PublishesAndReadsThroughALeafNodeWithoutJetStream) {
  Begin("jetstream: false");
  PublishesAndReads();
}

TEST_F(LeafNodeTest, PublishesAndReadsThroughALeafNodeWithItsOwnJetStream) {
  Begin(absl::StrCat("jetstream { store_dir: \"", dir() / "leaf/js", "\", domain: rack }"));
  PublishesAndReads();
}

}  // namespace
}  // namespace vmeventd::e2e
