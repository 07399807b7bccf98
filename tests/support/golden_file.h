#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"

namespace vmeventd {

// Expects that a text is that of a golden file, whose path is relative to the source tree. With
// VMEVENTS_WRITE_CAPTURES=1 it writes the file again: read the difference.
inline void ExpectGolden(const std::string& path, const std::string& text) {
  const std::string file = absl::StrCat(VMEVENTD_SOURCE_DIR "/", path);
  if (std::getenv("VMEVENTS_WRITE_CAPTURES") != nullptr) std::ofstream(file) << text;
  std::ifstream golden(file);
  EXPECT_EQ(text, std::string(std::istreambuf_iterator<char>(golden), {})) << path;
}

}  // namespace vmeventd
