#ifndef VMEVENTD_BASE_UNIQUE_FD_H_
#define VMEVENTD_BASE_UNIQUE_FD_H_

#include <unistd.h>

#include <utility>

namespace vmeventd {

// Owns one file descriptor, or none (-1), and closes it at its end.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) {
      Reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  // Gives the descriptor to the caller, who closes it.
  int Release() { return std::exchange(fd_, -1); }

  // Closes the descriptor. The error is dropped: nothing here writes through a cache whose loss
  // close() would tell.
  void Reset() {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }

 private:
  int fd_ = -1;
};

}  // namespace vmeventd

#endif  // VMEVENTD_BASE_UNIQUE_FD_H_
