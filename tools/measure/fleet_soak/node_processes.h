#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace vmeventd::e2e {

// What this process and the one that has the node know of it, in memory that they share.
struct NodeShare {
  std::atomic<uint64_t> newest = 0;    // events that the node shall have; it begins with the first
  std::atomic<uint64_t> position = 0;  // all up to here are published
  std::atomic<uint64_t> known = 0;     // nodes of the fleet, as it counts them
  std::atomic<uint64_t> late = 0;      // its counters
  std::atomic<uint64_t> repeated = 0;
  std::atomic<uint64_t> failures = 0;
  std::atomic<uint64_t> bucket_failures = 0;
  std::atomic<uint64_t> heartbeats = 0;

  bool published() const { return position == newest; }
};

// Simulated nodes, in processes of their own: 10,000 need more descriptors and threads than one
// process is given.
class NodeProcesses {
 public:
  static constexpr int kNodesAProcess = 3'300;
  // Up to so many nodes begin at once; of more, kBeginsASecond do.
  static constexpr int kAtOnce = 1'000;
  static constexpr int kBeginsASecond = 200;
  // In each process: a connection and a file for each node, and what a program has beside.
  static constexpr int kFiles = 2 * kNodesAProcess + 600;

  // Forks: while this process has no other thread.
  NodeProcesses(int nodes, std::vector<std::string> servers, const std::string& directory);
  ~NodeProcesses();

  int size() const { return nodes_; }
  NodeShare& operator[](int node) const { return shares_[node]; }
  void Add(int node, uint64_t events) const { shares_[node].newest += events; }
  // Throws if one of the processes has ended.
  void Check();

 private:
  // Does not return.
  [[noreturn]] void Run(int first, int last, const std::vector<std::string>& servers,
                        const std::string& directory) const;

  const int nodes_;
  NodeShare* const shares_;
  std::vector<pid_t> processes_;
};

}  // namespace vmeventd::e2e
