#include "base/random_bytes.h"

#include <sys/random.h>

#include <cstdlib>

namespace vmeventd {

std::string RandomBytes(size_t count) {
  std::string bytes(count, '\0');
  // getrandom() does not fail for so few bytes.
  if (getrandom(bytes.data(), count, 0) != static_cast<ssize_t>(count)) std::abort();
  return bytes;
}

}  // namespace vmeventd
