#include "watcher/libvirt/libvirt_link.h"

#include <sys/eventfd.h>

#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/unix_address.h"
#include "nlohmann/json.hpp"
#include "watcher/core/qmp_message.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/process.h"

namespace vmeventd {
namespace {

// Approximate memory of a message.
size_t BytesOf(const LibvirtMessage& message) {
  constexpr size_t kOfAny = 512;
  constexpr size_t kOfEach = 256;
  if (const auto* event = std::get_if<DomainEvent>(&message)) {
    return kOfAny + 3 * event->event.detail_json.size();  // parsed: some bytes for each value
  }
  if (const auto* listed = std::get_if<DomainsListed>(&message)) {
    return kOfAny + kOfEach * listed->domains.size();
  }
  const auto* const known = std::get_if<DetailsKnown>(&message);
  return kOfAny + (known == nullptr ? 0 : kOfEach * known->details.labels.size());
}

// Posts the events of one connection. Lives for as long as libvirt may call it.
class Poster : public LibvirtApi::Callbacks {
 public:
  explicit Poster(std::shared_ptr<LibvirtInbox> inbox) : inbox_(std::move(inbox)) {}

  void OnQmpEvent(const DomainName& domain, const std::string& event, int64_t seconds,
                  uint32_t microseconds, const std::string& data) override {
    // The message as QEMU sent it, so that it is read, bounded and cut like a monitor's.
    const std::string name =
        nlohmann::json(event).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    std::string line = absl::StrCat("{\"event\":", name, ",\"timestamp\":{\"seconds\":", seconds,
                                    ",\"microseconds\":", static_cast<int32_t>(microseconds), "}");
    if (!data.empty()) absl::StrAppend(&line, ",\"data\":", data);
    absl::StatusOr<QmpMessage> message = ParseQmpMessage(line + "}");
    if (!message.ok() || !std::holds_alternative<QmpEvent>(*message)) return;
    inbox_->Post(DomainEvent{AsOfNow(domain), std::get<QmpEvent>(*std::move(message))});
  }
  void OnLifecycle(const DomainName& domain, const DomainLifecycle& lifecycle) override {
    inbox_->Post(DomainChanged{AsOfNow(domain), lifecycle});
  }
  void OnDetailsChanged(const DomainName& domain) override {
    inbox_->Post(DetailsChanged{domain.uuid});
  }
  void OnClosed(const std::string& why) override { inbox_->Post(LinkClosed{why}); }

 private:
  static DomainName AsOfNow(DomainName domain) {
    domain.reported_ticks = StartTicksNow();
    return domain;
  }

  const std::shared_ptr<LibvirtInbox> inbox_;
};

// The domains that run. A process that started after the call began is none of theirs: of a domain
// that started meanwhile there is a STARTED.
absl::StatusOr<std::vector<ActiveDomain>> List(LibvirtApi::Connection* connection) {
  const uint64_t now = StartTicksNow();
  absl::StatusOr<std::vector<ActiveDomain>> domains = connection->ListActive();
  if (!domains.ok()) return domains;
  for (ActiveDomain& active : *domains) active.domain.reported_ticks = now;
  return domains;
}

}  // namespace

void LibvirtInbox::Post(LibvirtMessage message) {
  const MutexLock lock(&mutex_);
  if (closed_) return;
  size_t bytes = BytesOf(message);
  if (bytes_ + bytes > kMaxBytes && !std::holds_alternative<LinkClosed>(message)) {
    message = LinkClosed{"events arrived faster than vmeventd could read them", /*overflow=*/true};
    bytes = BytesOf(message);
  }
  closed_ = std::holds_alternative<LinkClosed>(message);
  bytes_ += bytes;
  if (messages_.empty()) eventfd_write(wake_->get(), 1);  // a counter that is full wakes as well
  messages_.push_back(std::move(message));
}

std::vector<LibvirtMessage> LibvirtInbox::Take() {
  const MutexLock lock(&mutex_);
  std::vector<LibvirtMessage> taken;
  while (taken.size() < kBatch && !messages_.empty()) {
    bytes_ -= BytesOf(messages_.front());
    taken.push_back(std::move(messages_.front()));
    messages_.pop_front();
  }
  return taken;
}

void LibvirtInbox::Close() {
  const MutexLock lock(&mutex_);
  closed_ = true;
  messages_.clear();
}

// Shared with the worker, which may outlive the link.
struct LibvirtLink::Shared {
  std::shared_ptr<LibvirtApi> api;
  LibvirtSpec spec;
  Place place;

  Mutex mutex;
  // A task at a time is under way; bounded by the domains, each of which is asked about twice.
  std::deque<std::function<void(Shared*)>> tasks ABSL_GUARDED_BY(mutex);
  absl::flat_hash_set<std::string> pending ABSL_GUARDED_BY(mutex);  // names, see DoOnce()
  std::vector<DomainName> processes_asked ABSL_GUARDED_BY(mutex);
  bool working ABSL_GUARDED_BY(mutex) = false;  // it has a thread, or waits for one
  bool has_thread ABSL_GUARDED_BY(mutex) = false;

  std::unique_ptr<LibvirtApi::Connection> connection;  // the worker's
  std::shared_ptr<LibvirtInbox> inbox;                 // the connection's
  ProcessPlace processes;                              // of its libvirt's domains
  CommandLines command_lines;

