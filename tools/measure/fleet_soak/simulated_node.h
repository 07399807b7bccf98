#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "server/fleet/fleet_sink.h"
#include "server/fleet/outbox.h"
#include "server/fleet/publisher.h"
#include "tools/measure/fleet_soak/node_threads.h"

namespace vmeventd::e2e {

// A journal in memory: its events 1 to N, of one VM.
class MemoryOutbox : public Outbox {
 public:
  MemoryOutbox(std::string journal_id, std::string vm);

  void Add(uint64_t count) { newest_ += count; }
  uint64_t newest_sequence() const { return newest_; }

  Range range() const override { return {journal_id_, 1}; }
  Newest newest() const override;
  std::vector<VmRecordPtr> vms() const override;
  uint64_t vms_version() const override { return newest_; }
  void Interrupt() override {}
  absl::StatusOr<std::vector<EventBlockPtr>> Read(const std::string& journal_id, uint64_t first,
                                                  size_t max_bytes) override;

 private:
  const std::string journal_id_;
  const std::string vm_;
  std::atomic<uint64_t> newest_ = 0;
};

// A node without QEMUs and disk: the daemon's publisher and sink over a journal in memory.
class SimulatedNode {
 public:
  // `threads` outlive it.
  SimulatedNode(int number, const std::vector<std::string>& servers, const std::string& directory,
                NodeThreads* threads,
                double events_per_second = PublisherOptions().events_per_second);
  ~SimulatedNode();

  static std::string NameOf(int number);
  static std::string JournalIdOf(int number);

  void Add(uint64_t events);
  uint64_t newest() const { return outbox_.newest_sequence(); }
  const FleetMeters& meters() const { return publisher_->meters(); }

 private:
  MemoryOutbox outbox_;
  std::unique_ptr<FleetSink> sink_;
  std::unique_ptr<FleetPublisher> publisher_;
  NodeThreads* const threads_;
};

// The cluster's name in the subjects of simulated nodes.
inline constexpr char kSimulatedCluster[] = "simulated";

}  // namespace vmeventd::e2e
