#include "watcher/libvirt/libvirt_source.h"

#include <sys/epoll.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <variant>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "spdlog/spdlog.h"
#include "watcher/core/libvirt_spec.h"
#include "watcher/core/names.h"
#include "watcher/libvirt/domain_process.h"
#include "watcher/runs/process.h"

namespace vmeventd {
namespace {

constexpr absl::Duration kFirstRetry = absl::Milliseconds(100);
constexpr absl::Duration kMaxRetry = absl::Seconds(5);
// An attempt that takes longer is reported, and is not waited for at the start.
constexpr absl::Duration kSlowAttempt = absl::Seconds(5);
// What is handed in at a time: the sockets of other QEMUs are read in between.
constexpr absl::Duration kTurn = absl::Milliseconds(2);
// How long a stop waits for calls of libvirt that are under way.
constexpr absl::Duration kStopWait = absl::Seconds(1);

LibvirtRun* Of(VmRun* run) { return static_cast<LibvirtRun*>(run); }

// The run state of a domain whose first event this is: what comes before it was not missed.
std::string FirstRunState(const std::string& event) {
  if (event == "RESUME" || event == "SHUTDOWN" || event == "POWERDOWN") return "running";
  if (event == "STOP") return "paused";
  return "prelaunch";
}

}  // namespace

absl::StatusOr<std::unique_ptr<LibvirtSource>> LibvirtSource::Create(
    RunContext* context, const WatcherOptions* options, RunTable* table, EventSink* sink,
    std::shared_ptr<LibvirtApi> api) {
  absl::StatusOr<std::shared_ptr<LibvirtInbox>> inbox = LibvirtInbox::Create();
  if (!inbox.ok()) return inbox.status();
  const int fd = (*inbox)->fd();
  std::unique_ptr<LibvirtSource> source(
      new LibvirtSource(context, options, table, sink, std::move(api), *std::move(inbox)));
  if (absl::Status status = context->loop->Add(fd, EPOLLIN, source.get()); !status.ok()) {
    return status;
  }
  if (options->libvirts.empty()) return source;
  std::vector<std::string> patterns;
  for (const LibvirtSpec& spec : options->libvirts) patterns.push_back(spec.socket);
  absl::StatusOr<std::unique_ptr<SocketGlobWatcher>> sockets =
      SocketGlobWatcher::Create(context->loop, patterns, source.get());
  if (!sockets.ok()) return sockets.status();
  source->sockets_ = *std::move(sockets);
  return source;
}

LibvirtSource::LibvirtSource(RunContext* context, const WatcherOptions* options, RunTable* table,
                             EventSink* sink, std::shared_ptr<LibvirtApi> api,
                             std::shared_ptr<LibvirtInbox> inbox)
    : context_(context),
      options_(options),
      table_(table),
      sink_(sink),
      api_(std::move(api)),
      inbox_(std::move(inbox)) {}

LibvirtSource::~LibvirtSource() {
  context_->loop->Remove(inbox_->fd());
  for (const auto& [uri, link] : links_) {
    context_->loop->CancelTimer(&link->retry);
    context_->loop->CancelTimer(&link->slow);
    link->worker.reset();
  }
  if (!workers_->WaitForNone(kStopWait)) {
    spdlog::warn("a call of libvirt has not returned at the stop, and is left behind");
  }
}

void LibvirtSource::Start() {
  started_ = true;
  for (const LibvirtSpec& spec : options_->libvirts) {
    if (!spec.has_glob()) Want(LinkAt(spec.Uri()), spec, spec.socket);
  }
  if (sockets_ != nullptr) sockets_->Start();
  // What the daemon before this one followed, and nothing configured leads to; or of an earlier
  // life of its domain.
  std::vector<LibvirtRun*> unreachable;
  for (const auto& [known, link] : link_of_) {
    LibvirtRun* const run = Of(known);
    const auto latest = link->runs.find(run->uuid());
    const bool is_latest = latest != link->runs.end() && latest->second == run;
    if (link->worker == nullptr || !is_latest) unreachable.push_back(run);
  }
  for (LibvirtRun* run : unreachable) run->OnLibvirtGone();
}

bool LibvirtSource::first_scan_done() const {
  return started_ && std::all_of(links_.begin(), links_.end(), [](const auto& entry) {
           return entry.second->tried || !entry.second->wanted;
         });
}

// Links

LibvirtSource::Link* LibvirtSource::LinkAt(const std::string& uri) {
  std::unique_ptr<Link>& link = links_[uri];
  if (link == nullptr) {
    link = std::make_unique<Link>();
    link->uri = uri;
    link->since = context_->loop->Now().wall;
  }
  return link.get();
}

void LibvirtSource::Want(Link* link, const LibvirtSpec& spec, const std::string& socket) {
  if (link->worker == nullptr) {
    link->pid_directory = PidDirectory(spec, socket);
    link->worker = std::make_unique<LibvirtLink>(api_, inbox_, workers_, link->uri);
  }
  link->wanted = true;
  link->backoff = absl::ZeroDuration();
  if (link->attempt == 0) Connect(link);
}

void LibvirtSource::OnSocketPath(int spec, const std::string& path) {
  const LibvirtSpec& found = options_->libvirts[static_cast<size_t>(spec)];
  Want(LinkAt(found.UriAt(path)), found, path);
}

void LibvirtSource::OnSocketPathGone(int spec, const std::string& path) {
  const LibvirtSpec& gone = options_->libvirts[static_cast<size_t>(spec)];
  const auto it = links_.find(gone.UriAt(path));
  if (it == links_.end() || !gone.has_glob()) return;  // one without a glob is tried again
  Link* const link = it->second.get();
  link->wanted = false;
  context_->loop->CancelTimer(&link->retry);
  if (!link->connected) GiveUp(link);
}

void LibvirtSource::Connect(Link* link) {
  context_->loop->CancelTimer(&link->retry);
  link->attempt = ++last_attempt_;
  attempts_[link->attempt] = link;
  link->slow = context_->loop->AddTimer(context_->loop->Now().monotonic + kSlowAttempt,
                                        [this, link] { OnSlow(link); });
  link->worker->Open(link->attempt);
  ShowState(*link);
}

void LibvirtSource::OnSlow(Link* link) {
  link->slow = {};
  link->tried = true;
  SetProblem(link, "libvirt does not answer");
}

void LibvirtSource::RetryLater(Link* link) {
  link->backoff = std::min(std::max(link->backoff * 2, kFirstRetry), kMaxRetry);
  context_->loop->CancelTimer(&link->retry);
  link->retry =
      context_->loop->AddTimer(context_->loop->Now().monotonic + link->backoff, [this, link] {
        link->retry = {};
        Connect(link);
      });
}

void LibvirtSource::EndAttempt(Link* link) {
  context_->loop->CancelTimer(&link->slow);
  attempts_.erase(std::exchange(link->attempt, 0));
}

void LibvirtSource::Disconnect(Link* link, absl::string_view why) {
  EndAttempt(link);
  if (std::exchange(link->connected, false)) {
    link->since = context_->loop->Now().wall;
    link->worker->Close();
  }
  std::vector<LibvirtRun*> runs;
  for (const auto& [run, of] : link_of_) {
    if (of == link) runs.push_back(Of(run));
  }
  for (LibvirtRun* run : runs) {
    if (link_of_.contains(run)) run->OnLost(why);
  }
}

void LibvirtSource::GiveUp(Link* link) {
  context_->loop->CancelTimer(&link->retry);
  EndAttempt(link);
  link->worker.reset();
  {
    const MutexLock lock(&mutex_);
    states_.erase(link->uri);
  }
  std::vector<LibvirtRun*> runs;
  for (const auto& [uuid, run] : link->runs) runs.push_back(run);
  for (LibvirtRun* run : runs) run->OnLibvirtGone();
  has_unused_links_ = true;
}

void LibvirtSource::EndTurn() {
  if (!std::exchange(has_unused_links_, false)) return;
  absl::flat_hash_set<const Link*> used;
  for (const auto& [run, link] : link_of_) used.insert(link);
  std::erase_if(links_, [&used](const auto& entry) {
    return entry.second->worker == nullptr && !used.contains(entry.second.get());
  });
}

void LibvirtSource::SetProblem(Link* link, const std::string& problem) {
  if (link->problem != problem && !problem.empty()) {
    spdlog::warn("--libvirt {}: {}", absl::CHexEscape(link->uri),
                 absl::Utf8SafeCHexEscape(problem));
  }
  link->problem = EscapeNonUtf8(problem);
  ShowState(*link);
}

void LibvirtSource::ShowState(const Link& link) {
  if (link.worker == nullptr) return;
  const MutexLock lock(&mutex_);
  states_[link.uri] = {.uri = EscapeNonUtf8(link.uri),
                       .connected = link.connected,
                       .problem = link.connected ? "" : link.problem,
                       .since = link.since,
                       .domains = static_cast<int>(link.runs.size())};
}

std::vector<LibvirtConnectionState> LibvirtSource::connections() const {
  const MutexLock lock(&mutex_);
  std::vector<LibvirtConnectionState> states;
  for (const auto& [uri, state] : states_) states.push_back(state);
  return states;
}

void LibvirtSource::PublishGap(const Link& link) {
  const Instant now = context_->loop->Now();
  VmEvent gap;
  gap.type = EventType::kGap;
  gap.observe_time = now.wall;
  gap.observe_monotonic = now.monotonic;
  gap.message =
      absl::StrCat("the connection to libvirt ", EscapeNonUtf8(link.uri), " was lost for ",
                   absl::FormatDuration(absl::Trunc(now.wall - link.since, absl::Milliseconds(1))),
                   ": domains that began and ended meanwhile were not seen");
  VmUpdate update;
  update.event = std::move(gap);
  sink_->Push(std::move(update));
}

// Messages

void LibvirtSource::OnFdReady(uint32_t) { ReadNow(kTurn); }

void LibvirtSource::ReadNow(absl::Duration limit) {
  if (std::exchange(reading_, true)) return;  // from within a message
  const absl::Duration deadline = context_->loop->Now().monotonic + limit;
  do {
    std::vector<LibvirtInbox::Entry> entries = inbox_->Take();
    if (entries.empty()) break;
    for (LibvirtInbox::Entry& entry : entries) {
      const auto it = attempts_.find(entry.attempt);
      if (it == attempts_.end()) continue;  // it was closed meanwhile
      Link* const link = it->second;
      std::visit([this, link](auto& message) { Handle(link, message); }, entry.message);
    }
  } while (context_->loop->Now().monotonic < deadline);
  reading_ = false;
}

void LibvirtSource::Handle(Link* link, LinkOpened&) {
  context_->loop->CancelTimer(&link->slow);
  meters_.connects.Add();
  spdlog::info("connected to libvirt {}", absl::CHexEscape(link->uri));
  if (std::exchange(link->was_connected, true)) PublishGap(*link);
  link->connected = true;
  link->since = context_->loop->Now().wall;
  link->backoff = absl::ZeroDuration();
  link->listed.clear();
  SetProblem(link, "");
}

void LibvirtSource::Handle(Link* link, DomainListed& message) {
  const DomainName& domain = message.active.domain;
  link->listed.insert(domain.uuid);
  LibvirtRun* const known = FindRun(link, domain);
  if (known == nullptr) {
    FindOrAddRun(link, domain, message.active.run_state);
    return;
  }
  TrackIfPossible(link, known);
  if (link_of_.contains(known)) known->OnListed(message.active.run_state);
}

void LibvirtSource::Handle(Link* link, DomainsListed&) {
  const absl::flat_hash_set<std::string> listed = std::exchange(link->listed, {});
  link->tried = true;
  std::vector<LibvirtRun*> absent;
  for (const auto& [uuid, run] : link->runs) {
    if (!listed.contains(uuid)) absent.push_back(run);
  }
  for (LibvirtRun* run : absent) run->OnNotListed();
  // Of what is not listed no event comes any more.
  absl::erase_if(link->passed_over,
                 [&listed](const auto& entry) { return !listed.contains(entry.first); });
  ShowState(*link);
}

void LibvirtSource::Handle(Link* link, LinkClosed& message) {
  meters_.failures.Add();
  if (message.overflow) meters_.overflows.Add();
  link->tried = true;
  Disconnect(link, message.why);
  SetProblem(link, message.why);
  if (link->wanted) {
    RetryLater(link);
  } else {
    GiveUp(link);
  }
}

void LibvirtSource::Handle(Link* link, DomainEvent& message) {
  LibvirtRun* const run = FindOrAddRun(link, message.domain, FirstRunState(message.event.name));
  if (run != nullptr) run->OnQmpEvent(message.event);
}

void LibvirtSource::Handle(Link* link, DomainChanged& message) {
  switch (message.lifecycle.what) {
    case DomainLifecycle::What::kStarted:
      // QEMU's RESUME came before, unless the domain was started paused.
      if (LibvirtRun* const run = FindOrAddRun(link, message.domain, "prelaunch"); run != nullptr) {
        TrackIfPossible(link, run);
      }
      return;
    case DomainLifecycle::What::kStopped:
      link->passed_over.erase(message.domain.uuid);
      if (const auto it = link->runs.find(message.domain.uuid); it != link->runs.end()) {
        const bool same =
            message.domain.id <= 0 || message.domain.id == it->second->info().domain_id;
        if (same) it->second->OnStopped(message.lifecycle);
      }
      return;
    case DomainLifecycle::What::kOther:
      return;
  }
}

void LibvirtSource::Handle(Link* link, AgentChanged& message) {
  if (LibvirtRun* const run = FindRun(link, message.domain); run != nullptr) AskGuestAgent(run);
}

void LibvirtSource::Handle(Link* link, AgentKnown& message) {
  const auto it = link->runs.find(message.uuid);
  if (it != link->runs.end()) it->second->OnGuestAgent(message.info);
}

void LibvirtSource::AskGuestAgent(LibvirtRun* run) {
  const auto it = link_of_.find(run);
  if (it == link_of_.end() || !it->second->connected) return;
  it->second->worker->AskGuestAgent(run->uuid());
}

// Runs

LibvirtRun* LibvirtSource::FindRun(Link* link, const DomainName& domain) {
  const auto it = link->runs.find(domain.uuid);
  if (it == link->runs.end()) return nullptr;
  return it->second->info().domain_id == domain.id ? it->second : nullptr;
}

LibvirtRun* LibvirtSource::FindOrAddRun(Link* link, const DomainName& domain,
                                        const std::string& run_state) {
  if (LibvirtRun* const known = FindRun(link, domain); known != nullptr) return known;
  if (domain.id <= 0) return nullptr;  // it does not run (any more)
  if (const auto it = link->passed_over.find(domain.uuid); it != link->passed_over.end()) {
    if (it->second == domain.id) return nullptr;
    link->passed_over.erase(it);
  }
  if (const auto it = link->runs.find(domain.uuid); it != link->runs.end()) {
    // Its next life has begun: the end of this one was not reported.
    LibvirtRun* const before = it->second;
    link->runs.erase(it);
    before->OnNotListed();
  }
  LibvirtRun* const run = AddRun(link, domain);
  if (run == nullptr) return nullptr;
  run->OnListed(run_state);
  const auto it = link->runs.find(domain.uuid);
  return it != link->runs.end() && it->second == run ? run : nullptr;
}

PeerProcess LibvirtSource::FindProcess(const Link& link, const DomainName& domain,
                                       bool* out_of_descriptors) {
  *out_of_descriptors = false;
  if (!options_->process_tracking) return {};
  absl::StatusOr<PeerProcess> process = absl::ResourceExhaustedError("pidfd");
  if (context_->vm_descriptors < context_->max_vm_descriptors) {
    process = FindDomainProcess(link.pid_directory, domain);
  }
  *out_of_descriptors = absl::IsResourceExhausted(process.status());
  if (*out_of_descriptors) context_->meters.out_of_descriptors.Add();
  return process.ok() ? *std::move(process) : PeerProcess();
}

LibvirtRun* LibvirtSource::AddRun(Link* link, const DomainName& domain) {
  if (!link->new_runs.Take(context_->loop->Now().monotonic)) {
    meters_.overflows.Add();
    spdlog::warn("--libvirt {}: too many domains began: {} is not followed",
                 absl::CHexEscape(link->uri), absl::Utf8SafeCHexEscape(domain.name));
    return nullptr;
  }
  bool out_of_descriptors = false;
  PeerProcess process = FindProcess(*link, domain, &out_of_descriptors);
  const bool tracked = process.kind == PeerProcess::Kind::kTracked;
  if (table_->FindByProcess(process) != nullptr) {
    link->passed_over[domain.uuid] = domain.id;
    return nullptr;
  }
  RunInfo info;
  info.name = EscapeName(domain.name);
  info.SetRawName(domain.name);
  info.source = EscapeNonUtf8(DomainSource(link->uri));
  info.boot_id = context_->boot_id;
  info.pid_namespace = context_->pid_namespace;
  info.domain_id = domain.id;
  info.process_tracked = tracked;
  if (tracked) info.SetProcess(DescribeProcess(process, *context_->oom_counters));
  RunIdentity identity{.boot_id = context_->boot_id, .monitor_path = info.source};
  if (info.start_ticks != 0) {
    identity.pid = info.pid;
    identity.start_ticks = info.start_ticks;
  } else {
    identity.socket_inode = static_cast<uint64_t>(domain.id);
    identity.first_seen_ns = context_->NewFirstSeen();
  }
  info.run_id = MakeRunId(identity);
  if (table_->Find(info.run_id) != nullptr) return nullptr;
  LibvirtRun* const added = Adopt(
      link, domain.uuid, VmSession(std::move(info), &options_->session, context_->loop->Now()));
  table_->SetUuid(added, domain.uuid);
  ShowState(*link);
  if (tracked && !added->Track(std::move(process)).ok()) added->LoseTracking();
  if (out_of_descriptors) added->ReportProblem(kOutOfDescriptorsProblem);
  return added;
}

void LibvirtSource::TrackIfPossible(Link* link, LibvirtRun* run) {
  if (run->tracked()) return;
  bool out_of_descriptors = false;
  PeerProcess process = FindProcess(
      *link, {run->info().raw_name(), run->uuid(), run->info().domain_id}, &out_of_descriptors);
  if (process.kind != PeerProcess::Kind::kTracked || table_->FindByProcess(process) != nullptr) {
    return;
  }
  run->TrackInstead(std::move(process)).IgnoreError();
}

VmRun* LibvirtSource::Restore(std::unique_ptr<VmSession> session) {
  const std::string uuid = session->Status().ref.uuid;
  const std::string uri(absl::StripPrefix(session->run().source, "libvirt:"));
  return Adopt(LinkAt(uri), uuid, std::move(*session));
}

LibvirtRun* LibvirtSource::Adopt(Link* link, const std::string& uuid, VmSession session) {
  auto run = std::make_unique<LibvirtRun>(context_, table_, this, uuid, std::move(session));
  LibvirtRun* const added = run.get();
  link->runs[uuid] = added;
  link_of_[added] = link;
  table_->Add(this, std::move(run));
  return added;
}

void LibvirtSource::OnOver(VmRun* run) {
  const auto of = link_of_.find(run);
  Link* const link = of->second;
  link_of_.erase(of);
  const auto it = link->runs.find(Of(run)->uuid());
  if (it != link->runs.end() && it->second == run) {
    if (!Of(run)->reported()) link->passed_over[it->first] = run->info().domain_id;
    link->runs.erase(it);
  }
  if (link->worker == nullptr) has_unused_links_ = true;
  ShowState(*link);
}

}  // namespace vmeventd
