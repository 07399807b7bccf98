// Measures what the fleet's stream costs a NATS server, over TLS: memory of connections and of
// subjects, and, once the stream is full, how fast it stores and what a node's look-ups and a
// restart take. One server, files on disk.
//
//   fleet_sizing [--mib N] [--nodes N] [--connections N]
//
// --mib: limit of the stream (1,024); --nodes: each has 50 VMs with five kinds of events (1,000);
// --connections: that are open and idle (1,000).

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/fleet/create_fleet.h"
#include "client/fleet/fleet_buckets.h"
#include "client/fleet/fleet_message.h"
#include "client/fleet/fleet_subjects.h"
#include "client/nats/connection.h"
#include "client/nats/domain.h"
#include "client/nats/jetstream.h"
#include "client/nats/message.h"
#include "client/output/time_text.h"
#include "nlohmann/json.hpp"
#include "tests/support/fail.h"
#include "tests/support/nats_server.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_certificates.h"
#include "tests/support/wait.h"
#include "tools/measure/process_costs.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::e2e {
namespace {

using client::ApiSubject;
using client::BucketStream;
using client::ConnectNats;
using client::KeySubject;
using client::kFleetStream;
using client::kVmsBucket;
using client::NatsConnection;
using client::NatsMessage;
using client::NatsSubscription;
using client::NodeSubjectPrefix;
using client::ReadStreamState;
using client::VmBucketKey;

constexpr int kVmsOfNode = 50;
constexpr v1::EventType kKinds[] = {v1::EVENT_TYPE_STARTED, v1::EVENT_TYPE_PAUSED,
                                    v1::EVENT_TYPE_RESUMED, v1::EVENT_TYPE_RESET,
                                    v1::EVENT_TYPE_STOPPED};

struct Options {
  uint64_t mib = 1024;
  int nodes = 1'000;
  int connections = 1'000;
};

std::string NodeName(int node) { return absl::StrCat("node", node); }

NatsMessage MessageOf(int node, int vm, v1::EventType kind, uint64_t sequence) {
  v1::Event event;
  event.set_sequence(sequence);
  *event.mutable_observe_time() = ToTimestamp(absl::Now());
  event.set_type(kind);
  event.mutable_vm()->set_name(absl::StrCat("vm", vm));
  event.mutable_vm()->set_run_id(
      absl::StrCat("00000000-0000-0000-0000-000000000000/4711/123456789/vm", vm));
  event.mutable_vm()->set_source("qmp:/run/ganeti/kvm-hypervisor/ctrl");
  event.set_qmp_event("RESET");
  event.set_message("the guest was reset");
  event.set_detail_json(R"({"guest":true,"reason":"guest-reset"})");
  return *client::FleetMessageOf(
      event, {NodeName(node), "sizing", absl::StrCat("journal-of-", node), {}}, /*json=*/false);
}

class Sizing {
 public:
  explicit Sizing(const Options& options) : options_(options) {
    WaitUntil("the server answers", [&] { return Connect(&admin_); });
    nlohmann::json stream = nlohmann::json::parse(client::CreateRequest(std::string(kFleetStream)));
    stream["max_bytes"] = options_.mib << 20;
    Request(ApiSubject("STREAM.CREATE", kFleetStream), stream.dump());
    Request(ApiSubject("STREAM.CREATE", BucketStream(kVmsBucket)),
            client::CreateRequest(BucketStream(kVmsBucket)));
  }

  void Run() {
    std::printf("idle server: %.0f MiB\n", Resident());
    MeasureConnections();
    MeasureSubjects();
    MeasureFull();
    MeasureLookUps();
    MeasureRestart();
  }

