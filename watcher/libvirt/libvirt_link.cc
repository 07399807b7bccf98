#include "watcher/libvirt/libvirt_link.h"

#include <sys/eventfd.h>

#include <cerrno>
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

// Approximate memory that a message holds beyond its own size.
size_t BytesOf(const LibvirtMessage& message) {
  size_t bytes = sizeof(LibvirtMessage);
  if (const auto* event = std::get_if<DomainEvent>(&message); event != nullptr) {
    // Its data is parsed: some bytes for each value of it.
    bytes += event->domain.name.size() + 3 * event->event.detail_json.size() + 256;
  }
  const auto add_list = [&bytes](const std::vector<ActiveDomain>& domains) {
    for (const ActiveDomain& active : domains) {
      bytes += sizeof(ActiveDomain) + active.domain.name.size() + 64;
    }
  };
  if (const auto* known = std::get_if<DetailsKnown>(&message); known != nullptr) {
    for (const auto& [key, value] : known->details.labels) {
      bytes += 2 * sizeof(std::string) + key.size() + value.size();
    }
  }
  if (const auto* opened = std::get_if<LinkOpened>(&message)) add_list(opened->domains);
  if (const auto* again = std::get_if<DomainsListedAgain>(&message)) add_list(again->domains);
  return bytes;
}

// Posts what one connection says. Lives for as long as libvirt may call it.
class Poster : public LibvirtApi::Callbacks {
 public:
  Poster(std::shared_ptr<LibvirtInbox> inbox, AttemptId attempt)
      : inbox_(std::move(inbox)), attempt_(attempt) {}

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
    inbox_->Post(attempt_, DomainEvent{Heard(domain), std::get<QmpEvent>(*std::move(message))});
  }
  void OnLifecycle(const DomainName& domain, const DomainLifecycle& lifecycle) override {
    inbox_->Post(attempt_, DomainChanged{Heard(domain), lifecycle});
  }
  void OnDetailsChanged(const DomainName& domain) override {
    inbox_->Post(attempt_, DetailsChanged{domain.uuid});
  }
  void OnClosed(const std::string& why) override { inbox_->Post(attempt_, LinkClosed{why}); }

 private:
  static DomainName Heard(DomainName domain) {
    domain.heard_ticks = StartTicksNow();
    return domain;
  }

  const std::shared_ptr<LibvirtInbox> inbox_;
  const AttemptId attempt_;
};

// The domains that run. A process that started after the call began is none of theirs: of a domain
// that started meanwhile there is a STARTED.
absl::StatusOr<std::vector<ActiveDomain>> List(LibvirtApi::Connection* connection) {
  const uint64_t now = StartTicksNow();
  absl::StatusOr<std::vector<ActiveDomain>> domains = connection->ListActive();
  if (!domains.ok()) return domains;
  for (ActiveDomain& active : *domains) active.domain.heard_ticks = now;
  return domains;
}

}  // namespace

absl::StatusOr<std::shared_ptr<LibvirtInbox>> LibvirtInbox::Create() {
  UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return absl::ErrnoToStatus(errno, "eventfd");
  return std::shared_ptr<LibvirtInbox>(new LibvirtInbox(std::move(wake)));
}

void LibvirtInbox::Begin(AttemptId attempt) {
  const MutexLock lock(&mutex_);
  attempts_.try_emplace(attempt);
}

void LibvirtInbox::Forget(AttemptId attempt) {
  const MutexLock lock(&mutex_);
  attempts_.erase(attempt);
}

LibvirtInbox::Attempt* LibvirtInbox::Find(AttemptId attempt) {
  const auto it = attempts_.find(attempt);
  return it == attempts_.end() || it->second.closed ? nullptr : &it->second;
}

void LibvirtInbox::Push(AttemptId attempt, LibvirtMessage message) {
  // A counter that is full wakes as well. Take wakes itself again while something is left.
  if (messages_.empty()) eventfd_write(wake_.get(), 1);
  messages_.push_back({attempt, std::move(message)});
}

void LibvirtInbox::Post(AttemptId attempt, LibvirtMessage message) {
  const MutexLock lock(&mutex_);
  Attempt* const to = Find(attempt);
  if (to == nullptr) return;
  if (to->bytes + BytesOf(message) > kMaxBytes && !std::holds_alternative<LinkClosed>(message)) {
    message = LinkClosed{"more events came than are taken in", /*overflow=*/true};
  }
  if (std::holds_alternative<LinkClosed>(message)) {
    to->closed = to->listed = true;
    to->held.clear();
  }
  to->bytes += BytesOf(message);
  if (!to->listed) return to->held.push_back(std::move(message));
  Push(attempt, std::move(message));
}

