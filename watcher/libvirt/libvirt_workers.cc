#include "watcher/libvirt/libvirt_workers.h"

#include <system_error>
#include <thread>
#include <utility>

#include "base/thread_name.h"
#include "spdlog/spdlog.h"

namespace vmeventd {

std::shared_ptr<LibvirtWorkers> LibvirtWorkers::Create(Spawn spawn) {
  return std::shared_ptr<LibvirtWorkers>(new LibvirtWorkers(std::move(spawn)));
}

void LibvirtWorkers::SpawnDetached(std::function<void()> body) {
  std::thread(std::move(body)).detach();
}

void LibvirtWorkers::Run(std::function<void()> job) {
  const MutexLock lock(&mutex_);
  waiting_.push_back(std::move(job));
  StartThreads();
}

void LibvirtWorkers::Retry() {
  const MutexLock lock(&mutex_);
  StartThreads();
}

void LibvirtWorkers::StartThreads() {
  bool failed = false;
  while (starting_ < waiting_.size() && threads_ < kMaxThreads && !failed) {
    try {
      spawn_([self = shared_from_this()] { self->Work(); });
      ++threads_;
      ++starting_;
    } catch (const std::system_error& error) {
      failed = true;
      if (!starved_) spdlog::error("--libvirt: cannot start a thread: {}", error.what());
    }
  }
  starved_ = failed;
}

void LibvirtWorkers::Work() {
  SetThreadName("libvirt-call");
  for (bool first = true;; first = false) {
    std::function<void()> job;
    {
      const MutexLock lock(&mutex_);
      if (first) --starting_;
      if (waiting_.empty()) {
        if (--threads_ == 0) none_.NotifyAll();
        return;
      }
      job = std::move(waiting_.front());
      waiting_.pop_front();
    }
    job();
  }
}

bool LibvirtWorkers::WaitForNone(absl::Duration limit) {
  const MutexLock lock(&mutex_);
  return WaitUntil(&none_, &mutex_, limit,
                   [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return threads_ == 0; });
}

}  // namespace vmeventd
