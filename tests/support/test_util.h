#ifndef VMEVENTD_TESTS_SUPPORT_TEST_UTIL_H_
#define VMEVENTD_TESTS_SUPPORT_TEST_UTIL_H_

#include <sys/resource.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/unique_fd.h"
#include "watcher/core/event_sink.h"
#include "watcher/core/vm_event.h"

namespace vmeventd {

// A directory of the test's own, removed with all that is in it.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string Path(const std::string& name) const { return path_ + "/" + name; }
  // Makes a directory within and returns its path.
  std::string MakeDirectory(const std::string& name) const;

 private:
  std::string path_;
};

// A clock that stands still between the test's own steps.
class ManualClock : public Clock {
 public:
  Instant Now() const override { return {absl::UnixEpoch() + now_, now_}; }
  void Advance(absl::Duration step) { now_ += step; }

 private:
  absl::Duration now_ = absl::Seconds(1000);
};

// Keeps what is pushed, and whether the VM's shutdown file was there at that moment.
class RecordingSink : public EventSink {
 public:
  struct Entry {
    VmUpdate update;
    bool shutdown_file = false;
  };

  void Push(VmUpdate update) override;
  void SetDirectories(std::vector<WatchedDirectory> directories) override;

  const std::vector<Entry>& entries() const { return entries_; }
  const std::vector<WatchedDirectory>& directories() const { return directories_; }

  // The events of a VM, by name, in order; of all VMs without one.
  std::vector<EventType> Types(const std::string& name = "") const;
  int Count(EventType type) const;
  // The newest status of a VM; null without any.
  const VmStatus* Latest(const std::string& name) const;
  // The newest event of a kind; null without any.
  const Entry* Last(EventType type) const;

 private:
  std::vector<Entry> entries_;
  std::vector<WatchedDirectory> directories_;
};

// Takes every descriptor that the process may still have, for its lifetime.
class FullDescriptorTable {
 public:
  FullDescriptorTable();
  ~FullDescriptorTable();
  FullDescriptorTable(const FullDescriptorTable&) = delete;
  FullDescriptorTable& operator=(const FullDescriptorTable&) = delete;

 private:
  rlimit before_{};
  std::vector<UniqueFd> taken_;
};

bool FileExists(const std::string& path);
void WriteFile(const std::string& path);

// Calls `step` until `done`, for half a minute at the most. Returns whether it came to be.
bool StepUntil(const std::function<void()>& step, const std::function<bool()>& done);

}  // namespace vmeventd

#endif  // VMEVENTD_TESTS_SUPPORT_TEST_UTIL_H_
