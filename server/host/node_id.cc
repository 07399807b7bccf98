#include "server/host/node_id.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/system.h"
#include "base/uuid.h"

namespace vmeventd {
namespace {

// vmeventd's own: `systemd-id128 machine-id --app-specific=cfa051b179e349de98d50d35ed0d0b37` prints
// the same node id.
constexpr char kApplicationId[] = "cfa051b179e349de98d50d35ed0d0b37";
constexpr size_t kIdBytes = 16;
using IdBytes = std::array<unsigned char, kIdBytes>;

// `digits`: 32 hexadecimal digits.
IdBytes BytesOf(const std::string& digits) {
  IdBytes bytes{};
  OPENSSL_hexstr2buf_ex(bytes.data(), bytes.size(), nullptr, digits.c_str(), '\0');
  return bytes;
}

// Creates the file atomically: it exists complete or not at all.
absl::StatusOr<std::string> MakeIdFile(const std::string& path) {
  const std::string id = RandomUuid();
  const std::string text = absl::StrCat(id, "\n");
  const std::string made = absl::StrCat(path, ".new");
  const UniqueFd fd(
      open(made.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640));
  if (!fd.valid()) return ErrnoStatus(made, "cannot be created", errno);
  errno = ENOSPC;  // a short write means this
  if (write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      fsync(fd.get()) != 0) {
    return ErrnoStatus(made, "cannot be written", errno);
  }
  if (rename(made.c_str(), path.c_str()) != 0) {
    return ErrnoStatus(path, "cannot be created", errno);
  }
  return id;
}

}  // namespace

absl::StatusOr<std::string> NodeIdOfMachine(absl::string_view machine_id) {
  const bool is_hex = machine_id.size() == 2 * kIdBytes &&
                      std::all_of(machine_id.begin(), machine_id.end(), [](char c) {
                        return absl::ascii_isxdigit(static_cast<unsigned char>(c));
                      });
  if (!is_hex || machine_id.find_first_not_of('0') == absl::string_view::npos) {
    return absl::InvalidArgumentError("a machine id has 32 hexadecimal digits, not all of them 0");
  }
  const IdBytes key = BytesOf(std::string(machine_id));
  const IdBytes data = BytesOf(kApplicationId);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), data.data(), data.size(), digest,
       &size);
  return UuidFromBytes(std::string(reinterpret_cast<const char*>(digest), kIdBytes));
}

absl::StatusOr<std::string> NodeId(const std::string& state_dir,
                                   const std::string& machine_id_file) {
  // A missing or empty machine id is usual in a container.
  const absl::StatusOr<std::string> machine = ReadSmallFile(machine_id_file);
  if (machine.ok()) {
    absl::StatusOr<std::string> id = NodeIdOfMachine(absl::StripAsciiWhitespace(*machine));
    if (id.ok()) return id;
  }
  const std::string path = state_dir + "/node_id";
  const absl::StatusOr<std::string> kept = ReadSmallFile(path);
  if (kept.ok()) {
    const absl::string_view id = absl::StripAsciiWhitespace(*kept);
    if (ParseUuid(id).has_value()) return std::string(id);
  }
  return MakeIdFile(path);
}

}  // namespace vmeventd
