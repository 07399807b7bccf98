// The fleet under faults, as a program:
//
//   fleet_soak [--seconds N] [--nodes N] [--events N] [--daemons N] [--outage N] [--seed N]
//
// A cluster of three real NATS servers, --nodes simulated nodes that publish --events events each
// over the daemon's own publisher and sink, and --daemons real vmeventds. First all simulated nodes
// connect and publish at once, as after an upgrade. With --outage all servers are killed together
// for so many seconds, in which every node has an event; they come back together. Then for
// --seconds servers and daemons are killed -9 and started again at random, a daemon's network loses
// every packet, and the disk of one server is full. In the end the whole stream is read: nothing
// may be lost or be there twice, and the events of a node are in order. Exits 0 if that is so.

#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/nats/connection.h"
#include "base/nats/jetstream_api.h"
#include "base/nats/subject.h"
#include "nlohmann/json.hpp"
#include "server/fleet/publisher.h"
#include "spdlog/spdlog.h"
#include "tests/support/daemon.h"
#include "tests/support/tcp_relay.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/wait.h"
#include "tests/system/chatty_vm.h"
#include "tools/measure/fleet_soak/cluster.h"
#include "tools/measure/fleet_soak/node_processes.h"
#include "tools/measure/fleet_soak/simulated_node.h"
#include "tools/measure/fleet_soak/verdict.h"
#include "vmeventd/v1/fleet.pb.h"

namespace vmeventd::e2e {
namespace {

struct Options {
  int seconds = 20;
  int nodes = 50;
  int events = 100;
  int daemons = 2;
  int outage = 0;
  uint64_t seed = std::random_device()();
};

// How often something happens.
constexpr absl::Duration kBeat = absl::Milliseconds(250);
constexpr absl::Duration kLongestCut = absl::Seconds(12);
// How long the fleet may take until everything is published, once nothing fails any more: the
// longest wait of a publisher, and the time of the servers. Or until nodes know of each other.
constexpr absl::Duration kRecovery = absl::Minutes(10);

// A real vmeventd behind relays, with one VM.
class RealNode {
 public:
  RealNode(int number, NatsCluster* cluster, const std::string& directory)
      : cluster_name_(absl::StrCat("soak", number)) {
    std::string urls;
    for (int i = 0; i < NatsCluster::kServers; ++i) {
      relays_.push_back(std::make_unique<TcpRelay>(cluster->server(i).port()));
      absl::StrAppend(&urls, i == 0 ? "" : ",", "nats://127.0.0.1:", relays_.back()->port());
    }
    const std::string own = absl::StrCat(directory, "/", cluster_name_);
    std::filesystem::create_directories(own + "/ctrl");
    options_.watches = {own + "/ctrl"};
    options_.socket = own + "/vmeventd.sock";
    options_.state_dir = own + "/state";
    options_.log_file = own + "/log";
    options_.tuning = {"event-limits=off", "publish-heartbeat=5"};
    options_.arguments = {"--publish", urls, "--publish-cluster", cluster_name_};
    daemon_ = std::make_unique<Daemon>(options_);
    vm_ = std::make_unique<ChattyVm>(own + "/ctrl", "vm");
  }

  void Speak(int events) { vm_->Speak(events); }
  void Kill() {
    daemon_->Signal(SIGKILL);
    daemon_->WaitExit();
    daemon_ = std::make_unique<Daemon>(options_);
  }
  void Cut(bool cut) {
    for (const auto& relay : relays_) relay->Cut(cut);
  }
  Daemon& daemon() { return *daemon_; }
  const std::string& cluster_name() const { return cluster_name_; }
  const std::string& log_file() const { return options_.log_file; }

  std::vector<uint64_t> Sequences() {
    std::vector<uint64_t> sequences;
    for (const v1::Event& event : daemon_->ListEvents()) sequences.push_back(event.sequence());
    return sequences;
  }

