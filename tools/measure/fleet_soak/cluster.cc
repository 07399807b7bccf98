#include "tools/measure/fleet_soak/cluster.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/system.h"
#include "nlohmann/json.hpp"
#include "tests/support/loopback.h"
#include "tests/support/wait.h"

namespace vmeventd::e2e {
namespace {

constexpr char kSmallDisk[] = "size=768m";

}  // namespace

NatsCluster::NatsCluster(const std::string& directory) : directory_(directory) {
  for (int i = 0; i < kServers; ++i) std::filesystem::create_directories(this->directory(i));
  small_disk_ = mount("tmpfs", this->directory(kServers - 1).c_str(), "tmpfs", 0, kSmallDisk) == 0;
  std::array<uint16_t, kServers> ports{};
  for (uint16_t& port : ports) held_ports_.push_back(HoldOnLoopback(&port));
  for (int i = 0; i < kServers; ++i) {
    held_ports_.push_back(HoldOnLoopback(&monitoring_.emplace_back()));
  }
  std::string routes;
  for (const uint16_t port : ports) {
    absl::StrAppend(&routes, routes.empty() ? "" : ", ", "\"nats://127.0.0.1:", port, "\"");
  }
  for (int i = 0; i < kServers; ++i) {
    servers_.push_back(std::make_unique<NatsServer>(
        this->directory(i),
        absl::StrCat("server_name: s", i,
                     "\nhttp: \"127.0.0.1:", monitoring_[static_cast<size_t>(i)],
                     "\"\nmax_connections: 20000\ncluster { name: soak, listen: \"127.0.0.1:",
                     ports[static_cast<size_t>(i)], "\", routes: [", routes, " ] }\n")));
  }
}

NatsCluster::~NatsCluster() {
  servers_.clear();
  if (small_disk_) umount2(directory(kServers - 1).c_str(), MNT_DETACH);
}

std::vector<std::string> NatsCluster::urls() const {
  std::vector<std::string> urls;
  for (const auto& server : servers_) urls.push_back(server->url());
  return urls;
}

std::string NatsCluster::directory(int index) const {
  return absl::StrCat(directory_, "/s", index);
}

void NatsCluster::FillDisk() {
  const std::string path = directory(kServers - 1) + "/filler";
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  std::array<char, 65536> block{};
  while (write(fd.get(), block.data(), block.size()) > 0) {
  }
}

void NatsCluster::FreeDisk() { std::filesystem::remove(directory(kServers - 1) + "/filler"); }

NatsCluster::Load NatsCluster::Measure() const {
  Load load;
  for (const uint16_t port : monitoring_) {
    load.connections += AskMonitoring(port, "/varz").value("connections", uint64_t{0});
    const nlohmann::json api = AskMonitoring(port, "/jsz").value("api", nlohmann::json::object());
    load.api_requests += api.value("total", uint64_t{0});
    load.api_errors += api.value("errors", uint64_t{0});
    const nlohmann::json queues = AskMonitoring(port, "/ipqueuesz?all=1");
    for (const auto& [name, queue] : queues.items()) {
      if (!absl::StrContains(name, "JS API") && !absl::StrContains(name, "JetStream API")) continue;
      load.api_waiting = std::max(load.api_waiting, queue.value("pending", uint64_t{0}));
    }
  }
  return load;
}

uint64_t NatsCluster::DiskBytes() const {
  uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_)) {
    std::error_code gone;
    if (entry.path().filename() == "filler" || !entry.is_regular_file(gone)) continue;
    struct stat status {};
    if (stat(entry.path().c_str(), &status) == 0) {
      bytes += static_cast<uint64_t>(status.st_blocks) * 512;
    }
  }
  return bytes;
}

uint64_t NatsCluster::ResidentBytes() const {
  uint64_t pages = 0;
  for (const auto& server : servers_) {
    uint64_t size = 0;
    uint64_t resident = 0;
    std::ifstream(absl::StrCat("/proc/", server->pid(), "/statm")) >> size >> resident;
    pages += resident;
  }
  return pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace vmeventd::e2e
