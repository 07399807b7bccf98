#include "base/random.h"

#include <openssl/rand.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace vmeventd {

absl::StatusOr<std::string> RandomBytes(size_t count) {
  std::string bytes(count, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(count)) != 1) {
    return absl::InternalError("OpenSSL has no random bytes to give");
  }
  return bytes;
}

absl::StatusOr<std::string> RandomUuid() {
  absl::StatusOr<std::string> bytes = RandomBytes(16);
  if (!bytes.ok()) return bytes.status();
  (*bytes)[6] = static_cast<char>(((*bytes)[6] & 0x0f) | 0x40);  // version
  (*bytes)[8] = static_cast<char>(((*bytes)[8] & 0x3f) | 0x80);  // variant
  const std::string hex = absl::BytesToHexString(*bytes);
  return absl::StrCat(hex.substr(0, 8), "-", hex.substr(8, 4), "-", hex.substr(12, 4), "-",
                      hex.substr(16, 4), "-", hex.substr(20));
}

}  // namespace vmeventd