 private:
  const std::string cluster_name_;
  std::vector<std::unique_ptr<TcpRelay>> relays_;
  DaemonOptions options_;
  std::unique_ptr<Daemon> daemon_;
  std::unique_ptr<ChattyVm> vm_;
};

// What reads the cluster, on a connection that is made again where that is needed.
class Reader {
 public:
  explicit Reader(NatsCluster* cluster) : cluster_(cluster) {}

  // JetStream's answer; an error is waited out.
  nlohmann::json Request(const std::string& subject, const nlohmann::json& body) {
    nlohmann::json answer;
    WaitUntil("JetStream answers " + subject, [&] {
      if (!Open()) return false;
      const auto message = connection_->Request(subject, body.dump());
      if (!message.ok()) return false;
      answer = nlohmann::json::parse((*message)->data(), nullptr, false);
      return answer.is_object() && (!answer.contains("error") || answer["error"]["code"] == 404);
    });
    return answer;
  }

  std::optional<std::string> LastData(absl::string_view stream, const std::string& subject) {
    const auto answer = Request(ApiSubject("STREAM.MSG.GET", stream), {{"last_by_subj", subject}});
    if (!answer.contains("message")) return std::nullopt;
    return ParseStoredMessage(answer.dump())->data;
  }

  // The copy of the stream that each server has. A server may have one that is never whole again
  // (docs/fleet-sizing.md): it is left out after kPatience.
  Copies ReadCopies() {
    Copies copies;
    const absl::Time end = absl::Now() + kPatience;
    while (copies.size() < NatsCluster::kServers && (copies.empty() || absl::Now() < end)) {
      ReadCopy(&copies);
    }
    return copies;
  }

 private:
  // A consumer reads the copy of a server that JetStream chooses. Adds nothing where it is not
  // whole yet.
  void ReadCopy(Copies* copies) {
    const uint64_t all = Request("$JS.API.STREAM.INFO.VMEVENTS", {})["state"]["messages"];
    const auto created =
        Request("$JS.API.CONSUMER.CREATE.VMEVENTS",
                {{"stream_name", "VMEVENTS"},
                 {"config",
                  {{"ack_policy", "none"},
                   {"deliver_policy", "all"},
                   // Not 5 s, in which this process may have no turn.
                   {"inactive_threshold", absl::ToInt64Nanoseconds(absl::Minutes(1))}}}});
    uint64_t left = created["num_pending"].get<uint64_t>();
    const std::string server =
        created.value("cluster", nlohmann::json::object()).value("leader", "");
    if (left != all || server.empty()) return absl::SleepFor(absl::Milliseconds(100));
    Sequences& sequences = (*copies)[server];
    sequences.clear();
    const std::string next =
        absl::StrCat("$JS.API.CONSUMER.MSG.NEXT.VMEVENTS.", created["name"].get<std::string>());
    while (left > 0) {
      const std::string inbox = *connection_->NewInbox();
      const auto messages = connection_->Subscribe(inbox, 10'000);
      if (!messages.ok()) Fail(std::string(messages.status().message()));
      const std::string request = R"({"batch":1000,"no_wait":true})";
      const absl::Status sent =
          connection_->Publish({.subject = next, .reply = inbox, .data = request});
      if (!sent.ok()) Fail(std::string(sent.message()));
      for (int i = 0; i < 1000 && left > 0; ++i) {
        const auto message = (*messages)->Next(kPatience);
        if (!message.ok() || *message == nullptr) Fail("the stream cannot be read");
        const std::string id = (*message)->header(kMessageIdHeader);
        if (id.empty()) break;  // no more of this batch
        const std::optional<FleetMessageId> parsed = ParseMessageId(id);
        if (!parsed.has_value()) Fail("a foreign message: " + id);
        sequences[parsed->journal_id].push_back(parsed->sequence);
        --left;
      }
    }
  }

  bool Open() {
    if (connection_ != nullptr && !connection_->closed()) return true;
    auto connection = ConnectNats({.servers = cluster_->urls(), .name = "fleet_soak"});
    if (!connection.ok()) return false;
    connection_ = *std::move(connection);
    return true;
  }

  NatsCluster* const cluster_;
  std::unique_ptr<NatsConnection> connection_;
};

std::string MakeDirectory(const std::string& path) {
  std::filesystem::create_directories(path);
  return path;
}

class Soak {
 public:
  explicit Soak(const Options& options) : options_(options), random_(options.seed) {
    std::cout << "fleet_soak --seed " << options.seed << ": " << options.nodes
              << " simulated nodes x " << options.events << " events, " << options.daemons
              << " daemons, " << options.seconds << " s" << std::endl;
    if (!cluster_.small_disk()) {
      std::cout << "no disk is filled: mounting a small one takes root" << std::endl;
    }
  }

