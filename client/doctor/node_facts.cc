#include "client/doctor/node_facts.h"

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace vmeventd::client {
namespace {

// Programs that run containers, as the cgroups of these name them.
constexpr absl::string_view kContainers[] = {"docker",     "libpod", "kubepods",
                                             "containerd", "crio",   "lxc.payload"};

}  // namespace

bool IsContained(const NodeProcess& process) {
  return absl::c_any_of(kContainers, [&process](absl::string_view name) {
    return absl::StrContains(process.cgroups, name);
  });
}

bool HasSocket(const NodeProcess& process, uint32_t inode) {
  return absl::c_any_of(process.sockets,
                        [inode](const auto& socket) { return socket.second == inode; });
}

std::string DescribeProcess(const NodeProcess& process) {
  return absl::StrCat(process.program, " (pid ", process.pid, ")");
}

}  // namespace vmeventd::client
