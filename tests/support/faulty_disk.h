#pragma once

#include <cstdint>

namespace vmeventd {

// A disk that fails on demand, for every database that is opened while this object exists: a shim
// in front of SQLite's own file layer. One object at a time.
class FaultyDisk {
 public:
  FaultyDisk();
  ~FaultyDisk();
  FaultyDisk(const FaultyDisk&) = delete;
  FaultyDisk& operator=(const FaultyDisk&) = delete;

  // Sets the result of each write, sync and growth from now on: SQLITE_FULL, SQLITE_IOERR_FSYNC,
  // ...; SQLITE_OK: the disk works again. The first `after` calls still succeed.
  void Fail(int code, int after = 0);
  // Sets the result of each read from now on that includes byte `from` of its file or a later one.
  void FailReads(int code, int64_t from = 0);
  // Pauses the faults, or resumes them: the disk works meanwhile, for the test's own use.
  void Pause(bool pause);
};

}  // namespace vmeventd