  std::vector<std::string> Run() {
    MakeStream();
    Storm();
    if (options_.outage > 0) Outage();
    for (int i = 0; i < options_.daemons; ++i) {
      daemons_.push_back(std::make_unique<RealNode>(i, &cluster_, directory_.path()));
    }
    Faults();
    Repair();
    WaitPublished();
    return Check();
  }

 private:
  int Random(int below) { return static_cast<int>(random_() % static_cast<uint64_t>(below)); }
  absl::Duration RandomBetween(absl::Duration from, absl::Duration to) {
    return from + absl::Milliseconds(Random(static_cast<int>((to - from) / absl::Milliseconds(1))));
  }

  // With a window, in which it notices repeated messages, that outlasts what a cut network delivers
  // late, and little more.
  void MakeStream() {
    WaitUntil("the cluster has a leader and three servers", [&] {
      const auto answer =
          reader_.Request("$JS.API.STREAM.CREATE.VMEVENTS",
                          {{"name", "VMEVENTS"},
                           {"subjects", {"vmevents.v1.>"}},
                           {"storage", "file"},
                           {"num_replicas", NatsCluster::kServers},
                           {"duplicate_window", absl::ToInt64Nanoseconds(2 * kLongestCut)}});
      return !answer.contains("error");
    });
    for (const absl::string_view bucket : {kVmsBucket, kNodesBucket}) {
      reader_.Request(ApiSubject("STREAM.CREATE", BucketStream(bucket)),
                      nlohmann::json::parse(CreateBucketRequest(bucket, NatsCluster::kServers)));
    }
  }

  // All nodes connect and publish at once.
  void Storm() {
    const uint64_t idle_memory = cluster_.ResidentBytes();
    const absl::Time begin = absl::Now();
    // The rest is published under faults.
    const auto first =
        static_cast<uint64_t>(options_.seconds > 0 ? (options_.events + 1) / 2 : options_.events);
    for (int i = 0; i < nodes_.size(); ++i) nodes_.Add(i, first);
    WaitNodes();
    const absl::Duration took = absl::Now() - begin;
    const auto info = reader_.Request(ApiSubject("STREAM.INFO", kFleetStream), {});
    const uint64_t messages = info["state"]["messages"];
    const uint64_t bytes = info["state"]["bytes"];
    std::cout << "storm: " << options_.nodes << " nodes connected and published " << messages
              << " events in " << absl::FormatDuration(took) << "; " << bytes / messages
              << " bytes of stream an event; resident memory of the three servers "
              << idle_memory / 1024 << " KiB before, " << cluster_.ResidentBytes() / 1024
              << " KiB after; their files " << cluster_.DiskBytes() / 1024 << " KiB" << std::endl;
  }

