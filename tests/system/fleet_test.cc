// A real NATS server, into whose stream the daemon publishes.

#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/nats/jetstream_api.h"
#include "base/nats/subject.h"
#include "base/system.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "server/fleet/jetstream_sink.h"
#include "server/fleet/stored_messages.h"
#include "tests/support/loopback.h"
#include "tests/support/nats_server.h"
#include "tests/support/network_namespace.h"
#include "tests/support/wait.h"
#include "tests/system/chatty_vm.h"
#include "tests/system/journal_test_base.h"
#include "vmeventd/v1/fleet.pb.h"

namespace vmeventd::e2e {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

class FleetTest : public JournalTestBase {
 protected:
  ~FleetTest() override {
    if (HasFailure()) std::cerr << "the NATS server's log:\n" << nats_.log() << std::endl;
  }
  DaemonOptions PublishTo(const std::string& url, std::vector<std::string> arguments = {}) {
    arguments.insert(arguments.begin(), {"--publish", url, "--publish-cluster", "test"});
    return Options(arguments);
  }
  NatsServer& nats() { return nats_; }
  std::string NodeName() { return daemon().GetServerInfo().node(); }
  uint64_t newest() { return daemon().GetServerInfo().newest_sequence(); }

  // The VM says so much at once that the daemon has read it before it says more: what does not fit
  // into the socket is lost.
  static constexpr int kBurst = 300;

  // Waits until the stream's last message is the newest event.
  void WaitPublished() { WaitPublished(nats()); }
  void WaitPublished(NatsServer& server) {
    const uint64_t expected = newest();
    WaitUntil("the newest event is in the stream",
              [&] { return server.last_sequence() >= expected; });
  }
  // Expects every event up to now in the stream, once and in order.
  void ExpectEachOnce() { ExpectEachOnce(nats()); }
  void ExpectEachOnce(NatsServer& server) {
    const uint64_t expected = newest();
    WaitPublished(server);
    const std::vector<StreamMessage> messages = server.Messages();
    const std::vector<v1::Event> events = daemon().ListEvents();  // may have more by now
    const std::string journal_id = daemon().GetServerInfo().journal_id();
    ASSERT_GE(messages.size(), expected);
    ASSERT_LE(messages.size(), events.size());
    for (size_t i = 0; i < messages.size(); ++i) {
      v1::Event event;
      ASSERT_TRUE(event.ParseFromString(messages[i].data));
      ASSERT_EQ(event.SerializeAsString(), events[i].SerializeAsString()) << i;
      ASSERT_TRUE(absl::StartsWith(messages[i].header("Nats-Msg-Id"),
                                   absl::StrCat(journal_id, ":", events[i].sequence(), ":")));
    }
  }

  // What a bucket's key has; without one, an empty message.
  template <typename Message>
  Message LastOf(const std::string& bucket, const std::string& key) {
    const std::optional<StreamMessage> last = nats().Last(bucket, key);
    Message message;
    if (last.has_value()) message.ParseFromString(last->data);
    return message;
  }
  static std::string HeartbeatKey(const std::string& node) {
    return KeySubject(kNodesBucket, NodeBucketKey("test", node));
  }
  std::unique_ptr<FleetSink> MakeSink(const std::string& url, const std::string& node) {
    return *MakeJetStreamSink(
        {.nats = {.servers = {url}, .name = "a test"}, .cluster = "test", .node = node});
  }

  // Then the server's files can be changed.
  void PublishFiveAndKill(ChattyVm* vm) {
    vm->Speak(4);
    WaitNewest(5);
    WaitPublished();
    nats().Kill();
  }

