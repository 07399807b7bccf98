#pragma once

namespace vmeventd {

// The project's version in the top CMakeLists.txt.
extern const char kVersion[];

}  // namespace vmeventd
