#pragma once

#include <sys/mount.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tests/system/e2e_test.h"

namespace vmeventd::e2e {

// Shared by the tests of journal failures.
class JournalTestBase : public E2eTest {
 protected:
  // Filling a journal takes more events than the limits admit.
  JournalTestBase() { LimitEvents(false); }

  std::string journal_path() const { return Options().state_dir + "/journal.db"; }

  // grpc.health.v1: whether the service is SERVING.
  bool Serving(const std::string& service);
  // All events of ListEvents.
  std::vector<v1::Event> ListEvents();
  // How a stream with this start ends, if it is refused.
  grpc::Status TryCursor(uint64_t after, const std::string& journal_id);
  void KillDaemon();

  // Expects increasing sequences, with a hole only before a GAP of the node.
  static void ExpectInOrder(const std::vector<v1::Event>& events);
  static size_t CountGaps(const std::vector<v1::Event>& events);
};

// Tests whose state directory is a file system of its own, of a size as "16m".
template <typename Base>
class OnSmallDisk : public Base {
 protected:
  explicit OnSmallDisk(const char* size) {
    const std::string state = this->Options().state_dir;
    std::filesystem::create_directory(state);
    const std::string options = std::string("mode=0750,size=") + size;
    mounted_ = mount("tmpfs", state.c_str(), "tmpfs", 0, options.c_str()) == 0;
    error_ = errno;
  }
  ~OnSmallDisk() override {
    this->StopDaemon();
    if (mounted_) umount2(this->Options().state_dir.c_str(), MNT_DETACH);
  }
  void SetUp() override {
    if (!mounted_) GTEST_SKIP() << "a tmpfs may not be mounted here: " << std::strerror(error_);
  }

  std::string filler() const { return this->Options().state_dir + "/filler"; }

 private:
  bool mounted_ = false;
  int error_ = 0;
};

// A cursor of `journal_id`.
v1::WatchEventsRequest After(uint64_t sequence, const std::string& journal_id);

// The names of moved-aside journals in `directory`.
std::vector<std::string> CorruptJournals(const std::string& directory);

}  // namespace vmeventd::e2e
