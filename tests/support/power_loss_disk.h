#ifndef VMEVENTD_TESTS_SUPPORT_POWER_LOSS_DISK_H_
#define VMEVENTD_TESTS_SUPPORT_POWER_LOSS_DISK_H_

#include <functional>
#include <random>
#include <string>

namespace vmeventd {

// A disk that knows what it would hold if the power failed now, for every database that is opened
// while this lives, and for every file that is synced by fdatasync: of each what was synced last,
// and of what was written since then any part, in any order, by sectors of 512 bytes. A shim in
// front of the file layer that SQLite has when this is made. One at a time; one thread.
class PowerLossDisk {
 public:
  PowerLossDisk();
  ~PowerLossDisk();
  PowerLossDisk(const PowerLossDisk&) = delete;
  PowerLossDisk& operator=(const PowerLossDisk&) = delete;

  // Called before each write, truncation and sync of a database.
  void set_before_change(std::function<void()> before_change);

  // Makes `to`, a directory, what `from` would be after the power failed: journal and mark.
  void CutPower(const std::string& from, const std::string& to, std::mt19937_64& random) const;
};

}  // namespace vmeventd

#endif  // VMEVENTD_TESTS_SUPPORT_POWER_LOSS_DISK_H_
