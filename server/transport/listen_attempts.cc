#include "server/transport/listen_attempts.h"

#include <algorithm>
#include <utility>

#include "absl/status/statusor.h"
#include "spdlog/spdlog.h"

namespace vmeventd {

ListenAttempts::ListenAttempts(std::string what, ListenAddress address)
    : what_(std::move(what)), address_(std::move(address)) {}

const absl::Status& ListenAttempts::Try(absl::Duration now) {
  if (now < due_) return status_;
  absl::StatusOr<std::unique_ptr<ListenSocket>> opened = ListenSocket::Open(address_);
  if (opened.ok()) {
    socket_ = *std::move(opened);
    status_ = absl::OkStatus();
    due_ = absl::InfiniteDuration();
    if (failed_) spdlog::info("{} listens on {} now", what_, address().ToString());
    return status_;
  }
  if (!failed_ || opened.status() != status_) {
    spdlog::error("{} does not listen on {}: {}; trying again until it does", what_,
                  address_.ToString(), std::string(opened.status().message()));
  }
  failed_ = true;
  status_ = opened.status();
  backoff_ = std::clamp(backoff_ * 2, kFirstRetry, kMaxRetry);
  due_ = now + backoff_;
  return status_;
}

}  // namespace vmeventd
