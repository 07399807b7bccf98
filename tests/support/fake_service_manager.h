#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/system.h"

namespace vmeventd::e2e {

// The service manager's side of sd_notify(3), on a socket of its own, with systemd's store of file
// descriptors: FDSTORE=1 keeps those that come with it, FDSTOREREMOVE=1 closes those of a name, and
// what comes with BARRIER=1 is closed when all before it is done. A caller of any method sees all
// that was sent by then, as by a process that has ended. Any thread.
class FakeServiceManager {
 public:
  explicit FakeServiceManager(const std::string& socket);
  ~FakeServiceManager();
  FakeServiceManager(const FakeServiceManager&) = delete;
  FakeServiceManager& operator=(const FakeServiceManager&) = delete;

  // The begin of a command line that runs the rest as a process that it starts: with its variables,
  // and what is stored, of which `*copies` are held until it runs.
  std::vector<std::string> Wrapper(std::vector<UniqueFd>* copies) const;
  // Number of descriptors that it keeps.
  size_t stored() const;
  // Closes what it keeps as `name`, or all, as systemd when the service is stopped.
  void Drop(const std::string& name = "");
  // Number of notifications whose text begins so.
  int Count(const std::string& begin) const;
  // Waits for the next one whose text begins so, after those that it has returned or passed over.
  std::string Next(const std::string& begin);

 private:
  void Run();
  // Handles all that was sent by now. mutex_ is held.
  void HandleSent() const;
  void Handle(const std::string& text, std::vector<UniqueFd> descriptors) const;

  const std::string path_;
  const UniqueFd socket_;
  const UniqueFd stop_;
  mutable std::mutex mutex_;
  mutable std::multimap<std::string, UniqueFd> store_;  // keyed by name; guarded by mutex_
  mutable std::vector<std::string> texts_;              // guarded by mutex_
  size_t next_ = 0;                                     // of texts_; guarded by mutex_
  std::thread thread_;                                  // last: it uses the rest
};

}  // namespace vmeventd::e2e
