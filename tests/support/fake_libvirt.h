#ifndef VMEVENTD_TESTS_SUPPORT_FAKE_LIBVIRT_H_
#define VMEVENTD_TESTS_SUPPORT_FAKE_LIBVIRT_H_

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "watcher/libvirt/libvirt_api.h"

namespace vmeventd {

// A libvirt at the border of the library, with the domains that the test gives it. Its events are
// what the test says; they come on the test's thread. Any thread.
class FakeLibvirt : public LibvirtApi {
 public:
  // What Open returns from now on; OK: it connects.
  void SetOpenError(absl::Status status) {
    const MutexLock lock(&mutex_);
    open_error_ = std::move(status);
  }
  // Calls do not return while it hangs.
  void Hang(bool hangs) {
    const MutexLock lock(&mutex_);
    hangs_ = hangs;
    changed_.NotifyAll();
  }
  void SetActive(std::vector<ActiveDomain> domains) {
    const MutexLock lock(&mutex_);
    active_ = std::move(domains);
  }
  void SetAgent(GuestAgentInfo info) {
    const MutexLock lock(&mutex_);
    agent_ = std::move(info);
  }

  void Qmp(const DomainName& domain, const std::string& event, const std::string& data = "") {
    Current()->OnQmpEvent(domain, event, 1700000000, 5, data);
  }
  void Started(const DomainName& domain) {
    Current()->OnLifecycle(domain, {DomainLifecycle::What::kStarted, {}, "started"});
  }
  // As libvirt does, without the number that the domain had.
  void Stopped(DomainName domain, ManagerEnd end, const std::string& text) {
    domain.id = -1;
    Current()->OnLifecycle(domain, {DomainLifecycle::What::kStopped, end, text});
  }
  void AgentEvent(const DomainName& domain) { Current()->OnAgent(domain); }
  void Close(const std::string& why) { Current()->OnClosed(why); }

  int opened() const {
    const MutexLock lock(&mutex_);
    return opened_;
  }
  int open_connections() const {
    const MutexLock lock(&mutex_);
    return open_connections_;
  }

  absl::StatusOr<std::unique_ptr<Connection>> Open(const std::string& /*uri*/,
                                                   std::shared_ptr<Listener> listener) override {
    const MutexLock lock(&mutex_);
    ++opened_;
    Block();
    // Not a copy, which shares its text by a counter that ThreadSanitizer does not see.
    if (!open_error_.ok()) return absl::Status(open_error_.code(), open_error_.message());
    listener_ = std::move(listener);
    ++open_connections_;
    return std::make_unique<FakeConnection>(this);
  }

 private:
  class FakeConnection : public Connection {
   public:
    explicit FakeConnection(FakeLibvirt* libvirt) : libvirt_(libvirt) {}
    ~FakeConnection() override {
      const MutexLock lock(&libvirt_->mutex_);
      --libvirt_->open_connections_;
    }
    absl::StatusOr<std::vector<ActiveDomain>> ListActive() override {
      const MutexLock lock(&libvirt_->mutex_);
      libvirt_->Block();
      return libvirt_->active_;
    }
    absl::StatusOr<GuestAgentInfo> GuestAgent(const std::string& /*uuid*/) override {
      const MutexLock lock(&libvirt_->mutex_);
      libvirt_->Block();
      return libvirt_->agent_;
    }

   private:
    FakeLibvirt* const libvirt_;
  };

  void Block() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    while (hangs_) changed_.Wait(&mutex_);
  }
  std::shared_ptr<Listener> Current() const {
    const MutexLock lock(&mutex_);
    return listener_;
  }

  mutable Mutex mutex_;
  CondVar changed_;
  absl::Status open_error_ ABSL_GUARDED_BY(mutex_);
  bool hangs_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<ActiveDomain> active_ ABSL_GUARDED_BY(mutex_);
  GuestAgentInfo agent_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<Listener> listener_ ABSL_GUARDED_BY(mutex_);
  int opened_ ABSL_GUARDED_BY(mutex_) = 0;
  int open_connections_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace vmeventd

#endif  // VMEVENTD_TESTS_SUPPORT_FAKE_LIBVIRT_H_
