#include "tests/simulation/disk_faults.h"

#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/simulation/daemon.h"

namespace vmeventd::simulation {

DiskFaults::DiskFaults(Kernel* kernel, Random* random, Story* story)
    : random_(random), story_(story) {
  kernel->set_call_fault(
      [this](absl::string_view call, const std::string& path) { return Ask(call, path); });
}

void DiskFaults::Begin() {
  if (active()) return;
  error_ = random_->OneIn(2) ? ENOSPC : EIO;
  // The file that is written and synced only where the log is merged into it.
  database_only_ = error_ == EIO && random_->OneIn(3);
  syncs_only_ = error_ == EIO && random_->OneIn(3);
  reads_too_ = error_ == EIO && !syncs_only_ && random_->OneIn(2);
  // The mark is written over itself, which needs no room in most file systems.
  mark_too_ = random_->OneIn(error_ == ENOSPC ? 3 : 2);
  one_in_ = random_->OneIn(2) ? 1 : static_cast<uint64_t>(random_->Between(2, 20));
  story_->Log("disk", error_ == ENOSPC ? "is full" : "has errors",
              database_only_ ? ", in journal.db" : "", syncs_only_ ? ", of syncs" : "",
              reads_too_ ? ", of reads too" : "", mark_too_ ? ", also for the sequence mark" : "",
              one_in_ > 1 ? absl::StrCat(", in one of ", one_in_, " calls") : "");
}

void DiskFaults::End() {
  if (!active()) return;
  error_ = 0;
  story_->Log("disk", "works again");
}

int DiskFaults::Ask(absl::string_view call, const std::string& path) {
  if (!active() || !absl::StartsWith(path, kStateDirectory)) return 0;
  if (database_only_ && !absl::EndsWith(path, "/journal.db")) return 0;
  if (!mark_too_ && absl::EndsWith(path, "/sequence")) return 0;
  const bool sync = call == "fsync";
  const bool write = call == "write" || call == "truncate";
  const bool read = call == "read";
  const bool fails = syncs_only_ ? sync : write || (error_ == EIO && sync) || (reads_too_ && read);
  if (!fails || !random_->OneIn(one_in_)) return 0;
  story_->Reach("fault ", error_ == ENOSPC ? "ENOSPC" : "EIO", " in ", call, " of ",
                path.substr(path.rfind('/') + 1));
  return error_;
}

}  // namespace vmeventd::simulation