  // All servers are away, and come back together. How the nodes return to them.
  void Outage() {
    WaitForEach("do not know how many nodes there are", [this](const NodeShare& node) {
      // The rest changes little of how long they wait.
      return 10 * node.known >= 9 * static_cast<uint64_t>(options_.nodes);
    });
    for (int i = 0; i < NatsCluster::kServers; ++i) cluster_.server(i).Kill();
    for (int i = 0; i < nodes_.size(); ++i) nodes_.Add(i, 1);
    absl::SleepFor(absl::Seconds(options_.outage));
    for (int i = 0; i < NatsCluster::kServers; ++i) cluster_.server(i).Start();
    const absl::Time begin = absl::Now();
    std::vector<uint64_t> connections;  // in each second
    std::vector<absl::Duration> back;   // when each node had published all
    std::vector<int> away(static_cast<size_t>(nodes_.size()));
    std::iota(away.begin(), away.end(), 0);
    NatsCluster::Load most;
    while (!away.empty()) {
      const NatsCluster::Load load = cluster_.Measure();
      const absl::Duration since = absl::Now() - begin;
      nodes_.Check();
      if (since > kRecovery) {
        FailForEach("do not publish", [](const NodeShare& node) { return node.published(); });
      }
      connections.resize(static_cast<size_t>(since / absl::Seconds(1)) + 1,
                         connections.empty() ? 0 : connections.back());
      connections.back() = std::max(connections.back(), load.connections);
      most.api_waiting = std::max(most.api_waiting, load.api_waiting);
      std::erase_if(away, [&](int node) {
        const bool published = nodes_[node].published();
        if (published) back.push_back(since);
        return published;
      });
      absl::SleepFor(absl::Milliseconds(100));
    }
    uint64_t most_a_second = 0;
    for (size_t i = 1; i < connections.size(); ++i) {
      if (connections[i] <= connections[i - 1]) continue;
      most_a_second = std::max(most_a_second, connections[i] - connections[i - 1]);
    }
    const NatsCluster::Load load = cluster_.Measure();
    std::cout << "outage of " << options_.outage << " s: half of the nodes had published after "
              << absl::FormatDuration(back[back.size() / 2]) << ", all after "
              << absl::FormatDuration(back.back()) << "; at most " << most_a_second
              << " connections in a second; JetStream's API had " << load.api_requests
              << " requests, at most " << most.api_waiting << " of them waiting in one server, and "
              << load.api_errors << " errors; resident memory of the three servers "
              << cluster_.ResidentBytes() / 1024 << " KiB" << std::endl;
  }

  // Waits until something is so, for kRecovery; false: it has not become so.
  static bool Becomes(const std::function<bool()>& is_so) {
    const absl::Time end = absl::Now() + kRecovery;
    while (!is_so()) {
      if (absl::Now() > end) return false;
      absl::SleepFor(absl::Milliseconds(100));
    }
    return true;
  }
  void WaitNodes() {
    WaitForEach("do not publish", [](const NodeShare& node) { return node.published(); });
  }
  // `what`: what nodes do where that does not become so.
  void WaitForEach(const std::string& what, const std::function<bool(const NodeShare&)>& is_so) {
    const absl::Time end = absl::Now() + kRecovery;
    for (int i = 0; i < nodes_.size(); ++i) {
      while (!is_so(nodes_[i])) {
        nodes_.Check();
        if (absl::Now() > end) FailForEach(what, is_so);
        absl::SleepFor(absl::Milliseconds(10));
      }
    }
  }

  [[noreturn]] void FailForEach(const std::string& what,
                                const std::function<bool(const NodeShare&)>& is_so) {
    std::vector<std::string> late;
    for (int i = 0; i < nodes_.size(); ++i) {
      const NodeShare& node = nodes_[i];
      if (is_so(node)) continue;
      late.push_back(absl::StrCat(SimulatedNode::NameOf(i), " (", node.position.load(), " of ",
                                  node.newest.load(), ", ", node.heartbeats.load(), " heartbeats, ",
                                  node.failures.load(), " + ", node.bucket_failures.load(),
                                  " failures, knows of ", node.known.load(), ")"));
    }
    const size_t count = late.size();
    late.resize(std::min(count, size_t{10}));
    throw std::runtime_error(
        absl::StrCat(count, " nodes: ", what, ": ", absl::StrJoin(late, ", ")));
  }

  // Something that ends later.
  struct Later {
    absl::Time at;
    std::function<void()> end;
  };

  void Faults() {
    const absl::Time end = absl::Now() + absl::Seconds(options_.seconds);
    while (absl::Now() < end) {
      Speak();
      if (Random(4) == 0) Break();
      RunLater(absl::Now());
      absl::SleepFor(kBeat);
    }
  }

