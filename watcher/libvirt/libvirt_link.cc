#include "watcher/libvirt/libvirt_link.h"

#include <optional>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "base/unix_address.h"
#include "spdlog/spdlog.h"
#include "watcher/libvirt/domain_process.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/process.h"

namespace vmeventd {

// The requested calls that the worker has not made yet.
struct LibvirtLink::Requests {
  bool reconnects = false;              // first of all
  std::shared_ptr<LibvirtInbox> inbox;  // the next connection's; null: there is none
  std::vector<DomainName> processes;
  bool list = false;
  std::set<std::string> details;  // UUIDs

  bool empty() const { return !reconnects && processes.empty() && !list && details.empty(); }
};

// Shared with the worker, which may outlive the link.
struct LibvirtLink::Shared {
  std::shared_ptr<LibvirtApi> api;
  LibvirtSpec spec;
  std::string socket;
  bool finds_processes = false;

  Mutex mutex;
  Requests requests ABSL_GUARDED_BY(mutex);     // bounded by the domains
  bool working ABSL_GUARDED_BY(mutex) = false;  // it has a thread, or waits for one
  bool has_thread ABSL_GUARDED_BY(mutex) = false;

  std::unique_ptr<LibvirtApi::Connection> connection;  // used by the worker
  std::shared_ptr<LibvirtInbox> inbox;                 // of that connection
  ProcessPlace place;                                  // where its domains' processes are
  CommandLines command_lines;

  // Connects, and looks where the processes are.
  absl::StatusOr<std::unique_ptr<LibvirtApi::Connection>> Connect() {
    // libvirt may call it for longer than the link exists.
    const auto post = [to = inbox](LibvirtEvent event) {
      const auto post_as_of_now = [&](auto& message) {
        if constexpr (requires { message.domain; }) {
          message.domain.reported_ticks = StartTicksNow();
        }
        to->Post(std::move(message));
      };
      std::visit(post_as_of_now, event);
    };
    place.foreign_namespace.reset();
    if (socket.empty()) return api->Open(spec.Uri(), post);
    const absl::StatusOr<UnixAddress> address = UnixAddress::Open(socket);
    if (!address.ok()) return address.status();
    auto opened = api->Open(spec.UriAt(address->text()), post);
    if (!opened.ok()) {  // libvirt names the address
      return absl::Status(opened.status().code(), absl::StrReplaceAll(opened.status().message(),
                                                                      {{address->text(), socket}}));
    }
    if (finds_processes) place.foreign_namespace = ForeignPidNamespaceBehind(*address);
    return opened;
  }

  // Posts the list of the domains. Returns the error where there is none. A process that started
  // after the call began belongs to no listed domain: a domain that started meanwhile has a
  // STARTED.
  absl::Status PostList() {
    const uint64_t now = StartTicksNow();
    absl::StatusOr<std::vector<ActiveDomain>> domains = connection->ListActive();
    if (!domains.ok()) return domains.status();
    for (ActiveDomain& active : *domains) active.domain.reported_ticks = now;
    inbox->Post(DomainsListed{*std::move(domains)});
    return absl::OkStatus();
  }

  void Reconnect(std::shared_ptr<LibvirtInbox> next) {
    connection.reset();
    inbox = std::move(next);
    if (inbox == nullptr) return;
    absl::StatusOr<std::unique_ptr<LibvirtApi::Connection>> opened = Connect();
    absl::Status status = opened.status();
    if (opened.ok()) {
      connection = *std::move(opened);
      status = PostList();
    }
    if (status.ok()) return;
    LinkClosed closed{std::string(status.message())};
    closed.forbidden = absl::IsPermissionDenied(status);
    inbox->Post(std::move(closed));
  }

  void PostProcesses(std::vector<DomainName> asked) {
    std::vector<DomainProcess> found(asked.size());
    if (finds_processes) found = FindProcesses(place, asked, &command_lines);
    for (size_t index = 0; index < asked.size(); ++index) {
      inbox->Post(ProcessFound{std::move(asked[index]), std::move(found[index])});
    }
  }

