#include "base/random.h"

#include <openssl/rand.h>

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace vmeventd {

absl::StatusOr<std::string> RandomBytes(size_t count) {
  std::string bytes(count, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(count)) != 1) {
    return absl::InternalError("OpenSSL could not generate random bytes");
  }
  return bytes;
}

std::string UuidFromBytes(std::string bytes) {
  bytes[6] = static_cast<char>((bytes[6] & 0x0f) | 0x40);  // version
  bytes[8] = static_cast<char>((bytes[8] & 0x3f) | 0x80);  // variant
  const std::string hex = absl::BytesToHexString(bytes);
  return absl::StrCat(hex.substr(0, 8), "-", hex.substr(8, 4), "-", hex.substr(12, 4), "-",
                      hex.substr(16, 4), "-", hex.substr(20));
}

absl::StatusOr<std::string> RandomUuid() {
  absl::StatusOr<std::string> bytes = RandomBytes(16);
  if (!bytes.ok()) return bytes.status();
  return UuidFromBytes(*std::move(bytes));
}

}  // namespace vmeventd
