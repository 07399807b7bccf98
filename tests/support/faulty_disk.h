#ifndef VMEVENTD_TESTS_SUPPORT_FAULTY_DISK_H_
#define VMEVENTD_TESTS_SUPPORT_FAULTY_DISK_H_

namespace vmeventd {

// A disk that fails on demand, for every database that is opened while this lives: SQLite's own
// file layer with a shim in front of it. One at a time.
class FaultyDisk {
 public:
  FaultyDisk();
  ~FaultyDisk();
  FaultyDisk(const FaultyDisk&) = delete;
  FaultyDisk& operator=(const FaultyDisk&) = delete;

  // What each write, sync and growth returns from now on: SQLITE_FULL, SQLITE_IOERR_FSYNC, ...;
  // SQLITE_OK: it works again. The first `after` calls still work.
  void Fail(int code, int after = 0);
  // It works, for what the test itself does, and then goes on as before.
  void Pause(bool pause);
};

}  // namespace vmeventd

#endif  // VMEVENTD_TESTS_SUPPORT_FAULTY_DISK_H_