  void PostDetails(const std::string& uuid) {
    absl::StatusOr<DomainDetails> details = connection->Details(uuid);
    if (details.ok()) {
      inbox->Post(DetailsKnown{uuid, *std::move(details)});
    } else if (!absl::IsNotFound(details.status())) {
      spdlog::warn(
          "--libvirt {}: cannot read the definition of the domain {}, and so its labels and "
          "whether it has a guest agent: {}",
          absl::CHexEscape(spec.Uri()), absl::CHexEscape(uuid),
          absl::CHexEscape(details.status().message()));
    }
  }
};

LibvirtLink::LibvirtLink(std::shared_ptr<LibvirtApi> api, std::shared_ptr<const UniqueFd> wake,
                         DetachedThreads* threads, LibvirtSpec spec, std::string socket,
                         bool finds_processes)
    : shared_(std::make_shared<Shared>()), wake_(std::move(wake)), threads_(threads) {
  shared_->api = std::move(api);
  shared_->place = {.pid_directory = PidDirectory(spec, socket),
                    .containers = spec.containers,
                    .foreign_namespace = std::nullopt};
  shared_->spec = std::move(spec);
  shared_->socket = std::move(socket);
  shared_->finds_processes = finds_processes;
}

LibvirtLink::~LibvirtLink() { Close(); }

void LibvirtLink::Open() {
  if (inbox_ != nullptr) inbox_->Close();
  inbox_ = std::make_shared<LibvirtInbox>(wake_);
  Ask([this](Requests* requests) { *requests = {.reconnects = true, .inbox = inbox_}; });
}

void LibvirtLink::Close() {
  if (inbox_ == nullptr) return;
  std::exchange(inbox_, nullptr)->Close();
  Ask([](Requests* requests) { *requests = {.reconnects = true}; });
}

void LibvirtLink::AskDetails(const std::string& uuid) {
  Ask([&](Requests* requests) { requests->details.insert(uuid); });
}

void LibvirtLink::ListAgain() {
  Ask([](Requests* requests) { requests->list = true; });
}

void LibvirtLink::FindProcess(const DomainName& domain) {
  Ask([&](Requests* requests) { requests->processes.push_back(domain); });
}

bool LibvirtLink::busy() const {
  const MutexLock lock(&shared_->mutex);
  return shared_->working;
}

bool LibvirtLink::waits_for_thread() const {
  const MutexLock lock(&shared_->mutex);
  return shared_->working && !shared_->has_thread;
}

void LibvirtLink::Ask(const std::function<void(Requests*)>& add) {
  {
    const MutexLock lock(&shared_->mutex);
    add(&shared_->requests);
    if (std::exchange(shared_->working, true)) return;
  }
  threads_->Run([shared = shared_] { Work(shared.get()); });
}

void LibvirtLink::Work(Shared* shared) {
  while (true) {
    Requests now;
    std::string uuid;
    {
      const MutexLock lock(&shared->mutex);
      shared->has_thread = shared->working = !shared->requests.empty();
      if (!shared->working) return;
      now = std::exchange(shared->requests, {});
      // The details of one domain at a time: nothing else waits for those of all.
      if (!now.details.empty()) uuid = std::move(now.details.extract(now.details.begin()).value());
      shared->requests.details = std::move(now.details);
    }
    if (now.reconnects) shared->Reconnect(std::move(now.inbox));
    if (shared->connection == nullptr) continue;
    if (!now.processes.empty()) shared->PostProcesses(std::move(now.processes));
    if (now.list) {
      // A connection that lists nothing shows no ends: it is made again.
      const absl::Status listed = shared->PostList();
      if (!listed.ok()) shared->inbox->Post(LinkClosed{std::string(listed.message())});
    }
    if (!uuid.empty()) shared->PostDetails(uuid);
  }
}

}  // namespace vmeventd
