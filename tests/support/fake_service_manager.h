#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.h"

namespace vmeventd::e2e {

// The service manager's side of sd_notify(3), on its own socket, with systemd's store of file
// descriptors: FDSTORE=1 stores the descriptors that come with it, FDSTOREREMOVE=1 closes those
// with a name, and a descriptor with BARRIER=1 is closed after all earlier messages were handled.
// Each method first handles everything that was sent so far, even by a process that has ended. Any
// thread.
class FakeServiceManager {
 public:
  explicit FakeServiceManager(const std::string& socket);
  ~FakeServiceManager();
  FakeServiceManager(const FakeServiceManager&) = delete;
  FakeServiceManager& operator=(const FakeServiceManager&) = delete;

  // The beginning of a command line that runs the rest like a service: with the variables of this
  // service manager, and the stored descriptors. The caller must hold `*copies` until the process
  // has started.
  std::vector<std::string> Wrapper(std::vector<UniqueFd>* copies) const;
  // Number of stored descriptors.
  size_t stored() const;
  // Closes the descriptors stored as `name`; without a name all, like systemd when the service is
  // stopped.
  void Drop(const std::string& name = "");
  // Number of notifications whose text begins with `begin`.
  int Count(const std::string& begin) const;
  // Waits for the next notification whose text begins with `begin`, after those that earlier calls
  // returned or skipped.
  std::string Next(const std::string& begin);

 private:
  void Run();
  // Handles everything that was sent so far. The caller must hold mutex_.
  void HandleSent() const;
  void Handle(const std::string& text, std::vector<UniqueFd> descriptors) const;

  const std::string path_;
  const UniqueFd socket_;
  const UniqueFd stop_;
  mutable std::mutex mutex_;
  mutable std::multimap<std::string, UniqueFd> store_;  // keyed by name; guarded by mutex_
  mutable std::vector<std::string> texts_;              // guarded by mutex_
  size_t next_ = 0;     // index of the next one in texts_; guarded by mutex_
  std::thread thread_;  // last: it uses the rest
};

}  // namespace vmeventd::e2e
