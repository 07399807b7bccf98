#pragma once

#include <cstdint>

namespace vmeventd {

// A disk that fails on demand, for every database opened while this exists: a shim in front of
// SQLite's own file layer. One at a time.
class FaultyDisk {
 public:
  FaultyDisk();
  ~FaultyDisk();
  FaultyDisk(const FaultyDisk&) = delete;
  FaultyDisk& operator=(const FaultyDisk&) = delete;

  // The result of each write, sync and growth from now on: SQLITE_FULL, SQLITE_IOERR_FSYNC, ...;
  // SQLITE_OK: it works again. The first `after` calls still succeed.
  void Fail(int code, int after = 0);
  // The result of each read from now on that begins at that byte of its file, or beyond it.
  void FailReads(int code, int64_t from = 0);
  // Works while paused, for the test's own use; then continues as before.
  void Pause(bool pause);
};

}  // namespace vmeventd
