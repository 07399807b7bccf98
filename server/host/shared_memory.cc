#include "server/host/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace vmeventd {
namespace {

constexpr int kSizeSeals = F_SEAL_SHRINK | F_SEAL_GROW;

absl::Status MemoryError(absl::string_view call) { return absl::ErrnoToStatus(errno, call); }

}  // namespace

absl::StatusOr<std::unique_ptr<SharedMemory>> SharedMemory::Create(const std::string& name,
                                                                   size_t size, size_t held_bytes) {
  UniqueFd fd(memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return MemoryError("memfd_create");
  if (ftruncate(fd.get(), static_cast<off_t>(size)) != 0) return MemoryError("ftruncate");
  if (fcntl(fd.get(), F_ADD_SEALS, kSizeSeals) != 0) return MemoryError("F_ADD_SEALS");
  void* const at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (at == MAP_FAILED) return MemoryError("mmap");
  // Errors are ignored: without the lock the same holds, unless the host swaps these pages out.
  mlock(at, held_bytes);
  return std::unique_ptr<SharedMemory>(
      new SharedMemory(std::move(fd), {static_cast<char*>(at), size}));
}

absl::StatusOr<std::unique_ptr<SharedMemory>> SharedMemory::Open(UniqueFd fd) {
  const int seals = fcntl(fd.get(), F_GET_SEALS);
  struct stat status {};
  if (seals < 0 || (seals & kSizeSeals) != kSizeSeals || fstat(fd.get(), &status) != 0 ||
      status.st_size <= 0) {
    return absl::InvalidArgumentError("no memory of vmeventd");
  }
  const auto size = static_cast<size_t>(status.st_size);
  void* const at = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (at == MAP_FAILED) return MemoryError("mmap");
  return std::unique_ptr<SharedMemory>(
      new SharedMemory(std::move(fd), {static_cast<char*>(at), size}));
}

SharedMemory::~SharedMemory() { munmap(bytes_.data(), bytes_.size()); }

}  // namespace vmeventd