  void Speak() {
    for (const auto& daemon : daemons_) {
      if (Random(2) == 0) daemon->Speak(1 + Random(60));
    }
    for (int i = 0; i < options_.nodes / 20 + 1; ++i) {
      const int node = Random(options_.nodes);
      const auto all = static_cast<uint64_t>(options_.events);
      if (nodes_[node].newest < all) nodes_.Add(node, 1 + static_cast<uint64_t>(Random(3)));
    }
  }

  void Break() {
    switch (Random(4)) {
      case 0: {
        const int index = Random(NatsCluster::kServers);
        if (down_[index]) return;
        down_[index] = true;
        ++counts_["servers killed"];
        cluster_.server(index).Kill();
        later_.push_back({absl::Now() + RandomBetween(absl::Seconds(1), absl::Seconds(6)),
                          [this, index] { StartServer(index); }});
        return;
      }
      case 1:
        if (daemons_.empty()) return;
        ++counts_["daemons killed"];
        daemons_[static_cast<size_t>(Random(options_.daemons))]->Kill();
        return;
      case 2: {
        if (daemons_.empty()) return;
        RealNode* const node = daemons_[static_cast<size_t>(Random(options_.daemons))].get();
        ++counts_["daemons partitioned"];
        node->Cut(true);
        later_.push_back({absl::Now() + RandomBetween(absl::Seconds(2), kLongestCut),
                          [node] { node->Cut(false); }});
        return;
      }
      default: {
        constexpr int kLast = NatsCluster::kServers - 1;
        if (!cluster_.small_disk() || full_ || down_[kLast] || Random(4) != 0) return;
        full_ = true;
        ++counts_["disks filled"];
        cluster_.FillDisk();
        later_.push_back({absl::Now() + RandomBetween(absl::Seconds(3), absl::Seconds(8)),
                          [this] { EmptyDisk(); }});
        return;
      }
    }
  }

  void StartServer(int index) {
    cluster_.server(index).Start();
    down_[index] = false;
  }

  // A server whose disk was full has turned JetStream off until it is started again.
  void EmptyDisk() {
    constexpr int kLast = NatsCluster::kServers - 1;
    cluster_.FreeDisk();
    full_ = false;
    if (down_[kLast]) return;
    cluster_.server(kLast).Kill();
    StartServer(kLast);
  }

  void RunLater(absl::Time now) {
    std::vector<Later> due;
    std::erase_if(later_, [&](Later& later) {
      if (later.at > now) return false;
      due.push_back(std::move(later));
      return true;
    });
    for (const Later& later : due) later.end();
  }

  void Repair() {
    RunLater(absl::InfiniteFuture());
    for (int i = 0; i < nodes_.size(); ++i) {
      const auto all = static_cast<uint64_t>(options_.events);
      if (const uint64_t newest = nodes_[i].newest; newest < all) nodes_.Add(i, all - newest);
    }
  }

  // Everything is in the stream, and the buckets say so.
  void WaitPublished() {
    const absl::Time begin = absl::Now();
    WaitNodes();
    for (const auto& daemon : daemons_) {
      if (!Becomes([&] { return HeartbeatIsNewest(daemon.get()); })) {
        Fail(daemon->cluster_name() + " does not publish its events");
      }
    }
    std::cout << "after the faults everything was published within "
              << absl::FormatDuration(absl::Now() - begin) << std::endl;
  }

  bool HeartbeatIsNewest(RealNode* node) {
    const v1::GetServerInfoResponse info = node->daemon().GetServerInfo();
    const std::optional<std::string> data = reader_.LastData(
        BucketStream(kNodesBucket),
        KeySubject(kNodesBucket, NodeBucketKey(node->cluster_name(), info.node())));
    v1::NodeHeartbeat heartbeat;
    return data.has_value() && heartbeat.ParseFromString(*data) &&
           heartbeat.journal_id() == info.journal_id() &&
           heartbeat.published_sequence() == info.newest_sequence();
  }

