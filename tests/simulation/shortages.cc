#include "tests/simulation/shortages.h"

#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/simulation/daemon.h"
#include "tests/simulation/world.h"

namespace vmeventd::simulation {
namespace {

// Limit of refusals in a shortage: each VM and directory is tried again after longer and longer, up
// to five seconds, and the search for the QEMU of a socket asks once for each process. A caller
// that does not wait between is refused more often by far.
constexpr uint64_t kMaxRefused = 3'000;

// Name of what a descriptor was for.
std::string UseOf(absl::string_view call, const std::string& path) {
  if (call != "open") return std::string(call);
  if (absl::StartsWith(path, "/proc/")) return "open of a file of /proc";
  if (absl::StartsWith(path, "/sys/")) return "open of a file of /sys";
  if (absl::StartsWith(path, kStateDirectory)) {
    return absl::StrCat("open of ", path.substr(path.rfind('/') + 1));
  }
  if (path == kWatchedDirectory) return "open of the directory";
  if (absl::EndsWith(path, ".shutdown")) return "open of the shutdown file";
  if (absl::EndsWith(path, ".kvmd")) return "open of a socket";
  return absl::StrCat("open of ", path);
}

}  // namespace

Shortages::Shortages(Kernel* kernel, Random* random, Story* story)
    : kernel_(kernel), random_(random), story_(story) {
  kernel->set_descriptor_fault(
      [this](absl::string_view call, const std::string& path) { return Ask(call, path); });
}

void Shortages::Begin(bool at_start) {
  if (active()) return;
  error_ = random_->OneIn(3) ? ENFILE : EMFILE;
  const auto room = static_cast<size_t>(random_->OneIn(2) ? 0 : random_->Between(1, 6));
  max_ = at_start ? random_->Below(30) : kernel_->descriptors() + room;
  refused_ = 0;
  unopened_.clear();
  ++begun_;
  story_->Log("host", error_ == ENFILE ? "the system" : "the daemon",
              " may open no descriptor beyond ", max_);
}

void Shortages::End() {
  if (!active()) return;
  error_ = 0;
  story_->Log("host", "there are descriptors again; ", refused_, " were refused");
}

int Shortages::Ask(absl::string_view call, const std::string& path) {
  if (!active() || kernel_->descriptors() < max_) return 0;
  if (++refused_ > kMaxRefused) story_->Fail("descriptors are asked for without a pause");
  story_->Reach("no descriptor in ", UseOf(call, path));
  if (call == "open") unopened_.insert(path);
  return error_;
}

}  // namespace vmeventd::simulation
