#pragma once

#include <functional>
#include <random>
#include <string>

namespace vmeventd {

// A disk that knows what it would hold if the power failed now, for every database opened while
// this exists and every file synced by fdatasync: the last synced state, plus any part of later
// writes, in any order, by sectors of 512 bytes. A shim in front of the file layer that SQLite has
// at construction. One at a time; one thread.
class PowerLossDisk {
 public:
  PowerLossDisk();
  ~PowerLossDisk();
  PowerLossDisk(const PowerLossDisk&) = delete;
  PowerLossDisk& operator=(const PowerLossDisk&) = delete;

  // Called before each write, truncation and sync of a database.
  void set_before_change(std::function<void()> before_change);

  // Makes the directory `to` what `from` would be after the power failed: journal and mark.
  void CutPower(const std::string& from, const std::string& to, std::mt19937_64& random) const;
};

}  // namespace vmeventd