 private:
  bool Connect(std::unique_ptr<NatsConnection>* connection) const {
    auto made = ConnectNats(
        {.servers = {absl::StrCat("tls://127.0.0.1:", server_.port())},
         .name = "fleet_sizing",
         .tls = client::TlsOptions{authority_->certificate(), client_.certificate, client_.key}});
    if (made.ok()) *connection = *std::move(made);
    return made.ok();
  }
  nlohmann::json Request(const std::string& subject, const std::string& text) {
    const auto answer = admin_->Request({.subject = subject, .data = text}, absl::Minutes(1));
    if (!answer.ok()) Fail(std::string(answer.status().message()));
    nlohmann::json json = nlohmann::json::parse(*answer);
    if (json.contains("error") && json["error"]["code"] != 404) Fail(json.dump());
    return json;
  }
  nlohmann::json StateOf(absl::string_view stream) {
    return Request(ApiSubject("STREAM.INFO", stream), "")["state"];
  }
  // In MiB.
  double Resident() const { return bench::ResidentKib(server_.pid()) / 1024; }
  // Of the server, in seconds: other work on the machine does not count.
  double CpuSeconds() const { return absl::ToDoubleSeconds(bench::CpuOf(server_.pid())); }
  void Publish(const NatsMessage& message) {
    const absl::Status sent = admin_->Publish(message);
    if (!sent.ok()) Fail(std::string(sent.message()));
    // The server must not get more than it stores in time.
    if (++sent_ % 10'000 == 0) Settle(kFleetStream);
  }
  // Waits until what was sent is stored.
  void Settle(absl::string_view stream) {
    const auto read = admin_->Request({.subject = "$JS.API.INFO"}, absl::Minutes(5));
    if (!read.ok()) Fail("the server does not read");
    StateOf(stream);
  }
  // An event of each VM and kind.
  void PublishRound() {
    ++round_;
    for (int node = 0; node < options_.nodes; ++node) {
      uint64_t sequence = (round_ - 1) * kVmsOfNode * std::size(kKinds);
      for (int vm = 0; vm < kVmsOfNode; ++vm) {
        for (const v1::EventType kind : kKinds) Publish(MessageOf(node, vm, kind, ++sequence));
      }
    }
    Settle(kFleetStream);
  }

  void MeasureConnections() {
    const double before = Resident();
    std::vector<std::unique_ptr<NatsConnection>> connections(
        static_cast<size_t>(options_.connections));
    std::vector<std::unique_ptr<NatsSubscription>> subscriptions;
    for (auto& connection : connections) {
      if (!Connect(&connection)) Fail("the server takes no more connections");
      auto subscription = connection->Subscribe(absl::StrCat(connection->NewInbox(), ".>"));
      if (!subscription.ok()) Fail(std::string(subscription.status().message()));
      subscriptions.push_back(*std::move(subscription));
    }
    std::printf("a connection over TLS: %.0f KiB\n",
                (Resident() - before) * 1024 / options_.connections);
  }

  void MeasureSubjects() {
    const double before = Resident();
    PublishRound();
    const uint64_t subjects = StateOf(kFleetStream)["num_subjects"];
    std::printf("%lu subjects in the stream: %.0f MiB, %.0f bytes a subject\n", subjects,
                Resident(), (Resident() - before) * (1 << 20) / static_cast<double>(subjects));
    const double with_stream = Resident();
    const std::string value(200, 'x');
    for (int node = 0; node < options_.nodes; ++node) {
      for (int vm = 0; vm < kVmsOfNode; ++vm) {
        const std::string key = VmBucketKey("sizing", NodeName(node), absl::StrCat("vm", vm));
        Publish({.subject = KeySubject(kVmsBucket, key),
                 .data = value,
                 .headers = {
                     {"ce-source", absl::StrCat("/vmevents/sizing/", NodeName(node), "/journal")},
                     {"ce-datacontenttype", "application/protobuf"}}});
      }
    }
    Settle(BucketStream(kVmsBucket));
    const uint64_t keys = StateOf(BucketStream(kVmsBucket))["num_subjects"];
    std::printf("%lu keys in the bucket: %.0f MiB more\n", keys, Resident() - with_stream);
  }

  void MeasureFull() {
    while (StateOf(kFleetStream)["first_seq"] == 1) PublishRound();
    const absl::Time begin = absl::Now();
    const double cpu = CpuSeconds();
    const uint64_t last = StateOf(kFleetStream)["last_seq"];
    PublishRound();
    const nlohmann::json state = StateOf(kFleetStream);
    const uint64_t stored = state["last_seq"].get<uint64_t>() - last;
    std::printf(
        "full: %lu MiB, %lu messages of %lu bytes, %.0f MiB of memory; it stores %.0f a second, "
        "with %.1f us of CPU each\n",
        options_.mib, state["messages"].get<uint64_t>(),
        state["bytes"].get<uint64_t>() / state["messages"].get<uint64_t>(), Resident(),
        static_cast<double>(stored) / absl::ToDoubleSeconds(absl::Now() - begin),
        (CpuSeconds() - cpu) * 1e6 / static_cast<double>(stored));
  }

  // Prints the median and the longest of what 50 nodes ask, and the server's CPU time for each.
  template <typename Text>
  void MeasureRequest(const char* what, const std::string& subject, const Text& text) {
    std::vector<absl::Duration> took;
    const double cpu = CpuSeconds();
    for (int i = 0; i < 50; ++i) {
      const std::string asked = text(i * options_.nodes / 50);
      const absl::Time begin = absl::Now();
      Request(subject, asked);
      took.push_back(absl::Now() - begin);
    }
    std::sort(took.begin(), took.end());
    std::printf("%-60s %8.2f ms, at most %8.2f ms; %8.2f ms of CPU\n", what,
                absl::ToDoubleMilliseconds(took[took.size() / 2]),
                absl::ToDoubleMilliseconds(took.back()), (CpuSeconds() - cpu) * 1e3 / 50);
  }

  void MeasureLookUps() {
    const nlohmann::json state = StateOf(kFleetStream);
    const uint64_t first = state["first_seq"];
    const uint64_t last = state["last_seq"];
    const auto last_of = [](const std::string& node) {
      return nlohmann::json{{"last_by_subj", NodeSubjectPrefix("sizing", node) + ">"}}.dump();
    };
    const std::string get = ApiSubject("STREAM.MSG.GET", kFleetStream);
    MeasureRequest("a node's last message", get, [&](int node) { return last_of(NodeName(node)); });
    MeasureRequest("that of a node that has none", get,
                   [&](int node) { return last_of(absl::StrCat("none", node)); });
    MeasureRequest("the message at a place", get, [&](int node) {
      const uint64_t place = first + (last - first) * static_cast<uint64_t>(node) /
                                         static_cast<uint64_t>(options_.nodes);
      return nlohmann::json{{"seq", place}}.dump();
    });
    MeasureRequest("the state of the stream", ApiSubject("STREAM.INFO", kFleetStream),
                   [](int /*node*/) { return ""; });
  }

  void MeasureRestart() {
    server_.Kill();
    const absl::Time begin = absl::Now();
    server_.Start();
    WaitUntil("the stream is there again",
              [&] { return Connect(&admin_) && ReadStreamState(admin_.get(), kFleetStream).ok(); });
    std::printf("after kill -9 the stream is there after %.1f s, with %.0f MiB\n",
                absl::ToDoubleSeconds(absl::Now() - begin), Resident());
  }

  const Options options_;
  const TemporaryDirectory directory_;
  const std::unique_ptr<CertificateAuthority> authority_ =
      MakeCertificateAuthority(directory_.path());
  const CertificateFiles certificate_ = authority_->Issue(ServerCertificate());
  const CertificateFiles client_ = authority_->Issue(ClientCertificate("vmevents://node"));
  NatsServer server_{
      directory_ / "nats",
      absl::StrCat("max_connections: 20000\ntls { cert_file: \"", certificate_.certificate,
                   "\", key_file: \"", certificate_.key, "\", ca_file: \"",
                   authority_->certificate(), "\", verify: true }\n")};
  std::unique_ptr<NatsConnection> admin_;
  uint64_t sent_ = 0;
  uint64_t round_ = 0;
};

}  // namespace
}  // namespace vmeventd::e2e

int main(int argc, char** argv) {
  vmeventd::e2e::Options options;
  CLI::App app;
  app.add_option("--mib", options.mib);
  app.add_option("--nodes", options.nodes);
  app.add_option("--connections", options.connections);
  CLI11_PARSE(app, argc, argv);
  setvbuf(stdout, nullptr, _IOLBF, 0);
  vmeventd::e2e::Sizing(options).Run();
  return 0;
}
