#include "tests/support/network_namespace.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/support/child_process.h"
#include "tests/support/wait.h"

namespace vmeventd::e2e {
namespace {

// An address of a pair that no other test of this machine has: a subnet for each process.
std::string Address(int host) {
  constexpr int kSubnets = 1 << 14;
  const int subnet = getpid() % kSubnets;
  return absl::StrCat("10.213.", subnet / 64, ".", subnet % 64 * 4 + host);
}

void Ip(const std::string& arguments) {
  ChildOptions command;
  command.arguments = absl::StrSplit(absl::StrCat("ip ", arguments), ' ');
  const CommandResult result = RunCommand(command);
  if (result.exit_code != 0) Fail(absl::StrCat("ip ", arguments, ": ", result.error));
}

}  // namespace

NetworkNamespace::NetworkNamespace()
    : name_(absl::StrCat("vmeventd-test-", getpid())),
      host_device_(absl::StrCat("vme", getpid() % 10'000'000, "h")),
      host_address_(Address(1)) {
  const std::string device = absl::StrCat("vme", getpid() % 10'000'000, "n");
  Ip("netns add " + name_);
  Ip(absl::StrCat("link add ", host_device_, " type veth peer name ", device, " netns ", name_));
  Ip(absl::StrCat("address add ", host_address_, "/30 dev ", host_device_));
  Ip(absl::StrCat("link set ", host_device_, " up"));
  Ip(absl::StrCat("-netns ", name_, " address add ", Address(2), "/30 dev ", device));
  Ip(absl::StrCat("-netns ", name_, " link set ", device, " up"));
  Ip(absl::StrCat("-netns ", name_, " link set lo up"));
}

NetworkNamespace::~NetworkNamespace() {
  // The device goes with the namespace, and with it the other end of the pair, once no process is
  // left there.
  Ip("link delete " + host_device_);
  Ip("netns delete " + name_);
}

std::vector<std::string> NetworkNamespace::wrapper() const {
  return {"nsenter", "--net=/run/netns/" + name_};
}

void NetworkNamespace::Cut(bool cut) const {
  Ip(absl::StrCat("link set ", host_device_, cut ? " down" : " up"));
}

}  // namespace vmeventd::e2e
