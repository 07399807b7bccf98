#ifndef VMEVENTD_TESTS_WATCHER_SESSION_GOLDEN_FILE_H_
#define VMEVENTD_TESTS_WATCHER_SESSION_GOLDEN_FILE_H_

#include <fstream>
#include <sstream>
#include <string>

#include "gtest/gtest.h"

namespace vmeventd {

// The text of a file of this repository, by its path from the root.
inline std::string ReadSourceFile(const std::string& path) {
  std::ifstream in(std::string(VMEVENTD_SOURCE_DIR) + "/" + path);
  EXPECT_TRUE(in.good()) << "cannot read " << path;
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace vmeventd

#endif  // VMEVENTD_TESTS_WATCHER_SESSION_GOLDEN_FILE_H_
