#include "server/rpc/rpc_backend.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/events/event_codec.h"

namespace vmeventd {
namespace {

// GetServerInfoResponse.capabilities: additions to the contract since 0.1.0, in order.
constexpr const char* kCapabilities[] = {
    "event-problems", "event-source", "event-state",      "intent-end",         "intent-request-id",
    "missing-ranges", "node-id",      "shutdown-caveats", "unfollowed-sockets",
};

}  // namespace

RpcBackend::RpcBackend(ServerFacts facts, const LiveState* live_state, const Queries* queries,
                       JournalReadQueue* read_queue, StreamHub* hub, RefusalCounters* refusals)
    : facts_(std::move(facts)),
      live_state_(live_state),
      queries_(queries),
      read_queue_(read_queue),
      hub_(hub),
      refusals_(refusals) {}

void RpcBackend::SetWatcher(NodeWatcher* watcher) {
  const MutexLock lock(&mutex_);
  watcher_ = watcher;
}

void RpcBackend::StopIntents() { SetWatcher(nullptr); }

absl::Status RpcBackend::WithWatcher(const std::function<void(NodeWatcher*)>& use) {
  if (!live_state_->journal_writable()) {
    return absl::UnavailableError(
        "the journal cannot be written now, so a restart of vmeventd would lose the intent; "
        "try again later");
  }
  const MutexLock lock(&mutex_);
  if (watcher_ == nullptr) return absl::UnavailableError("vmeventd is shutting down");
  use(watcher_);
  return absl::OkStatus();
}

absl::Status RpcBackend::CheckDurable(absl::string_view what) const {
  if (live_state_->journal_writable()) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("the journal cannot be written now, so a restart of vmeventd would undo "
                   "this: ",
                   what, "; try again later"));
}

void RpcBackend::TakeBackIntent(const std::string& intent_id) {
  const MutexLock lock(&mutex_);
  if (watcher_ == nullptr) return;  // vmeventd stops
  watcher_->WithdrawIntent(intent_id, [](const absl::Status&) {});
}

v1::GetServerInfoResponse RpcBackend::Info() const {
  v1::GetServerInfoResponse info;
  info.set_version(facts_.version);
  info.set_node(facts_.node);
  const JournalIdentityPtr identity = live_state_->identity();
  info.set_journal_id(identity->journal_id);
  info.set_node_id(identity->node_id);
  const LiveState::Range range = live_state_->range();
  info.set_oldest_sequence(range.oldest);
  info.set_newest_sequence(range.newest);
  *info.mutable_start_time() = ToTimestamp(facts_.start_time);
  for (const WatchedDirectory& directory : live_state_->directories()) {
    v1::WatchedDirectory* out = info.add_directories();
    out->set_path(directory.path);
    out->set_pattern(directory.pattern);
    out->set_present(directory.present);
    out->set_sockets(directory.sockets);
  }
  for (const char* capability : kCapabilities) info.add_capabilities(capability);
  info.set_vms(live_state_->vm_count());
  info.set_streams(hub_->stream_count());
  info.set_journal_writable(live_state_->journal_writable());
  const MutexLock lock(&mutex_);
  info.set_exit_status_source(watcher_ == nullptr ? "none" : watcher_->exit_status_source());
  if (watcher_ == nullptr) return info;
  for (const UnfollowedSocket& socket : watcher_->unfollowed_sockets()) {
    v1::UnfollowedSocket* out = info.add_unfollowed_sockets();
    out->set_path(socket.path);
    out->set_name(socket.name);
    out->set_problem(socket.problem);
    *out->mutable_since() = ToTimestamp(socket.since);
  }
  for (const LibvirtConnectionState& connection : watcher_->libvirt_connections()) {
    v1::LibvirtConnection* out = info.add_libvirt_connections();
    out->set_uri(connection.uri);
    out->set_connected(connection.connected);
    out->set_problem(connection.problem);
    *out->mutable_since() = ToTimestamp(connection.since);
    out->set_domains(connection.domains);
  }
  return info;
}

}  // namespace vmeventd
