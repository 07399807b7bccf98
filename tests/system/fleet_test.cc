// A real NATS server, into whose stream `vmevents push` publishes what a daemon observes.

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <iostream>
#include <list>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "client/fleet/create_fleet.h"
#include "client/fleet/fleet_buckets.h"
#include "client/fleet/fleet_subjects.h"
#include "client/nats/connection.h"
#include "client/nats/jetstream.h"
#include "client/nats/message.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tests/support/loopback.h"
#include "tests/support/nats_server.h"
#include "tests/support/wait.h"
#include "tests/system/chatty_vm.h"
#include "tests/system/fleet_push.h"
#include "tests/system/journal_test_base.h"
#include "vmeventd/v1/fleet.pb.h"

namespace vmeventd::e2e {
namespace {

using client::BucketStream;
using client::ConnectNats;
using client::KeySubject;
using client::kFleetStream;
using client::kNodesBucket;
using client::kVmsBucket;
using client::NatsMessage;
using client::NodeBucketKey;
using client::NodeSubjectPrefix;
using client::VmBucketKey;

using testing::HasSubstr;
namespace fs = std::filesystem;

// Stands for a server's port. It can drop what the server answers.
class AnswerDropper {
 public:
  explicit AnswerDropper(uint16_t server_port) : server_port_(server_port) {
    thread_ = std::thread([this] { Run(); });
  }
  ~AnswerDropper() {
    eventfd_write(stop_.get(), 1);
    thread_.join();
  }
  uint16_t port() const { return port_; }
  // Drops the answers on the connection whose client publishes an event next, from then on.
  void DropAfterPublish() { drops_next_ = true; }
  uint64_t dropped() const { return dropped_; }

 private:
  struct Pair {
    UniqueFd client;
    UniqueFd server;
    bool drops_answers = false;
    bool broken = false;
  };