  std::vector<std::string> Check() {
    Sequences journals;
    uint64_t late = 0;
    uint64_t repeated = 0;
    uint64_t failures = 0;
    for (int i = 0; i < nodes_.size(); ++i) {
      const NodeShare& node = nodes_[i];
      std::vector<uint64_t>& sequences = journals[SimulatedNode::JournalIdOf(i)];
      for (uint64_t sequence = 1; sequence <= node.newest; ++sequence) {
        sequences.push_back(sequence);
      }
      late += node.late;
      repeated += node.repeated;
      failures += node.failures;
    }
    for (const auto& daemon : daemons_) {
      journals[daemon->daemon().GetServerInfo().journal_id()] = daemon->Sequences();
    }
    const absl::Time begin = absl::Now();
    Verdict verdict = Judge(reader_.ReadCopies(), journals, FleetPublisher::kMaxBatchEvents);
    std::cout << "read " << verdict.messages << " messages of " << verdict.copies << " servers in "
              << absl::FormatDuration(absl::Now() - begin) << "; " << verdict.late
              << " late; simulated nodes counted " << late << " late, " << repeated
              << " repeated and left out, " << failures << " failures" << std::endl;
    for (const auto& [what, count] : counts_) std::cout << "  " << what << ": " << count << "\n";
    for (const std::string& note : verdict.servers) std::cout << "  " << note << "\n";
    CheckBuckets(&verdict.findings);
    return verdict.findings;
  }

  // The last state of each simulated node's VM is that of its newest event.
  void CheckBuckets(std::vector<std::string>* findings) {
    for (int i = 0; i < nodes_.size(); ++i) {
      const std::string key = KeySubject(
          kVmsBucket,
          VmBucketKey(kSimulatedCluster, SimulatedNode::NameOf(i), absl::StrCat("vm", i)));
      const auto is_newest = [&] {
        const std::optional<std::string> data = reader_.LastData(BucketStream(kVmsBucket), key);
        v1::Vm vm;
        return data.has_value() && vm.ParseFromString(*data) &&
               vm.last_sequence() == nodes_[i].newest;
      };
      if (!Becomes(is_newest)) {
        findings->push_back(absl::StrCat("the bucket has not the last state of ", key));
        return;
      }
    }
  }

  const Options options_;
  std::mt19937_64 random_;
  const TemporaryDirectory directory_;
  NatsCluster cluster_{directory_ / "cluster"};
  // Before there is another thread.
  NodeProcesses nodes_{options_.nodes, cluster_.urls(), MakeDirectory(directory_ / "nodes")};
  Reader reader_{&cluster_};
  std::vector<std::unique_ptr<RealNode>> daemons_;
  std::map<int, bool> down_;  // servers
  bool full_ = false;
  std::vector<Later> later_;
  std::map<std::string, int> counts_;
};

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("The fleet under faults");
  app.add_option("--seconds", options.seconds);
  app.add_option("--nodes", options.nodes)->check(CLI::PositiveNumber);
  app.add_option("--events", options.events)->check(CLI::PositiveNumber);
  app.add_option("--daemons", options.daemons);
  app.add_option("--outage", options.outage);
  app.add_option("--seed", options.seed);
  CLI11_PARSE(app, argc, argv);
  // A server has a connection for each node.
  const auto files = static_cast<rlim_t>(std::max(NodeProcesses::kFiles, options.nodes + 600));
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < files) {
    limit = {files, std::max(files, limit.rlim_max)};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
      std::cerr << "fleet_soak: cannot open " << files << " files: use root, or fewer nodes\n";
      return EXIT_FAILURE;
    }
  }
  // What each simulated node logs of its connections is no news here.
  spdlog::set_level(spdlog::level::err);
  std::vector<std::string> findings;
  try {
    findings = Soak(options).Run();
  } catch (const std::exception& error) {
    findings.emplace_back(error.what());
  }
  for (const std::string& finding : findings) std::cout << "  " << finding << "\n";
  std::cout << (findings.empty() ? "nothing is lost, nothing is twice, each node is in order"
                                 : absl::StrCat(findings.size(), " findings"))
            << std::endl;
  return findings.empty() ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace vmeventd::e2e

int main(int argc, char** argv) { return vmeventd::e2e::Main(argc, argv); }
