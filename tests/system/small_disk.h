#pragma once

#include <sys/mount.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>

#include "gtest/gtest.h"

namespace vmeventd::e2e {

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