  // Connects, and sets `processes`.
  absl::StatusOr<std::unique_ptr<LibvirtApi::Connection>> Connect() {
    const auto poster = std::make_shared<Poster>(inbox);
    processes = {.pid_directory = place.pid_directory,
                 .containers = spec.containers,
                 .foreign_namespace = std::nullopt};
    if (place.socket.empty()) return api->Open(spec.Uri(), poster);
    const absl::StatusOr<UnixAddress> address = UnixAddress::Open(place.socket);
    if (!address.ok()) return address.status();
    auto opened = api->Open(spec.UriAt(address->text()), poster);
    if (!opened.ok()) {  // libvirt names the address
      return absl::Status(
          opened.status().code(),
          absl::StrReplaceAll(opened.status().message(), {{address->text(), place.socket}}));
    }
    if (place.finds_processes) processes.foreign_namespace = ForeignPidNamespaceBehind(*address);
    return opened;
  }

  // Posts the list of the domains. Returns the error where there is none.
  absl::Status PostList() {
    absl::StatusOr<std::vector<ActiveDomain>> domains = List(connection.get());
    if (domains.ok()) inbox->Post(DomainsListed{*std::move(domains)});
    return domains.status();
  }

  void OpenNow(std::shared_ptr<LibvirtInbox> next) {
    connection.reset();
    inbox = std::move(next);
    absl::StatusOr<std::unique_ptr<LibvirtApi::Connection>> opened = Connect();
    absl::Status status = opened.status();
    if (opened.ok()) {
      connection = *std::move(opened);
      status = PostList();
    }
    if (!status.ok()) inbox->Post(LinkClosed{std::string(status.message())});
  }
};

LibvirtLink::LibvirtLink(std::shared_ptr<LibvirtApi> api, std::shared_ptr<const UniqueFd> wake,
                         DetachedThreads* threads, LibvirtSpec spec, Place place)
    : shared_(std::make_shared<Shared>()), wake_(std::move(wake)), threads_(threads) {
  shared_->api = std::move(api);
  shared_->spec = std::move(spec);
  shared_->place = std::move(place);
}

LibvirtLink::~LibvirtLink() { Close(); }

void LibvirtLink::Open() {
  if (inbox_ != nullptr) inbox_->Close();
  inbox_ = std::make_shared<LibvirtInbox>(wake_);
  DoInstead([inbox = inbox_](Shared* shared) { shared->OpenNow(inbox); });
}

void LibvirtLink::Close() {
  if (inbox_ == nullptr) return;
  std::exchange(inbox_, nullptr)->Close();
  DoInstead([](Shared* shared) { shared->connection.reset(); });
}

void LibvirtLink::AskDetails(const std::string& uuid) {
  DoOnce(uuid, [uuid](Shared* shared) {
    absl::StatusOr<DomainDetails> details = shared->connection->Details(uuid);
    if (details.ok()) shared->inbox->Post(DetailsKnown{uuid, *std::move(details)});
  });
}

void LibvirtLink::ListAgain() {
  DoOnce("list", [](Shared* shared) { shared->PostList().IgnoreError(); });
}

void LibvirtLink::FindProcess(const DomainName& domain) {
  {
    const MutexLock lock(&shared_->mutex);
    shared_->processes_asked.push_back(domain);
  }
  DoOnce("processes", [](Shared* shared) {
    std::vector<DomainName> asked;
    {
      const MutexLock lock(&shared->mutex);
      asked = std::exchange(shared->processes_asked, {});
    }
    std::vector<DomainProcess> found(asked.size());
    if (shared->place.finds_processes) {
      found = FindProcesses(shared->processes, asked, &shared->command_lines);
    }
    for (size_t index = 0; index < asked.size(); ++index) {
      shared->inbox->Post(ProcessFound{std::move(asked[index]), std::move(found[index])});
    }
  });
}

bool LibvirtLink::busy() const {
  const MutexLock lock(&shared_->mutex);
  return shared_->working;
}

bool LibvirtLink::waits_for_thread() const {
  const MutexLock lock(&shared_->mutex);
  return shared_->working && !shared_->has_thread;
}

void LibvirtLink::DoInstead(std::function<void(Shared*)> task) {
  {
    const MutexLock lock(&shared_->mutex);
    shared_->tasks.clear();
    shared_->pending.clear();
    shared_->processes_asked.clear();
  }
  Do(std::move(task));
}

void LibvirtLink::Do(std::function<void(Shared*)> task) {
  {
    const MutexLock lock(&shared_->mutex);
    shared_->tasks.push_back(std::move(task));
    if (std::exchange(shared_->working, true)) return;
  }
  threads_->Run([shared = shared_] { Work(shared.get()); });
}

void LibvirtLink::DoOnce(const std::string& name, std::function<void(Shared*)> task) {
  {
    const MutexLock lock(&shared_->mutex);
    if (!shared_->pending.insert(name).second) return;
  }
  Do([name, task = std::move(task)](Shared* shared) {
    {
      const MutexLock lock(&shared->mutex);
      shared->pending.erase(name);
    }
    if (shared->connection != nullptr) task(shared);
  });
}

void LibvirtLink::Work(Shared* shared) {
  while (true) {
    std::function<void(Shared*)> task;
    {
      const MutexLock lock(&shared->mutex);
      shared->has_thread = !shared->tasks.empty();
      if (!shared->has_thread) {
        shared->working = false;
        return;
      }
      task = std::move(shared->tasks.front());
      shared->tasks.pop_front();
    }
    task(shared);
  }
}

}  // namespace vmeventd