 private:
  NatsServer nats_{dir() / "nats"};
};

TEST_F(FleetTest, EveryEventIsInTheStreamOnce) {
  nats().CreateFleet();
  StartDaemon(PublishTo(nats().url()));
  ChattyVm vm(watch_dir(), "web.1");
  for (int round = 1; round <= 5; ++round) {
    vm.Speak(kBurst);
    WaitNewest(1 + round * kBurst);  // and STARTED
  }
  ExpectEachOnce();
  const StreamMessage first = nats().Messages().front();
  EXPECT_TRUE(absl::StartsWith(first.subject, "vmevents.v1.test.")) << first.subject;
  EXPECT_TRUE(absl::EndsWith(first.subject, ".web=2E1.started")) << first.subject;
  EXPECT_EQ(first.header("ce-specversion"), "1.0");
  EXPECT_EQ(first.header("ce-id"), "1");
  EXPECT_EQ(first.header("ce-type"), "vmevents.v1.started");
  EXPECT_EQ(first.header("ce-subject"), "web.1");
}

TEST_F(FleetTest, ThePayloadMayBeJson) {
  nats().CreateFleet();
  StartDaemon(PublishTo(nats().url(), {"--publish-format", "json"}));
  ChattyVm vm(watch_dir(), "vm1");
  vm.Speak(1);
  WaitNewest(2);
  WaitPublished();
  const StreamMessage first = nats().Messages().front();
  EXPECT_EQ(first.header("ce-datacontenttype"), "application/json");
  EXPECT_EQ(nlohmann::json::parse(first.data)["type"], "EVENT_TYPE_STARTED");
}

TEST_F(FleetTest, ACrashedVmIsOneLookUpAlsoAfterTheBucketWasLost) {
  nats().CreateFleet();
  const DaemonOptions options = PublishTo(nats().url());
  StartDaemon(options);
  const std::string key = KeySubject(kVmsBucket, VmBucketKey("test", NodeName(), "web.1"));
  const auto class_of = [&] { return LastOf<v1::Vm>("KV_VMEVENTS_VMS", key).shutdown().class_(); };
  {
    ChattyVm vm(watch_dir(), "web.1");
    vm.Speak(1);
    WaitNewest(2);
  }
  WaitUntil("the bucket has the crash", [&] { return class_of() == v1::SHUTDOWN_CLASS_CRASH; });
  EXPECT_THAT(nats().Last("KV_VMEVENTS_VMS", key)->header("ce-source"),
              HasSubstr(daemon().GetServerInfo().journal_id()));
  StopDaemon();
  nats().DeleteStream("KV_VMEVENTS_VMS");
  nats().CreateBuckets();
  StartDaemon(options);
  WaitUntil("the bucket has the crash again",
            [&] { return class_of() == v1::SHUTDOWN_CLASS_CRASH; });
}

TEST_F(FleetTest, ANodeSaysThatItIsThereAndThatItStops) {
  nats().CreateFleet();
  DaemonOptions options = PublishTo(nats().url());
  options.tuning = {"publish-heartbeat=1"};
  StartDaemon(options);
  const std::string node = NodeName();
  const auto heartbeat = [&] {
    return LastOf<v1::NodeHeartbeat>("KV_VMEVENTS_NODES", HeartbeatKey(node));
  };
  ChattyVm vm(watch_dir(), "vm1");
  vm.Speak(10);
  WaitNewest(11);
  WaitUntil("the heartbeat has the newest event", [&] {
    const v1::NodeHeartbeat now = heartbeat();
    return now.published_sequence() == 11 && now.newest_sequence() == 11 && now.vms() == 1;
  });
  EXPECT_EQ(heartbeat().node(), node);
  EXPECT_EQ(heartbeat().interval().seconds(), 1);
  EXPECT_EQ(heartbeat().journal_id(), daemon().GetServerInfo().journal_id());
  EXPECT_EQ(EndDaemon(SIGTERM), 0);
  // The server may store its last word after the daemon has waited for that.
  WaitUntil("it says that it stopped", [&] { return !heartbeat().has_interval(); });
}

TEST_F(FleetTest, ANodeHasTheNameThatItIsGiven) {
  nats().CreateFleet();
  StartDaemon(PublishTo(nats().url(), {"--node", "node7.example"}));
  EXPECT_EQ(NodeName(), "node7.example");
  ChattyVm vm(watch_dir(), "vm1");
  vm.Speak(1);
  WaitNewest(2);
  ExpectEachOnce();
  EXPECT_TRUE(
      absl::StartsWith(nats().Messages().front().subject, "vmevents.v1.test.node7=2Eexample.vm1."));
}

// The stream has seen its events, under the old name: none of them is a repetition.
TEST_F(FleetTest, ANodeThatIsRenamedPublishesItsJournalUnderItsNewNameAndSaysSo) {
  nats().CreateFleet();
  StartDaemon(PublishTo(nats().url(), {"--node", "old"}));
  ChattyVm vm(watch_dir(), "vm1");
  vm.Speak(3);
  WaitNewest(4);
  ExpectEachOnce();
  const uint64_t before = nats().last_sequence();
  EXPECT_EQ(EndDaemon(SIGTERM), 0);
  StartDaemon(PublishTo(nats().url(), {"--node", "new"}));
  vm.Speak(1);
  WaitNewest(before + 1);
  const uint64_t all = newest();
  WaitUntil("all of it is published",
            [&] { return daemon().GetServerInfo().publishing().sequence() >= all; });
  std::vector<std::string> ids;
  for (const StreamMessage& message : nats().Messages()) {
    const bool renamed = absl::StartsWith(message.subject, "vmevents.v1.test.new.");
    EXPECT_EQ(renamed, message.stream_sequence > before) << message.subject;
    if (renamed) ids.push_back(message.header("ce-id"));
  }
  ASSERT_EQ(ids.size(), all);
  for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(ids[i], absl::StrCat(i + 1));
  daemon().WaitLog("the journal was published as VMEVENTS/vmevents.v1.test.old.>");
}

TEST_F(FleetTest, TwoNodesOfOneNameSaySo) {
  nats().CreateFleet();
  DaemonOptions options = PublishTo(nats().url(), {"--node", "twin"});
  options.tuning = {"publish-heartbeat=1"};
  StartDaemon(options);
  WaitUntil("it has a heartbeat", [&] {
    return !LastOf<v1::NodeHeartbeat>("KV_VMEVENTS_NODES", HeartbeatKey("twin"))
                .journal_id()
                .empty();
  });
  DaemonOptions twin = options;
  twin.log_file = dir() / "twin.log";
  twin.state_dir = dir() / "twin-state";
  twin.socket = dir() / "twin.sock";
  const Daemon other(twin);
  daemon().WaitLog("another vmeventd publishes as test/twin");
  other.WaitLog("another vmeventd publishes as test/twin");
  EXPECT_THAT(daemon().GetServerInfo().publishing().problem(),
              HasSubstr("another vmeventd published under this node's name"));
}

TEST_F(FleetTest, AMissingStreamIsReportedAndUsedOnceItIsThere) {
  StartDaemon(PublishTo(nats().url(), {"--publish-create-stream", "1"}));  // only warns
  ChattyVm vm(watch_dir(), "vm1");
  vm.Speak(10);
  daemon().WaitLog("there is no stream VMEVENTS");
  EXPECT_THAT(ReadFile(Options().log_file), HasSubstr("--publish-create-stream was dropped"));
  const v1::Publishing without = daemon().GetServerInfo().publishing();
  EXPECT_FALSE(without.connected());
  EXPECT_THAT(without.problem(), HasSubstr("there is no stream VMEVENTS"));
  EXPECT_EQ(without.sequence(), 0u);
  EXPECT_EQ(nats().last_sequence(), 0u);
  nats().CreateStreamWithoutWindow();
  WaitNewest(11);
  ExpectEachOnce();
  WaitUntil("the position is behind them", [&] {
    const v1::Publishing with = daemon().GetServerInfo().publishing();
    return with.connected() && with.sequence() == newest();
  });
}

// What such a stream acknowledges is not kept, or it acknowledges nothing.
TEST_F(FleetTest, AStreamThatDoesNotKeepEventsIsRefusedWithAReason) {
  using nlohmann::json;
  nats().CreateStream("SOURCE", {{"name", "SOURCE"}, {"subjects", {"other.>"}}});
  const json usual = json::parse(CreateStreamRequest(kFleetStream, 1));
  const auto with = [&usual](const char* name, const json& value) {
    json settings = usual;
    settings[name] = value;
    return settings;
  };
  const json mirror = {{"name", std::string(kFleetStream)}, {"mirror", {{"name", "SOURCE"}}}};
  const std::vector<std::pair<std::string, json>> streams = {
      {"its retention is \"interest\"", with("retention", "interest")},
      {"its retention is \"workqueue\"", with("retention", "workqueue")},
      {"it acknowledges nothing", with("no_ack", true)},
      {"it is a mirror", mirror}};
  nats().CreateStream("VMEVENTS", streams[0].second);
  nats().CreateBuckets();
  StartDaemon(PublishTo(nats().url()));
  ChattyVm vm(watch_dir(), "vm1");
  for (size_t i = 0; i < streams.size(); ++i) {
    if (i > 0) {
      nats().DeleteStream("VMEVENTS");
      nats().CreateStream("VMEVENTS", streams[i].second);
    }
    WaitUntil("the problem is " + streams[i].first, [&] {
      return absl::StrContains(daemon().GetServerInfo().publishing().problem(), streams[i].first);
    });
    daemon().WaitLog(streams[i].first);
    EXPECT_FALSE(daemon().GetServerInfo().publishing().connected());
    EXPECT_EQ(nats().last_sequence(), 0u);
  }
  nats().DeleteStream("VMEVENTS");
  nats().CreateStream("VMEVENTS", usual);
  vm.Speak(1);
  WaitNewest(2);
  ExpectEachOnce();
}

// An answer is one, also that nobody takes the message: another connection would hear it too.
TEST_F(FleetTest, AStreamThatIsGoneKeepsTheConnection) {
  uint16_t port = 0;
  const UniqueFd held_port = HoldOnLoopback(&port);
  NatsServer server(dir() / "monitored", absl::StrCat("http: \"127.0.0.1:", port, "\"\n"));
  const auto connections_of_daemon = [port] {
    const nlohmann::json connections = AskMonitoring(port, "/connz?state=all&limit=1000");
    size_t count = 0;
    for (const nlohmann::json& connection : connections.value("connections", nlohmann::json())) {
      if (absl::StartsWith(connection.value("name", ""), "vmeventd ")) ++count;
    }
    return count;
  };
  server.CreateFleet();
  StartDaemon(PublishTo(server.url()));
  ChattyVm vm(watch_dir(), "vm1");
  WaitNewest(1);
  WaitPublished(server);
  server.DeleteStream("VMEVENTS");
  vm.Speak(2);
  daemon().WaitLog("no stream takes the events");
  server.CreateStream("VMEVENTS", nlohmann::json::parse(CreateStreamRequest(kFleetStream, 1)));
  WaitNewest(3);
  ExpectEachOnce(server);
  EXPECT_EQ(connections_of_daemon(), 1u);
}

// The server's last complaint stays with a connection, and would count against every slow answer.
TEST_F(FleetTest, ALookAfterARefusalMakesAnotherConnection) {
  uint16_t port = 0;
  const UniqueFd held_port = HoldOnLoopback(&port);
  NatsServer server(dir() / "refusing",
                    absl::StrCat("http: \"127.0.0.1:", port, "\"\n",
                                 "accounts: { NODES: { jetstream: enabled, users: [ { user: node, "
                                 "password: x, permissions: { publish: { deny: "
                                 "\"$JS.API.STREAM.INFO.KV_VMEVENTS_VMS\" } } } ] } }\n"
                                 "no_auth_user: node\n"));
  server.CreateFleet();
  const auto connections = [port]() -> uint64_t {
    return AskMonitoring(port, "/varz").value("total_connections", uint64_t{0});
  };
  const std::unique_ptr<FleetSink> sink = MakeSink(server.url(), "a");
  ASSERT_TRUE(sink->Look(FleetSink::Where::kEvents).ok());
  const uint64_t before = connections();
  ASSERT_TRUE(sink->Look(FleetSink::Where::kEvents).ok());
  EXPECT_EQ(connections(), before);
  EXPECT_THAT(std::string(sink->Look(FleetSink::Where::kVms).status().message()),
              HasSubstr("Permissions Violation"));
  ASSERT_TRUE(sink->Look(FleetSink::Where::kEvents).ok());
  EXPECT_EQ(connections(), before + 1);
}

// An id that the stream has seen is no proof that the event is there: anybody may have sent it.
TEST_F(FleetTest, ARepetitionCountsUnderTheNodesOwnSubjectOnly) {
  auto settings = nlohmann::json::parse(CreateStreamRequest(kFleetStream, 1));
  settings["deny_purge"] = false;
  nats().CreateStream("VMEVENTS", settings);
  const auto send = [](FleetSink* sink, const std::string& subject, uint64_t sequence) {
    return sink->Send(FleetSink::Where::kEvents,
                      {{.sequence = sequence,
                        .replaces = std::nullopt,
                        .subject = subject,
                        .headers = {{"Nats-Msg-Id", absl::StrCat("j:", sequence, ":code")}},
                        .payload = "x"}});
  };
  const std::unique_ptr<FleetSink> a = MakeSink(nats().url(), "a");
  const std::unique_ptr<FleetSink> b = MakeSink(nats().url(), "b");
  ASSERT_TRUE(a->Look(FleetSink::Where::kEvents).ok());
  ASSERT_TRUE(b->Look(FleetSink::Where::kEvents).ok());
  const std::string subject = "vmevents.v1.test.a.vm.reset";
  ASSERT_TRUE(send(a.get(), subject, 1).status.ok());
  FleetSink::Answers again = send(a.get(), subject, 1);
  EXPECT_TRUE(again.status.ok()) << again.status;
  EXPECT_EQ(again.each[0].kind, FleetSink::Answer::kStored);
  EXPECT_TRUE(again.each[0].repeated);
  EXPECT_EQ(again.each[0].place, 1u);
  ASSERT_TRUE(send(b.get(), "vmevents.v1.test.b.vm.reset", 2).status.ok());
  again = send(a.get(), subject, 2);
  EXPECT_EQ(again.each[0].kind, FleetSink::Answer::kRefused);
  EXPECT_THAT(std::string(again.status.message()),
              HasSubstr("(vmevents.v1.test.b.vm.reset), which is not this node's"));
  NatsClient(nats().port()).Request("$JS.API.STREAM.PURGE.VMEVENTS", nlohmann::json::object());
  again = send(a.get(), subject, 1);
  EXPECT_EQ(again.each[0].kind, FleetSink::Answer::kRefused);
  EXPECT_THAT(std::string(again.status.message()), HasSubstr("the message 1, which was deleted"));
}

// As in a large fleet, where a node's last message is far behind, and a server's answer under the
// node's name the last.
TEST_F(FleetTest, ANodesLastMessageIsFoundFarBehindForeignOnes) {
  nats().CreateFleet();
  constexpr auto kEvents = FleetSink::Where::kEvents;
  const std::unique_ptr<FleetSink> sink = MakeSink(nats().url(), "a");
  ASSERT_TRUE(sink->Look(kEvents).ok());
  const auto send = [&](const std::string& subject, const std::string& journal, uint64_t last) {
    std::vector<FleetMessage> batch;
    for (uint64_t sequence = 1; sequence <= last; ++sequence) {
      const std::string id = ToMessageId({journal, sequence}, subject, "secret");
      batch.push_back({.sequence = sequence,
                       .replaces = std::nullopt,
                       .subject = subject,
                       .headers = {{"Nats-Msg-Id", id}},
                       .payload = "x"});
    }
    const FleetSink::Answers answers = sink->Send(kEvents, batch);
    EXPECT_TRUE(answers.status.ok()) << answers.status;
  };
  send("vmevents.v1.test.a.vm.reset", "mine", 20);
  send("vmevents.v1.test.b.vm.reset", "b", 20'000);
  send("vmevents.v1.test.a.vm.reset", "another", 100);
  ASSERT_TRUE(sink->Look(kEvents).ok());
  const auto tail = sink->Last(kEvents, {""});
  ASSERT_TRUE(tail.ok() && tail->front().has_value());
  EXPECT_EQ(tail->front()->position.journal_id, "another");
  EXPECT_EQ(tail->front()->position.stream_sequence, 20'120u);
  for (const auto& [before, place] : {std::pair(20'120, 20), std::pair(20, 19), std::pair(2, 1)}) {
    const auto mine = FindLast(sink.get(), "mine", 1, static_cast<uint64_t>(before));
    ASSERT_TRUE(mine.ok() && mine->has_value()) << before;
    EXPECT_EQ((*mine)->position.stream_sequence, static_cast<uint64_t>(place));
    EXPECT_EQ((*mine)->position.sequence, static_cast<uint64_t>(place));
  }
  EXPECT_FALSE(FindLast(sink.get(), "mine", 1, 1)->has_value());
  EXPECT_FALSE(FindLast(sink.get(), "nobodys", 1, 20'120)->has_value());
  const std::vector<FleetSink::Stored> at = sink->At(kEvents, {7, 21, 20'121}).value();
  EXPECT_EQ(at[0]->position.sequence, 7u);
  EXPECT_EQ(at[1]->position.journal_id, "") << "is another node's";
  EXPECT_FALSE(at[2].has_value());
  const auto stored = FindStored(sink.get(), {"mine", 5, 5, ""}, 20'120, 4'096);
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(stored->size(), 15u);
  EXPECT_TRUE(absl::IsOutOfRange(FindStored(sink.get(), {"mine", 5, 5, ""}, 20'120, 10).status()));
  send("vmevents.v1.test.a.vm.reset", "flood", 10'000);
  const auto behind = FindStored(sink.get(), {"mine", 5, 5, ""}, 30'120, 4'096);
  ASSERT_TRUE(behind.ok()) << "others' messages are no reason to take events for published: "
                           << behind.status();
  EXPECT_EQ(behind->size(), 15u);
}

// The server's files are put back from a copy, and others write before the node comes back, also
// under its name.
TEST_F(FleetTest, AStreamThatWasRestoredFromACopyGetsWhatItLacks) {
  nats().CreateFleet();
  StartDaemon(PublishTo(nats().url()));
  ChattyVm vm(watch_dir(), "vm1");
  PublishFiveAndKill(&vm);
  fs::copy(dir() / "nats/js", dir() / "copy", fs::copy_options::recursive);
  nats().Start();
  vm.Speak(5);
  WaitNewest(10);
  WaitPublished();
  const std::string own = NodeSubjectPrefix("test", NodeName());
  daemon().Signal(SIGSTOP);
  nats().Kill();
  fs::remove_all(dir() / "nats/js");
  fs::rename(dir() / "copy", dir() / "nats/js");
  nats().Start();
  NatsClient others(nats().port());
  for (int i = 0; i < 20; ++i) others.Request("vmevents.v1.test.other.vm.reset", "x");
  for (int i = 0; i < 3; ++i) others.Request(own + "vm1.reset", "x");
  daemon().Signal(SIGCONT);
  vm.Speak(2);
  const auto published = [&] {
    std::vector<uint64_t> sequences;
    for (const StreamMessage& message : nats().Messages()) {
      if (!absl::StartsWith(message.subject, own) || message.headers.empty()) continue;
      sequences.push_back(std::stoull(message.header("ce-id")));
    }
    return sequences;
  };
  WaitUntil("it has them all", [&] { return published().size() >= 12; });
  EXPECT_THAT(published(), testing::ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12));
  daemon().WaitLog("the fleet's stream was restored");
}

TEST_F(FleetTest, AStreamThatWasWipedAndMadeAgainGetsTheWholeJournal) {
  nats().CreateFleet();
  StartDaemon(PublishTo(nats().url()));
  ChattyVm vm(watch_dir(), "vm1");
  PublishFiveAndKill(&vm);
  fs::remove_all(dir() / "nats/js");
  nats().Start();
  nats().CreateFleet();
  vm.Speak(1);
  WaitNewest(6);
  ExpectEachOnce();
  daemon().WaitLog("the fleet's stream was made again");
}

TEST_F(FleetTest, AServerThatIsAwayLosesAndRepeatsNothing) {
  nats().CreateStreamWithoutWindow();
  StartDaemon(PublishTo(nats().url()));
  ChattyVm vm(watch_dir(), "vm1");
  for (int round = 0; round < 3; ++round) {
    vm.Speak(kBurst);
    nats().Kill();
    WaitNewest(1 + (2 * round + 1) * kBurst);
    vm.Speak(kBurst);
    WaitNewest(1 + (2 * round + 2) * kBurst);
    nats().Start();
  }
  ExpectEachOnce();
}

TEST_F(FleetTest, ADaemonThatIsKilledLosesAndRepeatsNothing) {
  nats().CreateStreamWithoutWindow();
  DaemonOptions options = PublishTo(nats().url());
  options.tuning.emplace_back("publish-rate=1000000");
  StartDaemon(options);
  for (int round = 0; round < 5; ++round) {
    ChattyVm vm(watch_dir(), absl::StrCat("vm", round));
    const uint64_t before = nats().last_sequence();
    vm.Speak(kBurst);
    WaitUntil("some of it is in the stream", [&] { return nats().last_sequence() > before + 100; });
    KillDaemon();
    StartDaemon(options);
  }
  ExpectEachOnce();
}

TEST_F(FleetTest, ANodeWhoseNetworkIsCutLosesAndRepeatsNothing) {
  if (geteuid() != 0) GTEST_SKIP() << "makes a network namespace";
  const NetworkNamespace network;
  NatsServer server(dir() / "reachable-nats", "host: \"0.0.0.0\"\n");
  server.CreateStreamWithoutWindow();
  DaemonOptions options = PublishTo(
      absl::StrCat("nats://", network.host_address(), ":", server.port()), {"--insecure-listen"});
  options.wrapper = network.wrapper();
  StartDaemon(options);
  ChattyVm vm(watch_dir(), "vm1");
  vm.Speak(kBurst);
  for (int round = 0; round < 2; ++round) {
    // A connection is given up where no acknowledgement comes, or nothing more can be sent.
    const auto given_up = [&] {
      return std::vector<std::string>(
                 absl::StrSplit(ReadFile(options.log_file), "cannot publish to the fleet's stream"))
          .size();
    };
    const size_t before = given_up();
    network.Cut(true);
    vm.Speak(kBurst);
    WaitNewest(1 + (2 * round + 2) * kBurst);
    // The second time for so long that the daemon gives the connection up.
    if (round == 1) WaitUntil("the log says so", [&] { return given_up() > before; });
    network.Cut(false);
    vm.Speak(kBurst);
    WaitNewest(1 + (2 * round + 3) * kBurst);
  }
  ExpectEachOnce(server);
}

TEST_F(FleetTest, AcknowledgementsThatAreLostForLongerThanTheWindowRepeatNothing) {
  nats().CreateStreamWithoutWindow();
  AnswerDropper dropper(nats().port());
  StartDaemon(PublishTo(absl::StrCat("nats://127.0.0.1:", dropper.port())));
  ChattyVm vm(watch_dir(), "vm1");
  vm.Speak(10);
  WaitNewest(11);
  WaitPublished();
  dropper.DropAfterPublish();
  vm.Speak(kBurst);
  WaitUntil("the server has it, and its answer is lost",
            [&] { return dropper.dropped() > 0 && nats().last_sequence() >= 11 + kBurst; });
  vm.Speak(10);
  WaitNewest(21 + kBurst);
  ExpectEachOnce();
  daemon().WaitLog("no acknowledgement came");
}

}  // namespace
}  // namespace vmeventd::e2e
