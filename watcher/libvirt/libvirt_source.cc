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
// A connection that lasted as long is made again at once.
constexpr absl::Duration kStable = absl::Seconds(10);
// An attempt that takes longer is reported, and is not waited for at the start.
constexpr absl::Duration kSlowAttempt = absl::Seconds(5);
// When the domains are listed again, after that was done at the connection: a libvirt that was just
// started finds out by then which of its domains it has.
constexpr absl::Duration kFirstCheck = absl::Seconds(5);
constexpr absl::Duration kCheckInterval = absl::Minutes(1);
// When threads that could not be started are tried again.
constexpr absl::Duration kThreadRetry = absl::Seconds(1);
// What steps of the node's clock may make of the time of a process's start.
constexpr absl::Duration kClockSteps = absl::Seconds(5);
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

bool IsGuestShutdown(const QmpEvent& event) {
  return event.name == "SHUTDOWN" && QmpBool(event.data, "guest") == true;
}

std::vector<std::string> GlobsOf(const std::vector<LibvirtSpec>& specs) {
  std::vector<std::string> patterns;
  patterns.reserve(specs.size());
  for (const LibvirtSpec& spec : specs) patterns.push_back(spec.socket);
  return patterns;
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
      inbox_(std::move(inbox)),
      sockets_(context->loop, GlobsOf(options->libvirts), this) {}

LibvirtSource::~LibvirtSource() {
  context_->loop->Remove(inbox_->fd());
  context_->loop->CancelTimer(&retry_threads_);
  for (const auto& [uri, link] : links_) {
    context_->loop->CancelTimer(&link->retry);
    context_->loop->CancelTimer(&link->slow);
    context_->loop->CancelTimer(&link->check);
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
  sockets_.Start();
  // Of an earlier life of its domain.
  std::vector<LibvirtRun*> earlier;
  for (const auto& [known, link] : link_of_) {
    LibvirtRun* const run = Of(known);
    const auto latest = link->runs.find(run->uuid());
    if (latest == link->runs.end() || latest->second != run) earlier.push_back(run);
  }
  for (LibvirtRun* run : earlier) run->OnLibvirtGone();
}

void LibvirtSource::EndTurn() {
  if (workers_->starved() && retry_threads_.serial == 0) {
    retry_threads_ =
        context_->loop->AddTimer(context_->loop->Now().monotonic + kThreadRetry, [this] {
          retry_threads_ = {};
          workers_->Retry();
        });
  }
  const auto tried = [](const auto& entry) { return entry.second->tried || !entry.second->wanted; };
  if (!first_scan_done_ && started_ && std::all_of(links_.begin(), links_.end(), tried)) {
    EndOrphans();
    first_scan_done_ = true;
  }
  if (std::exchange(has_unused_links_, false)) DropUnusedLinks();
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
    link->worker = std::make_unique<LibvirtLink>(
        api_, inbox_, workers_, link->uri, options_->process_tracking ? socket : std::string());
  }
  link->wanted = true;
  if (link->attempt != 0 || link->retry.serial != 0) return;
  if (context_->loop->Now().monotonic < link->not_before) {
    RetryLater(link);
  } else {
    Connect(link);
  }
}

void LibvirtSource::OnSocketPath(int spec, const std::string& path) {
  const LibvirtSpec& found = options_->libvirts[static_cast<size_t>(spec)];
  const std::string uri = found.UriAt(path);
  if (!links_.contains(uri) && links_.size() >= kMaxLinks) {
    context_->meters.libvirt_overflows.Add();
    spdlog::warn(
        "--libvirt: more than {} sockets came and went with calls under way: {} is left out",
        kMaxLinks, absl::CHexEscape(path));
    return;
  }
  Want(LinkAt(uri), found, path);
}

void LibvirtSource::OnSocketPathGone(int spec, const std::string& path) {
  const LibvirtSpec& gone = options_->libvirts[static_cast<size_t>(spec)];
  const auto it = links_.find(gone.UriAt(path));
  if (it == links_.end()) return;
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
  SetProblem(link, link->worker->waits_for_thread()
                       ? absl::StrCat("it waits for its turn: ", LibvirtWorkers::kMaxThreads,
                                      " calls of libvirts have not returned")
                       : "libvirt does not answer");
}

void LibvirtSource::BackOff(Link* link) {
  link->backoff = std::min(std::max(link->backoff * 2, kFirstRetry), kMaxRetry);
  link->not_before = context_->loop->Now().monotonic + link->backoff;
}

void LibvirtSource::RetryLater(Link* link) {
  context_->loop->CancelTimer(&link->retry);
  link->retry = context_->loop->AddTimer(link->not_before, [this, link] {
    link->retry = {};
    Connect(link);
  });
}

void LibvirtSource::EndAttempt(Link* link) {
  context_->loop->CancelTimer(&link->slow);
  context_->loop->CancelTimer(&link->check);
  link->rows.clear();
  link->heard.reset();
  link->listing = false;
  attempts_.erase(std::exchange(link->attempt, 0));
}

void LibvirtSource::Disconnect(Link* link, absl::string_view why) {
  EndAttempt(link);
  if (std::exchange(link->connected, false)) {
    const Instant now = context_->loop->Now();
    link->since = now.wall;
    if (now.monotonic - link->connected_at >= kStable) link->backoff = absl::ZeroDuration();
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
  if (link->attempt != 0) BackOff(link);  // it has not answered
  EndAttempt(link);
  link->worker->Close();
  {
    const MutexLock lock(&mutex_);
    states_.erase(link->uri);
  }
  std::vector<LibvirtRun*> runs;
  for (const auto& [uuid, run] : link->runs) runs.push_back(run);
  for (LibvirtRun* run : runs) run->OnLibvirtGone();
  has_unused_links_ = true;
}

void LibvirtSource::DropUnusedLinks() {
  absl::flat_hash_set<const Link*> used;
  for (const auto& [run, link] : link_of_) used.insert(link);
  const absl::Duration now = context_->loop->Now().monotonic;
  std::erase_if(links_, [&](const auto& entry) {
    const Link& link = *entry.second;
    if (link.reachable() || used.contains(&link)) return false;
    // A socket that is made again takes no second thread, and waits its time.
    return link.worker == nullptr || (!link.worker->busy() && link.not_before <= now);
  });
}

void LibvirtSource::CheckLater(Link* link, absl::Duration wait) {
  link->check = context_->loop->AddTimer(context_->loop->Now().monotonic + wait, [this, link] {
    CheckLater(link, kCheckInterval);
    const auto unseen = [](const auto& entry) { return !entry.second->tracked(); };
    if (std::none_of(link->runs.begin(), link->runs.end(), unseen)) return;
    // One that was asked for and is not there yet is as old as what was heard since.
    if (!link->heard.has_value()) link->heard.emplace();
    link->worker->ListAgain();
  });
}

void LibvirtSource::Hear(Link* link, const std::string& uuid) {
  if (!link->heard.has_value()) return;
  link->heard->insert(uuid);
  if (link->heard->size() > kMaxHeard) link->heard.reset();
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
  if (!link.reachable()) return;
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

void LibvirtSource::Handle(Link* link, LinkOpened& message) {
  context_->loop->CancelTimer(&link->slow);
  context_->meters.libvirt_connects.Add();
  spdlog::info("connected to libvirt {}", absl::CHexEscape(link->uri));
  if (std::exchange(link->was_connected, true)) PublishGap(*link);
  link->connected = true;
  const Instant now = context_->loop->Now();
  link->since = now.wall;
  link->connected_at = now.monotonic;
  link->listing = true;
  for (ActiveDomain& active : message.domains) {
    std::string uuid = active.domain.uuid;
    link->rows.insert_or_assign(std::move(uuid), Row{std::move(active), std::nullopt});
  }
  SetProblem(link, "");
}

void LibvirtSource::Handle(Link* link, DomainListed& message) {
  auto node = link->rows.extract(message.uuid);
  if (node.empty()) return;
  const Row& row = node.mapped();
  OnActive(link, row.active);
  if (row.stopped.has_value()) OnStopped(link, row.active.domain, *row.stopped);
}

void LibvirtSource::Handle(Link* link, DomainsListed&) {
  link->tried = true;
  link->listing = false;
  std::vector<LibvirtRun*> absent;
  for (const auto& [uuid, run] : link->runs) {
    if (!run->connected()) absent.push_back(run);
  }
  for (LibvirtRun* run : absent) run->OnNotListed();
  // Of what is not listed no event comes any more.
  absl::erase_if(link->passed_over,
                 [link](const auto& entry) { return entry.second.attempt != link->attempt; });
  CheckLater(link, kFirstCheck);
  ShowState(*link);
}

void LibvirtSource::Handle(Link* link, DomainsListedAgain& message) {
  if (!link->heard.has_value()) return;
  const absl::flat_hash_set<std::string> heard = *std::exchange(link->heard, std::nullopt);
  absl::flat_hash_set<std::string> listed;
  for (const ActiveDomain& active : message.domains) {
    listed.insert(active.domain.uuid);
    // The list is older or newer than what came since it was asked for.
    if (heard.contains(active.domain.uuid)) continue;
    LibvirtRun* const run = FindRun(link, active.domain);
    if (run == nullptr) {
      OnActive(link, active);
    } else {
      TrackIfPossible(link, run);
    }
  }
  std::vector<LibvirtRun*> absent;
  for (const auto& [uuid, run] : link->runs) {
    const bool is_absent = !listed.contains(uuid) && !heard.contains(uuid);
    if (is_absent && !run->tracked()) absent.push_back(run);
  }
  for (LibvirtRun* run : absent) run->OnNotListed();
}

void LibvirtSource::Handle(Link* link, LinkClosed& message) {
  context_->meters.libvirt_failures.Add();
  if (message.overflow) context_->meters.libvirt_overflows.Add();
  link->tried = true;
  Disconnect(link, message.why);
  BackOff(link);
  SetProblem(link, message.why);
  if (link->wanted) {
    RetryLater(link);
  } else {
    GiveUp(link);
  }
}

void LibvirtSource::Handle(Link* link, DomainEvent& message) {
  Hear(link, message.domain.uuid);
  ApplyRow(link, message.domain, &message.event);
  const Event event = message.event.name == "RESUME" ? Event::kResume : Event::kOther;
  LibvirtRun* const run =
      FindOrAddRun(link, message.domain, FirstRunState(message.event.name), event);
  if (run != nullptr) run->OnQmpEvent(message.event);
}

void LibvirtSource::Handle(Link* link, DomainChanged& message) {
  Hear(link, message.domain.uuid);
  switch (message.lifecycle.what) {
    case DomainLifecycle::What::kStarted:
      ApplyRow(link, message.domain, nullptr);
      // QEMU's RESUME came before, unless the domain was started paused.
      if (LibvirtRun* const run = FindOrAddRun(link, message.domain, "prelaunch", Event::kStarted);
          run != nullptr) {
        TrackIfPossible(link, run);
      }
      return;
    case DomainLifecycle::What::kStopped:
      return OnStopped(link, message.domain, message.lifecycle);
  }
}

void LibvirtSource::ApplyRow(Link* link, const DomainName& domain, const QmpEvent* event) {
  const auto it = link->rows.find(domain.uuid);
  if (it == link->rows.end() || it->second.active.domain.id != domain.id) return;
  ActiveDomain active = std::move(it->second.active);
  link->rows.erase(it);
  // It comes once: the list was made after it.
  if (event != nullptr && IsGuestShutdown(*event)) active.run_state = "running";
  OnActive(link, active);
}

void LibvirtSource::OnStopped(Link* link, const DomainName& domain,
                              const DomainLifecycle& lifecycle) {
  link->passed_over.erase(domain.uuid);
  const auto row = link->rows.find(domain.uuid);
  const auto known = link->runs.find(domain.uuid);
  if (row != link->rows.end()) {
    const int64_t listed = row->second.active.domain.id;
    if (known == link->runs.end()) {
      // Of that life, unless something of it follows: its life before was not known here.
      row->second.stopped = lifecycle;
      return;
    }
    if (known->second->info().domain_id == listed) {
      DomainName of_list = domain;
      of_list.id = listed;
      ApplyRow(link, of_list, nullptr);
    }
  }
  const auto it = link->runs.find(domain.uuid);
  if (it == link->runs.end()) return;
  const bool same = domain.id <= 0 || domain.id == it->second->info().domain_id;
  if (same) it->second->OnStopped(lifecycle);
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

bool LibvirtSource::IsSameLife(const Link& link, const LibvirtRun& run, const DomainName& domain,
                               PeerProcess* process) {
  if (run.info().domain_id != domain.id) return false;
  // An id is used again by the next libvirtd only.
  if (run.connected() || (run.followed() && !run.process_ended())) return true;
  bool out_of_descriptors = false;
  *process = FindProcess(link, domain, &out_of_descriptors);
  if (process->kind != PeerProcess::Kind::kTracked) return true;  // nothing says otherwise
  const RunInfo& info = run.info();
  if (run.tracked()) {
    return process->pid == info.pid && process->start_ticks == info.start_ticks;
  }
  return ProcessStartTime(process->start_ticks) <= run.attached_at().wall + kClockSteps;
}

bool LibvirtSource::IsPassedOver(Link* link, const DomainName& domain) {
  const auto it = link->passed_over.find(domain.uuid);
  if (it == link->passed_over.end()) return false;
  PassedOver& life = it->second;
  if (life.domain_id == domain.id && life.pid > 0) {
    bool out_of_descriptors = false;
    const PeerProcess process = FindProcess(*link, domain, &out_of_descriptors);
    if (process.kind == PeerProcess::Kind::kGone && process.pid == life.pid) {
      life.attempt = link->attempt;
      return true;
    }
  }
  link->passed_over.erase(it);
  return false;
}

void LibvirtSource::LeaveRun(Link* link, LibvirtRun* run) {
  link->runs.erase(run->uuid());
  run->OnNotListed();
}

void LibvirtSource::OnActive(Link* link, const ActiveDomain& active) {
  const DomainName& domain = active.domain;
  if (domain.id <= 0 || IsPassedOver(link, domain)) return;
  if (const auto it = link->runs.find(domain.uuid); it != link->runs.end()) {
    LibvirtRun* const run = it->second;
    PeerProcess process;
    if (IsSameLife(*link, *run, domain, &process)) {
      if (!run->tracked()) TrackInstead(link, run, std::move(process));
      if (link_of_.contains(run)) run->OnListed(active.run_state);
      return;
    }
    LeaveRun(link, run);
  }
  if (LibvirtRun* const run = AddRun(link, domain); run != nullptr) run->OnListed(active.run_state);
}

LibvirtRun* LibvirtSource::FindOrAddRun(Link* link, const DomainName& domain, std::string run_state,
                                        Event event) {
  if (domain.id <= 0) return nullptr;  // it does not run (any more)
  if (const auto it = link->runs.find(domain.uuid); it != link->runs.end()) {
    PeerProcess process;
    if (IsSameLife(*link, *it->second, domain, &process)) return it->second;
    LeaveRun(link, it->second);
  }
  if (const auto it = link->passed_over.find(domain.uuid); it != link->passed_over.end()) {
    PassedOver& life = it->second;
    if (life.domain_id == domain.id) {
      // An event that is older than the list may be of that life still, of an earlier connection.
      const bool may_be_it = link->listing && event != Event::kStarted;
      if (life.attempt == link->attempt || may_be_it) {
        life.resumed |= event == Event::kResume;
        return nullptr;
      }
      if (life.resumed) run_state = "running";
    }
    link->passed_over.erase(it);
  }
  LibvirtRun* const run = AddRun(link, domain, !link->listing || event != Event::kOther);
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

LibvirtRun* LibvirtSource::AddRun(Link* link, const DomainName& domain, bool lives) {
  if (!link->new_runs.Take(context_->loop->Now().monotonic)) {
    context_->meters.libvirt_overflows.Add();
    spdlog::warn("--libvirt {}: too many domains began: {} is not followed",
                 absl::CHexEscape(link->uri), absl::Utf8SafeCHexEscape(domain.name));
    return nullptr;
  }
  bool out_of_descriptors = false;
  PeerProcess process;
  if (lives) process = FindProcess(*link, domain, &out_of_descriptors);
  const bool tracked = process.kind == PeerProcess::Kind::kTracked;
  if (VmRun* const orphan = FindOrphan(domain, process); orphan != nullptr) {
    return TakeOver(link, domain, orphan, std::move(process));
  }
  VmRun* const other = table_->FindByProcess(process);
  const auto of = link_of_.find(other);
  if (of != link_of_.end() && of->second == link && Of(other)->uuid() == domain.uuid) {
    Of(other)->LeaveProcess();  // that life had ended when its first event was looked at
  } else if (other != nullptr) {
    link->passed_over[domain.uuid] = {.domain_id = domain.id, .attempt = link->attempt};
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
  if (!tracked && lives) link->worker->FindProcess(domain.uuid);
  if (out_of_descriptors) added->ReportProblem(kOutOfDescriptorsProblem);
  return added;
}

void LibvirtSource::TrackIfPossible(Link* link, LibvirtRun* run) {
  if (run->tracked()) return;
  bool out_of_descriptors = false;
  TrackInstead(link, run,
               FindProcess(*link, {run->info().raw_name(), run->uuid(), run->info().domain_id},
                           &out_of_descriptors));
}

void LibvirtSource::TrackInstead(Link* link, LibvirtRun* run, PeerProcess process) {
  if (process.kind != PeerProcess::Kind::kTracked) return link->worker->FindProcess(run->uuid());
  if (table_->FindByProcess(process) != nullptr) return;
  run->TrackInstead(std::move(process)).IgnoreError();
}

void LibvirtSource::Handle(Link* link, ProcessFound& message) {
  const auto it = link->runs.find(message.uuid);
  if (it == link->runs.end() || it->second->tracked() || it->second->reported()) return;
  if (context_->vm_descriptors >= context_->max_vm_descriptors) return;
  TrackInstead(link, it->second, std::move(message.process));
}

bool LibvirtSource::IsOrphan(const VmRun& run) const {
  if (run.connected()) return false;
  const auto link = link_of_.find(&run);
  if (link != link_of_.end()) return !link->second->reachable();
  const std::string directory = run.Directory();
  return std::none_of(
      options_->watches.begin(), options_->watches.end(),
      [&directory](const WatchSpec& watch) { return watch.directory == directory; });
}

VmRun* LibvirtSource::FindOrphan(const DomainName& domain, const PeerProcess& process) {
  if (VmRun* const run = table_->FindByProcess(process); run != nullptr) {
    return IsOrphan(*run) ? run : nullptr;
  }
  for (const auto& [uri, link] : links_) {
    if (link->reachable()) continue;
    const auto it = link->runs.find(domain.uuid);
    PeerProcess looked_for;
    if (it == link->runs.end() || it->second->tracked() ||
        !IsSameLife(*link, *it->second, domain, &looked_for)) {
      continue;
    }
    return it->second;
  }
  return nullptr;
}

LibvirtRun* LibvirtSource::TakeOver(Link* link, const DomainName& domain, VmRun* run,
                                    PeerProcess process) {
  spdlog::info("{}, which was followed by {}, is followed by libvirt {} now",
               absl::Utf8SafeCHexEscape(run->info().name), run->info().source,
               absl::CHexEscape(link->uri));
  VmSession session = run->GiveAway();
  session.MoveTo(EscapeNonUtf8(DomainSource(link->uri)), domain.id);
  LibvirtRun* const added = Adopt(link, domain.uuid, std::move(session));
  table_->SetUuid(added, domain.uuid);
  ShowState(*link);
  if (process.kind != PeerProcess::Kind::kTracked) return added;
  if (added->tracked()) {
    if (!added->TrackAgain(std::move(process)).ok()) added->LoseTracking();
  } else {
    added->TrackInstead(std::move(process)).IgnoreError();
  }
  return added;
}

void LibvirtSource::EndOrphans() {
  std::vector<LibvirtRun*> orphans;
  for (const auto& [run, link] : link_of_) {
    if (!link->reachable()) orphans.push_back(Of(run));
  }
  for (LibvirtRun* run : orphans) run->OnLibvirtGone();
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
    if (!Of(run)->reported()) {
      link->passed_over[it->first] = {.domain_id = run->info().domain_id,
                                      .pid = run->info().pid,
                                      .attempt = link->connected ? link->attempt : 0};
    }
    link->runs.erase(it);
  }
  if (!link->reachable()) has_unused_links_ = true;
  ShowState(*link);
}

}  // namespace vmeventd