void LibvirtInbox::PostList(AttemptId attempt, std::vector<ActiveDomain> domains) {
  const MutexLock lock(&mutex_);
  Attempt* const to = Find(attempt);
  if (to == nullptr) return;
  to->listed = true;
  LinkOpened opened{.domains = std::move(domains), .changed = {}, .heard = {}};
  for (const LibvirtMessage& message : to->held) {
    const auto* const change = std::get_if<DomainChanged>(&message);
    if (change != nullptr) opened.changed.insert(change->domain.uuid);
    const auto* const event = std::get_if<DomainEvent>(&message);
    if (event != nullptr) opened.heard.insert(event->domain.uuid);
  }
  LibvirtMessage first = std::move(opened);
  to->bytes += BytesOf(first);
  Push(attempt, std::move(first));
  for (LibvirtMessage& message : std::exchange(to->held, {})) Push(attempt, std::move(message));
}

std::vector<LibvirtInbox::Entry> LibvirtInbox::Take() {
  std::vector<Entry> entries;
  const MutexLock lock(&mutex_);
  eventfd_t ignored;
  eventfd_read(wake_.get(), &ignored);
  while (entries.size() < kBatch && !messages_.empty()) {
    const auto from = attempts_.find(messages_.front().attempt);
    if (from != attempts_.end()) {
      from->second.bytes -= BytesOf(messages_.front().message);
      entries.push_back(std::move(messages_.front()));
    }
    messages_.pop_front();
  }
  if (!messages_.empty()) eventfd_write(wake_.get(), 1);
  return entries;
}

// Shared with the worker, which may outlive the link.
struct LibvirtLink::Shared {
  std::shared_ptr<LibvirtApi> api;
  std::shared_ptr<LibvirtInbox> inbox;
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
  AttemptId attempt = 0;                               // the connection's
  ProcessPlace processes;                              // of its libvirt's domains
  CommandLines command_lines;

  // Connects, and sets `processes`.
  absl::StatusOr<std::unique_ptr<LibvirtApi::Connection>> Connect() {
    const auto poster = std::make_shared<Poster>(inbox, attempt);
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

  void OpenNow(AttemptId next) {
    connection.reset();
    attempt = next;
    absl::StatusOr<std::unique_ptr<LibvirtApi::Connection>> opened = Connect();
    if (!opened.ok()) {
      return inbox->Post(attempt, LinkClosed{std::string(opened.status().message())});
    }
    connection = *std::move(opened);
    absl::StatusOr<std::vector<ActiveDomain>> domains = List(connection.get());
    if (!domains.ok()) {
      return inbox->Post(attempt, LinkClosed{std::string(domains.status().message())});
    }
    inbox->PostList(attempt, *std::move(domains));
  }
};

LibvirtLink::LibvirtLink(std::shared_ptr<LibvirtApi> api, std::shared_ptr<LibvirtInbox> inbox,
                         DetachedThreads* threads, LibvirtSpec spec, Place place)
    : shared_(std::make_shared<Shared>()), threads_(threads) {
  shared_->api = std::move(api);
  shared_->inbox = std::move(inbox);
  shared_->spec = std::move(spec);
  shared_->place = std::move(place);
}

LibvirtLink::~LibvirtLink() { Close(); }

void LibvirtLink::Open(AttemptId attempt) {
  shared_->inbox->Forget(attempt_);
  attempt_ = attempt;
  shared_->inbox->Begin(attempt);
  DoInstead([attempt](Shared* shared) { shared->OpenNow(attempt); });
}

void LibvirtLink::Close() {
  if (attempt_ == 0) return;
  shared_->inbox->Forget(std::exchange(attempt_, 0));
  DoInstead([](Shared* shared) { shared->connection.reset(); });
}

void LibvirtLink::AskDetails(const std::string& uuid) {
  DoOnce(uuid, [uuid](Shared* shared) {
    absl::StatusOr<DomainDetails> details = shared->connection->Details(uuid);
    if (details.ok()) shared->inbox->Post(shared->attempt, DetailsKnown{uuid, *std::move(details)});
  });
}

void LibvirtLink::ListAgain() {
  DoOnce("list", [](Shared* shared) {
    absl::StatusOr<std::vector<ActiveDomain>> domains = List(shared->connection.get());
    if (!domains.ok()) return;
    shared->inbox->Post(shared->attempt, DomainsListedAgain{*std::move(domains)});
  });
}

void LibvirtLink::FindProcess(const DomainName& domain) {
  {
    const MutexLock lock(&shared_->mutex);
    shared_->processes_asked.push_back(domain);
    if (shared_->processes_asked.size() > 1) return;
  }
  Do([](Shared* shared) {
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
      shared->inbox->Post(shared->attempt,
                          ProcessFound{std::move(asked[index]), std::move(found[index])});
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
