#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/match.h"

namespace vmeventd {

// Counts the inotify watches that this process holds.
inline int InotifyWatches() {
  int count = 0;
  for (const auto& info : std::filesystem::directory_iterator("/proc/self/fdinfo")) {
    std::ifstream in(info.path());
    for (std::string line; std::getline(in, line);) count += absl::StartsWith(line, "inotify wd:");
  }
  return count;
}

}  // namespace vmeventd
