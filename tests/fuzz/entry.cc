// libFuzzer's way into a target.

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

void FUZZ_TARGET(absl::string_view input);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FUZZ_TARGET({reinterpret_cast<const char*>(data), size});
  return 0;
}
