#include "tools/measure/fleet_soak/simulated_node.h"

#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/clock.h"
#include "base/nats/subject.h"
#include "server/events/event_block.h"
#include "server/events/event_codec.h"
#include "server/fleet/jetstream_sink.h"
#include "tests/support/wait.h"

namespace vmeventd::e2e {
namespace {

const SystemClock kClock;

v1::Event EventAt(uint64_t sequence, const std::string& vm) {
  v1::Event event;
  event.set_sequence(sequence);
  *event.mutable_observe_time() = ToTimestamp(absl::Now());
  event.set_type(v1::EVENT_TYPE_RESET);
  event.mutable_vm()->set_name(vm);
  event.mutable_vm()->set_run_id("00000000-0000-0000-0000-000000000000/4711/123456789/" + vm);
  event.mutable_vm()->set_source("qmp:/run/ganeti/kvm-hypervisor/ctrl");
  event.set_qmp_event("RESET");
  event.set_message("the guest was reset");
  event.set_detail_json(R"({"guest":true,"reason":"guest-reset"})");
  return event;
}

}  // namespace

MemoryOutbox::MemoryOutbox(std::string journal_id, std::string vm)
    : journal_id_(std::move(journal_id)), vm_(std::move(vm)) {}

Outbox::Newest MemoryOutbox::newest() const { return {newest_, absl::Now(), 1}; }

std::vector<VmRecordPtr> MemoryOutbox::vms() const {
  v1::Vm vm;
  *vm.mutable_ref() = EventAt(1, vm_).vm();
  vm.set_state(v1::VM_STATE_RUNNING);
  vm.set_last_sequence(newest_);
  return {std::make_shared<const VmRecord>(vm)};
}

absl::StatusOr<std::vector<EventBlockPtr>> MemoryOutbox::Read(const std::string& /*journal_id*/,
                                                              uint64_t first, size_t max_bytes) {
  const uint64_t last = newest_;
  std::vector<EventBlockPtr> blocks;
  for (size_t bytes = 0; first <= last && bytes < max_bytes;) {
    EventBlockBuilder builder;
    while (first <= last && !builder.full()) builder.Add(EventAt(first++, vm_));
    blocks.push_back(builder.Finish());
    bytes += blocks.back()->Encoded(0, blocks.back()->size()).size();
  }
  return blocks;
}

SimulatedNode::SimulatedNode(int number, const std::vector<std::string>& servers,
                             const std::string& directory, NodeThreads* threads,
                             double events_per_second)
    : outbox_(JournalIdOf(number), absl::StrCat("vm", number)), threads_(threads) {
  const std::string name = NameOf(number);
  JetStreamOptions options;
  options.nats.servers = servers;
  options.nats.name = name;
  options.cluster = kSimulatedCluster;
  options.node = name;
  auto sink = MakeJetStreamSink(std::move(options));
  if (!sink.ok()) Fail(std::string(sink.status().message()));
  sink_ = *std::move(sink);
  auto file = PositionFile::Open(absl::StrCat(directory, "/", name), name);
  if (!file.ok()) Fail(std::string(file.status().message()));
  publisher_ =
      std::make_unique<FleetPublisher>(PublisherOptions{.cluster = kSimulatedCluster,
                                                        .node = name,
                                                        .events_per_second = events_per_second,
                                                        .version = "simulated",
                                                        .heartbeat = absl::Seconds(30)},
                                       sink_.get(), &outbox_, *std::move(file), &kClock,
                                       [] { return absl::Uniform(absl::BitGen(), 0.0, 1.0); });
  threads_->Add(publisher_.get());
}

std::string SimulatedNode::NameOf(int number) { return absl::StrCat("node", number); }

std::string SimulatedNode::JournalIdOf(int number) {
  return absl::StrFormat("00000000-0000-4000-8000-%012d", number);
}

SimulatedNode::~SimulatedNode() {
  publisher_->Stop();
  threads_->Remove(publisher_.get());
}

void SimulatedNode::Add(uint64_t events) {
  outbox_.Add(events);
  threads_->Wake(publisher_.get());
}

}  // namespace vmeventd::e2e
