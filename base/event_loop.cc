#include "base/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>

#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

constexpr int kMaxEpollEvents = 256;
constexpr int kMaxTimers = 256;

uint64_t Key(int fd, uint32_t serial) {
  return (static_cast<uint64_t>(serial) << 32) | static_cast<uint32_t>(fd);
}

}  // namespace

absl::StatusOr<std::unique_ptr<EventLoop>> EventLoop::Create(const Clock* clock) {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) return absl::ErrnoToStatus(errno, "cannot create an epoll descriptor");
  UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return absl::ErrnoToStatus(errno, "cannot create an eventfd");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = Key(wake.get(), 0);
  if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake.get(), &event) != 0) {
    return absl::ErrnoToStatus(errno, "cannot add an eventfd to epoll");
  }
  return std::unique_ptr<EventLoop>(new EventLoop(clock, std::move(epoll), std::move(wake)));
}

absl::Status EventLoop::Add(int fd, uint32_t events, FdHandler* handler) {
  const uint32_t serial = ++last_watch_;
  epoll_event event{};
  event.events = events;
  event.data.u64 = Key(fd, serial);
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot add descriptor ", fd, " to epoll"));
  }
  if (watches_.size() <= static_cast<size_t>(fd)) watches_.resize(fd + 1);
  watches_[fd] = {handler, serial};
  return absl::OkStatus();
}

void EventLoop::Modify(int fd, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = Key(fd, watches_[fd].serial);
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void EventLoop::Remove(int fd) {
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  if (static_cast<size_t>(fd) < watches_.size()) watches_[fd] = {};
}

TimerId EventLoop::AddTimer(absl::Duration deadline, std::function<void()> callback) {
  const TimerId id{absl::ToInt64Nanoseconds(deadline), ++last_timer_};
  timers_.emplace(id, std::move(callback));
  return id;
}

void EventLoop::CancelTimer(TimerId* id) {
  if (id->serial != 0) timers_.erase(*id);
  *id = {};
}

void EventLoop::RunOnce(absl::Duration timeout) {
  DispatchInput(WaitMilliseconds(timeout));
  FireTimers();
}

int EventLoop::WaitMilliseconds(absl::Duration timeout) const {
  if (!timers_.empty()) {
    const absl::Duration deadline = absl::Nanoseconds(timers_.begin()->first.deadline_ns);
    timeout = std::min(timeout, deadline - clock_->Now().monotonic);
  }
  if (timeout == absl::InfiniteDuration()) return -1;
  // Rounded up: waking before the deadline would only lead to another wait.
  const int64_t milliseconds =
      absl::ToInt64Milliseconds(absl::Ceil(timeout, absl::Milliseconds(1)));
  return static_cast<int>(std::clamp<int64_t>(milliseconds, 0, std::numeric_limits<int>::max()));
}

void EventLoop::DispatchInput(int timeout_ms) {
  std::array<epoll_event, kMaxEpollEvents> events;
  const int count = epoll_wait(epoll_.get(), events.data(), kMaxEpollEvents, timeout_ms);
  turn_began_ = clock_->Now().monotonic;
  for (int i = 0; i < count; ++i) {  // -1 is EINTR: a turn without input
    const int fd = static_cast<int>(events[i].data.u64 & 0xffffffff);
    const uint32_t serial = static_cast<uint32_t>(events[i].data.u64 >> 32);
    if (fd == wake_.get()) {
      eventfd_t ignored;
      eventfd_read(wake_.get(), &ignored);
      CallPosted();
      continue;
    }
    const Watch watch = watches_[fd];
    if (watch.handler != nullptr && watch.serial == serial) {
      watch.handler->OnFdReady(events[i].events);
    }
  }
}

void EventLoop::CallPosted() {
  std::vector<absl::AnyInvocable<void()>> posted;
  {
    const MutexLock lock(&mutex_);
    posted.swap(posted_);
  }
  for (absl::AnyInvocable<void()>& function : posted) function();
}

void EventLoop::FireTimers() {
  if (timers_.empty()) return;
  // Timers that a callback adds are for a later turn, so that callbacks cannot keep the loop here.
  const uint64_t newest = last_timer_;
  const int64_t now_ns = absl::ToInt64Nanoseconds(clock_->Now().monotonic);
  for (int fired = 0; fired < kMaxTimers; ++fired) {
    const auto first = std::find_if(timers_.begin(), timers_.end(), [&](const auto& timer) {
      return timer.first.deadline_ns > now_ns || timer.first.serial <= newest;
    });
    if (first == timers_.end() || first->first.deadline_ns > now_ns) return;
    const std::function<void()> callback = std::move(first->second);
    timers_.erase(first);
    callback();
  }
}

void EventLoop::Wake() const { eventfd_write(wake_.get(), 1); }

void EventLoop::Post(absl::AnyInvocable<void()> function) {
  {
    const MutexLock lock(&mutex_);
    posted_.push_back(std::move(function));
  }
  Wake();
}

}  // namespace vmeventd
