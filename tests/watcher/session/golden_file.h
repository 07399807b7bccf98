#pragma once

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
