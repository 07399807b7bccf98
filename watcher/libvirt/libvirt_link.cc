#include "watcher/libvirt/libvirt_link.h"

#include <cstdint>
#include <deque>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/thread_name.h"
#include "base/wait_until.h"
#include "nlohmann/json.hpp"
#include "watcher/core/qmp_message.h"

namespace vmeventd {
namespace {

// How often the domains are listed again because events came meanwhile. The last list is taken as
// it is: an event that it was made before is then handed in first.
constexpr int kMaxLists = 20;

// Posts what one connection says. Lives for as long as libvirt may call it.
class Poster : public LibvirtApi::Listener {
 public:
  Poster(std::shared_ptr<LibvirtInbox> inbox, AttemptId attempt)
      : inbox_(std::move(inbox)), attempt_(attempt) {}

  void OnQmpEvent(const DomainName& domain, const std::string& event, int64_t seconds,
                  uint32_t microseconds, const std::string& data) override {
    // As QEMU sent it, so that it is read, bounded and cut like what comes from a monitor.
    const std::string name =
        nlohmann::json(event).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    std::string line = absl::StrCat("{\"event\":", name, ",\"timestamp\":{\"seconds\":", seconds,
                                    ",\"microseconds\":", static_cast<int32_t>(microseconds), "}");
    if (!data.empty()) absl::StrAppend(&line, ",\"data\":", data);
    absl::StatusOr<QmpMessage> message = ParseQmpMessage(line + "}");
    if (!message.ok() || !std::holds_alternative<QmpEvent>(*message)) return;
    inbox_->Post(attempt_, DomainEvent{domain, std::get<QmpEvent>(*std::move(message))});
  }
  void OnLifecycle(const DomainName& domain, const DomainLifecycle& lifecycle) override {
    inbox_->Post(attempt_, DomainChanged{domain, lifecycle});
  }
  void OnAgent(const DomainName& domain) override { inbox_->Post(attempt_, AgentChanged{domain}); }
  void OnClosed(const std::string& why) override { inbox_->Post(attempt_, LinkClosed{why}); }

 private:
  const std::shared_ptr<LibvirtInbox> inbox_;
  const AttemptId attempt_;
};

}  // namespace

void LibvirtWorkers::Enter() {
  const MutexLock lock(&mutex_);
  ++count_;
}

void LibvirtWorkers::Leave() {
  const MutexLock lock(&mutex_);
  if (--count_ == 0) none_.NotifyAll();
}

bool LibvirtWorkers::WaitForNone(absl::Duration limit) {
  const MutexLock lock(&mutex_);
  return WaitUntil(&none_, &mutex_, limit,
                   [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return count_ == 0; });
}

// What the worker needs: it may outlive the link.
struct LibvirtLink::Shared {
  std::shared_ptr<LibvirtApi> api;
  std::shared_ptr<LibvirtInbox> inbox;
  std::shared_ptr<LibvirtWorkers> workers;
  std::string uri;

  Mutex mutex;
  // A task at a time is under way; bounded by the domains, each of which is asked about once.
  std::deque<std::function<void(Shared*)>> tasks ABSL_GUARDED_BY(mutex);
  absl::flat_hash_set<std::string> agents_asked ABSL_GUARDED_BY(mutex);
  bool working ABSL_GUARDED_BY(mutex) = false;

  std::unique_ptr<LibvirtApi::Connection> connection;  // the worker's
  AttemptId attempt = 0;                               // of it

  void OpenNow(AttemptId next) {
    connection.reset();
    attempt = next;
    absl::StatusOr<std::unique_ptr<LibvirtApi::Connection>> opened =
        api->Open(uri, std::make_shared<Poster>(inbox, attempt));
    if (!opened.ok()) {
      return inbox->Post(attempt, LinkClosed{std::string(opened.status().message())});
    }
    connection = *std::move(opened);
    for (int lists = 1;; ++lists) {
      const uint64_t posted = inbox->Posted(attempt);
      absl::StatusOr<std::vector<ActiveDomain>> domains = connection->ListActive();
      if (!domains.ok()) {
        return inbox->Post(attempt, LinkClosed{std::string(domains.status().message())});
      }
      const uint64_t known = lists < kMaxLists ? posted : inbox->Posted(attempt);
      if (inbox->PostList(attempt, *std::move(domains), known)) return;
    }
  }
};

LibvirtLink::LibvirtLink(std::shared_ptr<LibvirtApi> api, std::shared_ptr<LibvirtInbox> inbox,
                         std::shared_ptr<LibvirtWorkers> workers, std::string uri)
    : shared_(std::make_shared<Shared>()) {
  shared_->api = std::move(api);
  shared_->inbox = std::move(inbox);
  shared_->workers = std::move(workers);
  shared_->uri = std::move(uri);
}

LibvirtLink::~LibvirtLink() { Close(); }

void LibvirtLink::Open(AttemptId attempt) {
  shared_->inbox->Forget(attempt_);
  attempt_ = attempt;
  shared_->inbox->Begin(attempt);
  Do([attempt](Shared* shared) { shared->OpenNow(attempt); });
}

void LibvirtLink::Close() {
  shared_->inbox->Forget(std::exchange(attempt_, 0));
  Do([](Shared* shared) { shared->connection.reset(); });
}

void LibvirtLink::AskGuestAgent(const std::string& uuid) {
  {
    const MutexLock lock(&shared_->mutex);
    if (!shared_->agents_asked.insert(uuid).second) return;
  }
  Do([uuid](Shared* shared) {
    {
      const MutexLock lock(&shared->mutex);
      shared->agents_asked.erase(uuid);
    }
    if (shared->connection == nullptr) return;
    absl::StatusOr<GuestAgentInfo> info = shared->connection->GuestAgent(uuid);
    if (info.ok()) shared->inbox->Post(shared->attempt, AgentKnown{uuid, *std::move(info)});
  });
}

void LibvirtLink::Do(std::function<void(Shared*)> task) {
  {
    const MutexLock lock(&shared_->mutex);
    shared_->tasks.push_back(std::move(task));
    if (std::exchange(shared_->working, true)) return;
  }
  shared_->workers->Enter();
  std::thread([shared = shared_] { Work(shared); }).detach();
}

void LibvirtLink::Work(const std::shared_ptr<Shared>& shared) {
  SetThreadName("libvirt-call");
  while (true) {
    std::function<void(Shared*)> task;
    {
      const MutexLock lock(&shared->mutex);
      if (shared->tasks.empty()) {
        shared->working = false;
        break;
      }
      task = std::move(shared->tasks.front());
      shared->tasks.pop_front();
    }
    task(shared.get());
  }
  shared->workers->Leave();
}

}  // namespace vmeventd
