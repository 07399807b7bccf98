#include "server/transport/accepting_socket.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/backoff.h"
#include "base/thread_name.h"
#include "spdlog/spdlog.h"

namespace vmeventd {

AcceptingSocket::AcceptingSocket(std::string what, ListenAddress address, EventLoop* loop,
                                 Calls calls, absl::Duration patience)
    : what_(std::move(what)),
      address_(std::move(address)),
      loop_(loop),
      calls_(std::move(calls)),
      patience_(patience),
      threads_(1, [] { SetThreadName("listen-path"); }) {}

AcceptingSocket::~AcceptingSocket() {
  loop_->CancelTimer(&timer_);
  loop_->CancelTimer(&path_timer_);
  if (listening()) loop_->Remove(socket_->fd());
}

AcceptingSocket::Opened AcceptingSocket::Open(absl::Duration patience) {
  if (!address_.is_unix()) return ListenSocket::Open(address_);
  std::optional<Opened> opened = opening_.Within(
      &threads_, patience, [address = address_] { return ListenSocket::Open(address); });
  if (opened.has_value()) return *std::move(opened);
  return absl::DeadlineExceededError(
      absl::StrCat(address_.path, ": its file system does not answer"));
}

absl::Status AcceptingSocket::Listen() { return ListenWithin(kStartPatience); }

absl::Status AcceptingSocket::ListenWithin(absl::Duration patience) {
  Opened opened = Open(patience);
  absl::Status status = opened.status();
  if (status.ok()) status = loop_->Add((*opened)->fd(), EPOLLIN, this);
  if (status.ok()) {
    socket_ = *std::move(opened);
    if (lost_path_) {
      spdlog::warn("{} listens on {} again: the socket had been removed or replaced", what_,
                   address().ToString());
    } else if (!failure_.ok()) {
      spdlog::info("{} listens on {} now", what_, address().ToString());
    }
    lost_path_ = false;
    failure_ = absl::OkStatus();
    backoff_ = absl::ZeroDuration();
    if (address_.is_unix()) loop_->SetTimerIn(&path_timer_, kPathCheck, [this] { CheckPath(); });
    calls_.listening();
    return status;
  }
  // After this error no further attempt is made.
  const bool refused = !lost_path_ && failure_.ok() && absl::IsAlreadyExists(status);
  if (!refused && status.code() != failure_.code()) {
    // The message begins with the address.
    spdlog::error("{} cannot listen on {}; trying again", what_, std::string(status.message()));
  }
  failure_ = status;
  backoff_ = NextPause(backoff_, kFirstRetry, kMaxRetry);
  loop_->SetTimerIn(&timer_, backoff_, [this] { ListenWithin(patience_).IgnoreError(); });
  return status;
}

void AcceptingSocket::CheckPath() {
  const bool is_late = looking_.under_way();  // since the check before
  const std::optional<bool> leads = looking_.Within(
      &threads_, patience_,
      [path = address_.path, file = socket_->file()] { return LeadsTo(path, file); });
  if (leads.has_value()) {
    hang_logged_ = false;
  } else if (is_late && !std::exchange(hang_logged_, true)) {
    spdlog::warn("{}: the file system of {} does not answer, so new clients may fail to connect",
                 what_, address_.path);
  }
  if (leads.value_or(true)) {
    return loop_->SetTimerIn(&path_timer_, kPathCheck, [this] { CheckPath(); });
  }
  // Accepted connections stay. Connections that wait to be accepted are closed, and their clients
  // connect again.
  loop_->CancelTimer(&timer_);
  loop_->Remove(socket_->fd());
  socket_ = nullptr;
  lost_path_ = true;
  if (!ListenWithin(patience_).ok()) calls_.listening();
}

void AcceptingSocket::OnFdReady(uint32_t /*events*/) {
  constexpr int kAcceptsAtOnce = 64;  // before another descriptor has its turn
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    UniqueFd fd;
    errno = EMFILE;
    if (!calls_.full()) {
      fd = UniqueFd(accept4(socket_->fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    }
    if (fd.valid()) {
      calls_.accepted(std::move(fd));
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      calls_.out_of_descriptors();
      loop_->Modify(socket_->fd(), 0);
      loop_->SetTimerIn(&timer_, kDescriptorPause,
                        [this] { loop_->Modify(socket_->fd(), EPOLLIN); });
      return;
    } else if (errno != ECONNABORTED && errno != EINTR) {
      return;  // nothing more waits
    }
  }
}

}  // namespace vmeventd
