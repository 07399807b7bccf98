// Measures how fast one node publishes what waits, and what an event costs it: the daemon's
// publisher and sink over a journal in memory, into a NATS server on this machine whose stream is
// on disk. The floor is the same messages sent to the same server without waiting for a word on
// each.
//
//   fleet_bench [EVENTS]

#include <cstdint>
#include <cstdio>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "base/nats/connection.h"
#include "server/fleet/cloud_event.h"
#include "tests/support/nats_server.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/wait.h"
#include "tools/measure/fleet_soak/simulated_node.h"

namespace vmeventd::e2e {
namespace {

double CpuSeconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

// Runs `publish` and waits until the stream has so many events; prints what that took.
template <typename Publish>
double Measure(const char* what, NatsServer* server, uint64_t events, const Publish& publish) {
  const double cpu = CpuSeconds();
  const absl::Time begin = absl::Now();
  publish();
  while (server->last_sequence() < events) absl::SleepFor(absl::Milliseconds(10));
  const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  const double rate = static_cast<double>(events) / seconds;
  std::printf("%-12s %8.0f events/s, %5.2f us of CPU an event\n", what, rate,
              (CpuSeconds() - cpu) / static_cast<double>(events) * 1e6);
  return rate;
}

double MeasureNode(uint64_t events) {
  const TemporaryDirectory directory;
  NatsServer server(directory / "nats");
  server.CreateFleet();
  NodeThreads threads(1);
  SimulatedNode node(0, {server.url()}, directory.path(), &threads, 1e9);
  return Measure("vmeventd", &server, events, [&] { node.Add(events); });
}

double MeasureFloor(uint64_t events) {
  const TemporaryDirectory directory;
  NatsServer server(directory / "nats");
  server.CreateFleet();
  MemoryOutbox outbox("00000000-0000-4000-8000-000000000000", "vm0");
  outbox.Add(events);
  const auto connection = ConnectNats({.servers = {server.url()}, .name = "fleet_bench"});
  if (!connection.ok()) Fail(std::string(connection.status().message()));
  const FleetEncoder encoder({kSimulatedCluster, "node0", "journal"}, PublishFormat::kProtobuf, "");
  std::vector<FleetMessage> messages;
  for (uint64_t next = 1; next <= events;) {
    const auto blocks = outbox.Read("", next, 1);
    const EventBlock& block = *blocks->front();
    for (size_t i = 0; i < block.size(); ++i) {
      messages.push_back(encoder.Encode(block.at(i), block.EncodedView(i)));
    }
    next = block.last_sequence() + 1;
  }
  return Measure("floor", &server, events, [&] {
    for (const FleetMessage& message : messages) {
      const absl::Status sent = (*connection)
                                    ->Publish({.subject = message.subject,
                                               .data = message.payload,
                                               .headers = &message.headers});
      if (!sent.ok()) Fail(std::string(sent.message()));
    }
    if (!(*connection)->Flush(absl::Minutes(5)).ok()) Fail("the server does not read");
  });
}

}  // namespace
}  // namespace vmeventd::e2e

int main(int argc, char** argv) {
  uint64_t events = 300'000;
  if (argc > 2 || (argc == 2 && !absl::SimpleAtoi(argv[1], &events)) || events == 0) {
    std::fprintf(stderr, "usage: %s [EVENTS]\n", argv[0]);
    return 2;
  }
  if (const absl::Status loaded = vmeventd::LoadNatsLibrary(); !loaded.ok()) {
    std::fprintf(stderr, "%s\n", std::string(loaded.message()).c_str());
    return 1;
  }
  const double floor = vmeventd::e2e::MeasureFloor(events);
  const double node = vmeventd::e2e::MeasureNode(events);
  std::printf("%-12s %8.2f of the floor's rate\n", "ratio", node / floor);
  return 0;
}
