#include "tests/support/fail.h"

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace vmeventd::e2e {

void Fail(const std::string& what) { throw std::runtime_error(what); }

void FailErrno(const std::string& what) { Fail(what + ": " + std::strerror(errno)); }

}  // namespace vmeventd::e2e
