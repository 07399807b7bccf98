#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "watcher/libvirt/domain_xml.h"
#include "watcher/libvirt/forwarded_event.h"
#include "watcher/libvirt/libvirt_api.h"

namespace vmeventd {

// A fake of libvirt behind the interface LibvirtApi. The test sets its domains and sends its
// events, which arrive on the test's thread or from within a call. Any thread.
class FakeLibvirt : public LibvirtApi {
 public:
  // Sets the result of Open() from now on; OK: it connects.
  void SetOpenError(absl::Status status) {
    const MutexLock lock(&mutex_);
    open_error_ = std::move(status);
  }
  // Makes calls hang, or return again: all calls or, with `uri_part`, calls of Open() with a URI
  // that contains this text.
  void Hang(bool hangs, const std::string& uri_part = "") {
    const MutexLock lock(&mutex_);
    hangs_ = hangs;
    hanging_part_ = uri_part;
    changed_.NotifyAll();
  }
  void SetActive(std::vector<ActiveDomain> domains) {
    const MutexLock lock(&mutex_);
    active_ = std::move(domains);
  }
  // Sets functions that the next ListActive() calls before and after it makes the list, without
  // holding a lock. They act like libvirt's other threads.
  void AroundNextList(std::function<void()> before, std::function<void()> after) {
    const MutexLock lock(&mutex_);
    before_list_ = std::move(before);
    after_list_ = std::move(after);
  }
  // Sets the details of each domain.
  void SetDetails(DomainDetails details) {
    const MutexLock lock(&mutex_);
    details_ = std::move(details);
  }

  void Qmp(const DomainName& domain, const std::string& event, const std::string& data = "") {
    Current()(DomainEvent{domain, ForwardedEvent(event, 1700000000, 5, data).value()});
  }
  void Started(const DomainName& domain, bool incoming = false) {
    Current()(DomainChanged{domain, {.text = "started", .started = true, .incoming = incoming}});
  }
  // Reports the end like that of a transient domain: without the id that the domain had.
  void Stopped(DomainName domain, ManagerEnd end, const std::string& text) {
    domain.id = -1;
    StoppedWithId(domain, end, text);
  }
  void StoppedWithId(const DomainName& domain, ManagerEnd end, const std::string& text) {
    Current()(DomainChanged{domain, {.text = text, .end = end}});
  }
  void DetailsChanged(const DomainName& domain) {
    Current()(vmeventd::DetailsChanged{domain.uuid});
  }
  void Close(const std::string& why) { Current()(LinkClosed{why}); }

  int opened() const {
    const MutexLock lock(&mutex_);
    return opened_;
  }
  // Number of calls that have not returned.
  int calls_under_way() const {
    const MutexLock lock(&mutex_);
    return calls_;
  }
  int lists() const {
    const MutexLock lock(&mutex_);
    return lists_;
  }

  absl::StatusOr<std::unique_ptr<Connection>> Open(const std::string& uri,
                                                   const Callback& callback) override {
    const MutexLock lock(&mutex_);
    ++opened_;
    Block(uri);
    // Makes a new status: a copy would share its text by a counter that ThreadSanitizer does not
    // see.
    if (!open_error_.ok()) return absl::Status(open_error_.code(), open_error_.message());
    callback_ = callback;
    return std::make_unique<FakeConnection>(this);
  }

 private:
  class FakeConnection : public Connection {
   public:
    explicit FakeConnection(FakeLibvirt* libvirt) : libvirt_(libvirt) {}
    absl::StatusOr<std::vector<ActiveDomain>> ListActive() override {
      libvirt_->Call(&FakeLibvirt::before_list_);
      std::vector<ActiveDomain> active = libvirt_->Listed();
      libvirt_->Call(&FakeLibvirt::after_list_);
      return active;
    }
    absl::StatusOr<DomainDetails> Details(const std::string& /*uuid*/) override {
      const MutexLock lock(&libvirt_->mutex_);
      libvirt_->Block();
      return libvirt_->details_;
    }

   private:
    FakeLibvirt* const libvirt_;
  };

  void Block(const std::string& uri = "") ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    ++calls_;
    while (hangs_ && uri.find(hanging_part_) != std::string::npos) changed_.Wait(&mutex_);
    --calls_;
  }
  std::vector<ActiveDomain> Listed() {
    const MutexLock lock(&mutex_);
    ++lists_;
    Block();
    return active_;
  }
  void Call(std::function<void()> FakeLibvirt::*hook) {
    std::function<void()> once;
    {
      const MutexLock lock(&mutex_);
      once = std::exchange(this->*hook, nullptr);
    }
    if (once) once();
  }
  Callback Current() const {
    const MutexLock lock(&mutex_);
    return callback_;
  }

  mutable Mutex mutex_;
  CondVar changed_;
  absl::Status open_error_ ABSL_GUARDED_BY(mutex_);
  bool hangs_ ABSL_GUARDED_BY(mutex_) = false;
  std::string hanging_part_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> before_list_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> after_list_ ABSL_GUARDED_BY(mutex_);
  int calls_ ABSL_GUARDED_BY(mutex_) = 0;
  int lists_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<ActiveDomain> active_ ABSL_GUARDED_BY(mutex_);
  DomainDetails details_ ABSL_GUARDED_BY(mutex_);
  Callback callback_ ABSL_GUARDED_BY(mutex_);
  int opened_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace vmeventd
