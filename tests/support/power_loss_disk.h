#pragma once

#include <functional>
#include <random>
#include <string>

namespace vmeventd {

// A disk that can show its content after a power failure: the last synced state, plus any part of
// later writes, in any order, by sectors of 512 bytes. Covers every database that is opened while
// this object exists, and every file that is synced by fdatasync. A shim in front of the file layer
// that SQLite uses at construction. One object at a time; one thread.
class PowerLossDisk {
 public:
  PowerLossDisk();
  ~PowerLossDisk();
  PowerLossDisk(const PowerLossDisk&) = delete;
  PowerLossDisk& operator=(const PowerLossDisk&) = delete;

  // Sets a function that is called before each write, truncation and sync of a database.
  void set_before_change(std::function<void()> before_change);

  // Makes the directory `to` with what `from` would contain after a power failure: the journal and
  // the mark.
  void CutPower(const std::string& from, const std::string& to, std::mt19937_64& random) const;
};

}  // namespace vmeventd
