#include "tools/measure/fleet_soak/node_processes.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <memory>
#include <new>
#include <optional>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/support/wait.h"
#include "tools/measure/fleet_soak/node_threads.h"
#include "tools/measure/fleet_soak/simulated_node.h"

namespace vmeventd::e2e {
namespace {

// How often a process looks what its nodes shall do.
constexpr absl::Duration kLook = absl::Milliseconds(100);
// So many nodes of a process may wait for an answer at a time.
constexpr int kMostThreads = 200;

NodeShare* MakeShares(int nodes) {
  void* const memory = mmap(nullptr, static_cast<size_t>(nodes) * sizeof(NodeShare),
                            PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) Fail("there is no memory for the nodes");
  auto* const shares = static_cast<NodeShare*>(memory);
  for (int i = 0; i < nodes; ++i) new (shares + i) NodeShare();
  return shares;
}

}  // namespace

NodeProcesses::NodeProcesses(int nodes, std::vector<std::string> servers,
                             const std::string& directory)
    : nodes_(nodes), shares_(MakeShares(nodes)) {
  for (int first = 0; first < nodes; first += kNodesAProcess) {
    const pid_t process = fork();
    if (process < 0) Fail("a process for the nodes cannot be made");
    if (process == 0) Run(first, std::min(first + kNodesAProcess, nodes), servers, directory);
    processes_.push_back(process);
    // Else each begins with the same one.
    std::rotate(servers.begin(), servers.begin() + 1, servers.end());
  }
}

NodeProcesses::~NodeProcesses() {
  for (const pid_t process : processes_) {
    kill(process, SIGKILL);
    waitpid(process, nullptr, 0);
  }
  munmap(shares_, static_cast<size_t>(nodes_) * sizeof(NodeShare));
}

void NodeProcesses::Check() {
  std::erase_if(processes_, [](pid_t process) {
    if (waitpid(process, nullptr, WNOHANG) == 0) return false;
    Fail("a process with simulated nodes has ended");
    return true;
  });
}

void NodeProcesses::Run(int first, int last, const std::vector<std::string>& servers,
                        const std::string& directory) const {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  try {
    NodeThreads threads(std::min(last - first, kMostThreads));
    std::vector<std::unique_ptr<SimulatedNode>> nodes;
    const double share = static_cast<double>(last - first) / nodes_;
    std::optional<absl::Time> begin;
    while (true) {
      absl::SleepFor(kLook);
      if (!begin.has_value() && shares_[first].newest > 0) begin = absl::Now();
      const double since = begin.has_value() ? absl::ToDoubleSeconds(absl::Now() - *begin) : 0;
      const double begun = kBeginsASecond * share * since;
      for (int i = first; i < last; ++i) {
        NodeShare& shared = shares_[i];
        const auto index = static_cast<size_t>(i - first);
        if (index == nodes.size()) {
          if (shared.newest == 0 || (nodes_ > kAtOnce && static_cast<double>(index) > begun)) break;
          nodes.push_back(std::make_unique<SimulatedNode>(i, servers, directory, &threads));
        }
        SimulatedNode& node = *nodes[index];
        if (const uint64_t wanted = shared.newest; wanted > node.newest()) {
          node.Add(wanted - node.newest());
        }
        shared.known = node.meters().nodes.value();
        shared.late = node.meters().late_events.value();
        shared.repeated = node.meters().repeated_events.value();
        shared.failures = node.meters().failures.value();
        shared.bucket_failures = node.meters().bucket_failures.value();
        shared.heartbeats = node.meters().heartbeats.value();
        shared.position = node.meters().position.value();
      }
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
    _exit(EXIT_FAILURE);
  }
}

}  // namespace vmeventd::e2e