  // Passes on what one side has sent. False: the connection is over.
  bool PassOn(Pair* pair, bool from_client) {
    std::array<char, 65536> buffer{};
    const ssize_t size =
        read((from_client ? pair->client : pair->server).get(), buffer.data(), buffer.size());
    if (size <= 0) return false;
    const absl::string_view bytes(buffer.data(), static_cast<size_t>(size));
    if (from_client && drops_next_ && absl::StrContains(bytes, "HPUB vmevents.v1.")) {
      pair->drops_answers = true;
      drops_next_ = false;
    }
    if (!from_client && pair->drops_answers) {
      dropped_ += bytes.size();
      return true;
    }
    return send((from_client ? pair->server : pair->client).get(), bytes.data(), bytes.size(),
                MSG_NOSIGNAL) == size;
  }
  void Run() {
    while (true) {
      std::vector<pollfd> inputs{{stop_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
      for (const Pair& pair : pairs_) {
        inputs.push_back({pair.client.get(), POLLIN, 0});
        inputs.push_back({pair.server.get(), POLLIN, 0});
      }
      poll(inputs.data(), inputs.size(), -1);
      if (inputs[0].revents != 0) return;
      size_t at = 2;
      for (Pair& pair : pairs_) {
        if (inputs[at].revents != 0) pair.broken = !PassOn(&pair, true);
        if (!pair.broken && inputs[at + 1].revents != 0) pair.broken = !PassOn(&pair, false);
        at += 2;
      }
      pairs_.remove_if([](const Pair& pair) { return pair.broken; });
      if (inputs[1].revents == 0) continue;
      UniqueFd client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      UniqueFd server = ConnectToLoopback(server_port_);
      if (server.valid()) pairs_.push_back({std::move(client), std::move(server)});
    }
  }

  const uint16_t server_port_;
  uint16_t port_ = 0;
  const UniqueFd listener_ = ListenOnLoopback(&port_);
  const UniqueFd stop_{eventfd(0, EFD_CLOEXEC)};
  std::atomic<bool> drops_next_ = false;
  std::atomic<uint64_t> dropped_ = 0;  // bytes
  std::list<Pair> pairs_;
  std::thread thread_;
};

class FleetTest : public JournalTestBase {
 protected:
  ~FleetTest() override {
    if (!HasFailure()) return;
    std::cerr << "the NATS server's log:\n" << nats_.log() << std::endl;
    if (push_ != nullptr) std::cerr << "the push's log:\n" << push_->log() << std::endl;
  }
  // Starts a daemon and a push of its events.
  void StartPublishing(const std::vector<std::string>& daemon_arguments = {}) {
    StartDaemon(Options(daemon_arguments));
    StartPush(nats().url());
  }
  void StartPush(const std::string& url) {
    push_ = std::make_unique<FleetPush>(daemon().server_address(), url, "test", dir() / "push");
  }
  FleetPush& push() { return *push_; }
  NatsServer& nats() { return nats_; }
  std::string NodeName() { return daemon().GetServerInfo().node(); }
  uint64_t newest() { return daemon().GetServerInfo().newest_sequence(); }

  // The VM sends so much at once that the daemon has read it before it sends more: what does not
  // fit into the socket is lost.
  static constexpr int kBurst = 300;

  // The sequences of the node's events in the stream, each where it came first.
  std::vector<uint64_t> Published() {
    std::vector<uint64_t> sequences;
    std::set<std::string> seen;
    const std::string own = NodeSubjectPrefix("test", NodeName());
    for (const NatsMessage& message : nats().Messages()) {
      const std::string id = message.header("ce-id");
      if (!absl::StartsWith(message.subject, own) || id.empty()) continue;
      if (seen.insert(id).second) sequences.push_back(std::stoull(id));
    }
    return sequences;
  }
  void WaitPublished() {
    const uint64_t expected = newest();
    WaitUntil("the newest event is in the stream", [&] {
      const auto last = nats().Last("VMEVENTS", NodeSubjectPrefix("test", NodeName()) + ">");
      return last.has_value() && last->header("ce-id") == absl::StrCat(expected);
    });
  }
  // Expects every event up to now in the stream, in order; some may be there again.
  void ExpectComplete() {
    const uint64_t expected = newest();
    WaitPublished();
    const std::vector<uint64_t> sequences = Published();
    ASSERT_EQ(sequences.size(), expected);
    for (size_t i = 0; i < sequences.size(); ++i) ASSERT_EQ(sequences[i], i + 1);
  }

  // The value of a bucket's key; without one, an empty message.
  template <typename Message>
  Message LastOf(const std::string& bucket, const std::string& key) {
    const std::optional<NatsMessage> last = nats().Last(bucket, key);
    Message message;
    if (last.has_value()) message.ParseFromString(last->data);
    return message;
  }

  void PublishFive(ChattyVm* vm) {
    vm->Send(4);
    WaitNewest(5);
    WaitPublished();
    push().WaitPosition(5);
  }
  void OthersPublish(int count) {
    for (int i = 0; i < count; ++i) nats().Ask("vmevents.v1.test.other.vm.reset", "x");
  }

 private:
  NatsServer nats_{dir() / "nats"};
  std::unique_ptr<FleetPush> push_;
};

TEST_F(FleetTest, EveryEventIsInTheStreamInOrder) {
  nats().CreateFleet();
  StartPublishing();
  ChattyVm vm(watch_dir(), "web.1");
  for (int round = 1; round <= 5; ++round) {
    vm.Send(kBurst);
    WaitNewest(1 + round * kBurst);  // and STARTED
  }
  ExpectComplete();
  const NatsMessage first = nats().Messages().front();
  EXPECT_TRUE(absl::StartsWith(first.subject, "vmevents.v1.test.")) << first.subject;
  EXPECT_TRUE(absl::EndsWith(first.subject, ".web=2E1.started")) << first.subject;
  v1::Event event;
  ASSERT_TRUE(event.ParseFromString(first.data));
  EXPECT_EQ(event.SerializeAsString(), daemon().ListEvents().front().SerializeAsString());
  EXPECT_THAT(push().log(),
              HasSubstr(absl::StrCat("delivering to ", nats().url(), " the events of ",
                                     daemon().server_address(), " from the oldest event")));
}

TEST_F(FleetTest, TheLastStateOfEachVmIsPublishedAgainAfterTheBucketIsLost) {
  nats().CreateFleet();
  StartPublishing();
  const std::string key = KeySubject(kVmsBucket, VmBucketKey("test", NodeName(), "web.1"));
  const auto class_of = [&] {
    return LastOf<v1::Vm>("KV_VMEVENTS_VMS", key).shutdown().shutdown_class();
  };
  {
    ChattyVm vm(watch_dir(), "web.1");
    vm.Send(1);
    WaitNewest(2);
  }
  WaitUntil("the bucket has the end", [&] { return class_of() == v1::SHUTDOWN_CLASS_UNKNOWN; });
  EXPECT_THAT(nats().Last("KV_VMEVENTS_VMS", key)->header("ce-source"),
              HasSubstr(daemon().GetServerInfo().journal_id()));
  EXPECT_EQ(push().End(SIGTERM), 0);
  nats().DeleteStream("KV_VMEVENTS_VMS");
  nats().CreateBuckets();
  push().Start();
  WaitUntil("the bucket has the end again",
            [&] { return class_of() == v1::SHUTDOWN_CLASS_UNKNOWN; });
}

TEST_F(FleetTest, AStateNamesTheJournalOfItsNode) {
  nats().CreateFleet();
  StartPublishing();
  ChattyVm vm(watch_dir(), "web.1");
  vm.Send(4);
  const std::string key = KeySubject(kVmsBucket, VmBucketKey("test", NodeName(), "web.1"));
  const auto journal_of = [](const NatsMessage& message) {
    const std::string source = message.header("ce-source");
    return source.substr(source.rfind('/') + 1);
  };
  WaitUntil("the bucket has the newest state",
            [&] { return LastOf<v1::Vm>("KV_VMEVENTS_VMS", key).last_sequence() == 5; });
  const std::string replaced = daemon().GetServerInfo().journal_id();
  const auto connection = *ConnectNats({.servers = {nats().url()}});
  const auto states = connection->Subscribe(key);
  ASSERT_TRUE(connection->Request({.subject = "$JS.API.INFO"}).ok())
      << "the server has subscribed it";
  StopDaemon();
  fs::remove_all(Options().state_dir);
  StartDaemon(Options());
  for (std::string journal; journal != daemon().GetServerInfo().journal_id();) {
    const auto next = (*states)->Next(Patience());
    ASSERT_TRUE(next.ok() && next->has_value());
    journal = journal_of(**next);
    v1::Vm state;
    ASSERT_TRUE(state.ParseFromString((*next)->data));
    EXPECT_EQ(journal == replaced, state.last_sequence() == 5) << journal;
  }
  // Also the GAP of the journal that is lost.
  for (const NatsMessage& message : nats().Messages()) {
    v1::Event event;
    ASSERT_TRUE(event.ParseFromString(message.data));
    EXPECT_TRUE(event.durable()) << event.message();
  }
}

TEST_F(FleetTest, ANodePublishesItsHeartbeatAndItsStop) {
  nats().CreateFleet();
  StartPublishing({"--node", "node7.example"});
  const auto heartbeat = [&] {
    return LastOf<v1::NodeHeartbeat>(
        "KV_VMEVENTS_NODES", KeySubject(kNodesBucket, NodeBucketKey("test", "node7.example")));
  };
  ChattyVm vm(watch_dir(), "vm1");
  vm.Send(10);
  WaitNewest(11);
  WaitUntil("the heartbeat has the newest event", [&] {
    const v1::NodeHeartbeat now = heartbeat();
    return now.published_sequence() == 11 && now.newest_sequence() == 11 && now.vms() == 1;
  });
  EXPECT_EQ(heartbeat().node(), "node7.example");
  EXPECT_TRUE(heartbeat().has_interval());
  EXPECT_EQ(heartbeat().journal_id(), daemon().GetServerInfo().journal_id());
  EXPECT_TRUE(
      absl::StartsWith(nats().Messages().front().subject, "vmevents.v1.test.node7=2Eexample.vm1."));
  EXPECT_EQ(push().End(SIGTERM), 0);
  // The server may store its last message after the push has waited for that.
  WaitUntil("it says that it stopped", [&] { return !heartbeat().has_interval(); });
}

TEST_F(FleetTest, AMissingStreamIsReportedAndUsedOnceItIsThere) {
  StartPublishing();
  ChattyVm vm(watch_dir(), "vm1");
  vm.Send(10);
  push().WaitLog("there is no stream VMEVENTS: create it by `vmevents fleet create`");
  nats().CreateStream(std::string(kFleetStream));
  WaitNewest(11);
  ExpectComplete();
  push().WaitLog("accepts events again");
  // Buckets that are missing hold no event up.
  push().WaitLog("cannot write into the bucket VMEVENTS_VMS: nobody takes the messages");
  push().WaitLog("cannot write into the bucket VMEVENTS_NODES: nobody takes the messages");
}

// A bucket that does not answer does not report either whether it has a value.
TEST_F(FleetTest, UnresponsiveBucketsDelayEventsForABoundedTime) {
  nats().CreateStream(std::string(kFleetStream));
  for (const absl::string_view bucket : {kVmsBucket, kNodesBucket}) {
    nlohmann::json settings = nlohmann::json::parse(client::CreateRequest(BucketStream(bucket)));
    settings["no_ack"] = true;
    nats().CreateStream(BucketStream(bucket), settings);
  }
  StartPublishing();
  ChattyVm vm(watch_dir(), "vm1");
  for (uint64_t newest = 1; newest <= 3; ++newest) {
    WaitNewest(newest);
    WaitPublished();
    vm.Send(1);
  }
  push().WaitLog("cannot write into the bucket VMEVENTS_NODES: no answer from ");
  push().WaitLog("cannot write into the bucket VMEVENTS_VMS: no answer from ");
  const std::string key = KeySubject(kVmsBucket, VmBucketKey("test", NodeName(), "vm1"));
  EXPECT_GT(LastOf<v1::Vm>("KV_VMEVENTS_VMS", key).last_sequence(), 0u) << "it is written still";
}

TEST_F(FleetTest, AnEventThatIsTooLargeForTheStreamIsAGap) {
  nats().CreateFleet();
  StartPublishing();
  ChattyVm vm(watch_dir(), "vm1");
  vm.Send(1);
  WaitNewest(2);
  WaitPublished();
  size_t largest = 0;
  for (const NatsMessage& message : nats().Messages()) {
    size_t size = message.data.size() + sizeof("NATS/1.0\r\n\r\n");
    for (const auto& [name, value] : message.headers) size += name.size() + value.size() + 4;
    largest = std::max(largest, size);
  }
  nlohmann::json settings = nats().Ask("$JS.API.STREAM.INFO.VMEVENTS")["config"];
  settings["max_msg_size"] = largest + 50;
  nats().Ask("$JS.API.STREAM.UPDATE.VMEVENTS", settings.dump());
  const ChattyVm large(watch_dir(), std::string(60, 'v'));  // each message has its name four times
  WaitNewest(3);
  vm.Send(1);
  WaitNewest(4);
  WaitPublished();
  const NatsMessage third = nats().Messages().at(2);
  EXPECT_TRUE(absl::EndsWith(third.subject, ".=.gap")) << third.subject;
  v1::Event gap;
  ASSERT_TRUE(gap.ParseFromString(third.data));
  EXPECT_EQ(gap.missing().first(), 3u);
  EXPECT_EQ(gap.missing().last(), 3u);
  EXPECT_THAT(Published(), testing::ElementsAre(1, 2, 3, 4));
}

// The server's files are put back from a copy, and others write before the node comes back, also
// under its name.
TEST_F(FleetTest, AStreamRestoredFromACopyGetsTheMissingEventsAgain) {
  nats().CreateFleet();
  StartPublishing();
  ChattyVm vm(watch_dir(), "vm1");
  PublishFive(&vm);
  nats().Kill();
  fs::copy(dir() / "nats/js", dir() / "copy", fs::copy_options::recursive);
  nats().Start();
  vm.Send(5);
  WaitNewest(10);
  WaitPublished();
  push().WaitPosition(10);
  push().Signal(SIGSTOP);
  nats().Kill();
  fs::remove_all(dir() / "nats/js");
  fs::rename(dir() / "copy", dir() / "nats/js");
  nats().Start();
  OthersPublish(20);
  push().Signal(SIGCONT);
  vm.Send(2);
  WaitNewest(12);
  ExpectComplete();
  push().WaitLog("it has the events up to 5 of 10");
}

// The connection to the server stays, and others have written before the node does.
TEST_F(FleetTest, AStreamRecreatedWhileConnectedGetsAGap) {
  nats().CreateFleet();
  StartPublishing();
  ChattyVm vm(watch_dir(), "vm1");
  PublishFive(&vm);
  const std::string stream(kFleetStream);
  nats().DeleteStream(stream);
  nats().CreateStream(stream);
  OthersPublish(20);
  vm.Send(1);
  WaitNewest(6);
  WaitPublished();
  v1::Event gap;
  ASSERT_TRUE(gap.ParseFromString(nats().Messages().at(20).data));
  EXPECT_EQ(gap.type(), v1::EVENT_TYPE_GAP);
  EXPECT_EQ(gap.gap_reason(), v1::GAP_REASON_NOT_PUBLISHED);
  EXPECT_EQ(gap.missing().first(), 1u);
  EXPECT_EQ(gap.missing().last(), 5u);
  EXPECT_THAT(Published(), testing::ElementsAre(5, 6));
  push().WaitLog("has lost the node's last message");
}

TEST_F(FleetTest, MessagesDeletedByTheStreamsLimitsAreNoGap) {
  nats().CreateFleet();
  StartPublishing();
  ChattyVm vm(watch_dir(), "vm1");
  PublishFive(&vm);
  nlohmann::json settings = nats().Ask("$JS.API.STREAM.INFO.VMEVENTS")["config"];
  settings["max_msgs"] = 10;
  nats().Ask("$JS.API.STREAM.UPDATE.VMEVENTS", settings.dump());
  OthersPublish(20);
  vm.Send(1);
  WaitNewest(6);
  WaitPublished();
  EXPECT_EQ(nats().last_sequence(), 26u) << "a GAP, or events that come again";
  EXPECT_THAT(push().log(), testing::Not(HasSubstr("has lost")));
}

TEST_F(FleetTest, AServerAndAPushThatAreKilledLoseNothing) {
  nats().CreateFleet();
  StartPublishing();
  ChattyVm vm(watch_dir(), "vm1");
  for (int round = 0; round < 3; ++round) {
    const uint64_t before = nats().last_sequence();
    vm.Send(kBurst);
    WaitUntil("some of it is in the stream", [&] { return nats().last_sequence() > before; });
    push().End(SIGKILL);
    nats().Kill();
    WaitNewest(1 + (2 * round + 1) * kBurst);
    push().Start();
    vm.Send(kBurst);
    WaitNewest(1 + (2 * round + 2) * kBurst);
    nats().Start();
    WaitPublished();
  }
  ExpectComplete();
}

TEST_F(FleetTest, AnIdlePushIsNoLongerFailingOnceTheServerIsBack) {
  nats().CreateFleet();
  StartPublishing();
  const ChattyVm vm(watch_dir(), "vm1");
  WaitNewest(1);
  WaitPublished();
  nats().Kill();
  push().WaitLog("cannot deliver to");
  nats().Start();
  push().WaitLog("accepts events again");
}

// The stream names what it has: its last message is where the push continues.
TEST_F(FleetTest, APushThatLostItsPositionContinuesAfterItsLastMessage) {
  nats().CreateFleet();
  StartPublishing();
  ChattyVm vm(watch_dir(), "vm1");
  vm.Send(9);
  WaitNewest(10);
  WaitPublished();
  EXPECT_EQ(push().End(SIGTERM), 0);
  fs::remove_all(dir() / "push");
  push().Start();
  vm.Send(1);
  WaitNewest(11);
  ExpectComplete();
  EXPECT_EQ(nats().last_sequence(), 11u) << "nothing comes again";
}

TEST_F(FleetTest, EventsWithoutAnAcknowledgementAreSentAgain) {
  nats().CreateFleet();
  AnswerDropper dropper(nats().port());
  StartDaemon(Options());
  StartPush(absl::StrCat("nats://127.0.0.1:", dropper.port()));
  ChattyVm vm(watch_dir(), "vm1");
  vm.Send(10);
  WaitNewest(11);
  WaitPublished();
  dropper.DropAfterPublish();
  vm.Send(kBurst);
  WaitUntil("the server has some of it, and its answer is lost",
            [&] { return dropper.dropped() > 0 && nats().last_sequence() > 11; });
  push().WaitLog("no answer from vmevents.v1.");
  vm.Send(10);
  WaitNewest(21 + kBurst);
  ExpectComplete();
  EXPECT_GT(nats().last_sequence(), 21u + kBurst);
}

}  // namespace
}  // namespace vmeventd::e2e
