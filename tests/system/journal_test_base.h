#pragma once

#include <sys/mount.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>

#include "tests/system/e2e_test.h"

namespace vmeventd::e2e {

// A cursor of `journal_id`.
inline v1::WatchEventsRequest After(uint64_t sequence, const std::string& journal_id) {
  v1::WatchEventsRequest request;
  request.set_after_sequence(sequence);
  request.set_journal_id(journal_id);
  return request;
}

// Shared by the tests of journal failures.
class JournalTestBase : public E2eTest {
 protected:
  // Filling a journal takes more events than the limits admit.
  JournalTestBase() { LimitEvents(false); }

  // How a stream with this start ends, if it is refused.
  grpc::Status TryCursor(uint64_t after, const std::string& journal_id) {
    grpc::ClientContext context;
    const auto reader = daemon().stub().WatchEvents(&context, After(after, journal_id));
    v1::WatchEventsResponse response;
    if (!reader->Read(&response)) return reader->Finish();
    context.TryCancel();
    reader->Finish();
    return grpc::Status::OK;
  }
  void KillDaemon() { EndDaemon(SIGKILL); }
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

}  // namespace vmeventd::e2e
