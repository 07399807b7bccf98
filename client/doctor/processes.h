#ifndef VMEVENTD_CLIENT_DOCTOR_PROCESSES_H_
#define VMEVENTD_CLIENT_DOCTOR_PROCESSES_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace vmeventd::client {

// The facts of a process in /proc, without those that the reader may not see.
struct NodeProcess {
  int64_t pid = 0;
  std::string program;                 // its name, at most 15 bytes
  std::vector<std::string> arguments;  // the program first
  char state = '?';                    // of ps: R, S, D, T, ...
  bool stopped() const { return state == 'T' || state == 't'; }
  std::string user;                 // whose it is
  std::string network_namespace;    // names it; empty: not visible
  bool sees_descriptors = false;    // that `sockets` is known
  std::map<int, uint32_t> sockets;  // the inodes of its sockets, by descriptor
  uint64_t descriptor_limit = 0;    // 0: not known
};

// All processes that are visible in `proc`, by pid, but for kernel threads and zombies. A process
// that ends meanwhile is left out.
std::vector<NodeProcess> ReadProcesses(const std::string& proc = "/proc");

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_DOCTOR_PROCESSES_H_
