#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/system.h"
#include "tests/support/nats_server.h"

namespace vmeventd::e2e {

// Three real NATS servers on loopback that are one cluster, each with files of its own. The last
// one's are on a small file system, where the program may mount one.
class NatsCluster {
 public:
  static constexpr int kServers = 3;

  explicit NatsCluster(const std::string& directory);
  ~NatsCluster();

  NatsServer& server(int index) { return *servers_[static_cast<size_t>(index)]; }
  std::vector<std::string> urls() const;
  std::string directory(int index) const;

  // Whether the last server's disk can be filled.
  bool small_disk() const { return small_disk_; }
  void FillDisk();
  void FreeDisk();

  // What the servers' monitoring says now, all together.
  struct Load {
    uint64_t connections = 0;
    uint64_t api_requests = 0;  // to JetStream, that were answered
    uint64_t api_waiting = 0;   // in the queue of the busiest one
    uint64_t api_errors = 0;
  };
  Load Measure() const;

  // Of the servers' files; of the servers' processes, in bytes.
  uint64_t DiskBytes() const;
  uint64_t ResidentBytes() const;

 private:
  const std::string directory_;
  bool small_disk_ = false;
  std::vector<uint16_t> monitoring_;  // ports
  std::vector<UniqueFd> held_ports_;  // hold these and the ports of the routes
  std::vector<std::unique_ptr<NatsServer>> servers_;
};

}  // namespace vmeventd::e2e
