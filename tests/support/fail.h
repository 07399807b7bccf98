#pragma once

#include <string>

namespace vmeventd::e2e {

// Fails a test by std::runtime_error, which GoogleTest reports after everything is cleaned up.
[[noreturn]] void Fail(const std::string& what);
// Like Fail(), and adds the text of errno.
[[noreturn]] void FailErrno(const std::string& what);

}  // namespace vmeventd::e2e
