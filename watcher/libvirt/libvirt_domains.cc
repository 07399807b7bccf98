// Match of a LibvirtSource's domains with their runs.

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "spdlog/spdlog.h"
#include "watcher/core/libvirt_spec.h"
#include "watcher/core/names.h"
#include "watcher/libvirt/libvirt_source.h"
#include "watcher/runs/process.h"

namespace vmeventd {
namespace {

// Error that steps of the node's clock may cause in the time of a process's start.
constexpr absl::Duration kClockSteps = absl::Seconds(5);

// The run state of a domain whose first event this is: what comes before it was not missed.
std::string FirstRunState(const std::string& event) {
  if (event == "RESUME" || event == "SHUTDOWN" || event == "POWERDOWN" || event == "RESET") {
    return "running";
  }
  if (event == "STOP") return "paused";
  if (event == "MIGRATION") return "inmigrate";  // a source has begun long before
  return "prelaunch";
}

}  // namespace

// Looks at processes, whose command lines come when they like

bool LibvirtSource::NeedsLook(const Link& link, const DomainName& domain, bool event) const {
  if (!link.processes.can_look() || domain.id <= 0 || link.IsOver(domain)) return false;
  const auto run = link.runs.find(domain.uuid);
  if (run != link.runs.end() && IsPlainlySameLife(*run->second, domain)) return false;
  const auto passed_over = link.passed_over.find(domain.uuid);
  return !event || passed_over == link.passed_over.end() ||
         passed_over->second.domain_id != domain.id || passed_over->second.attempt != link.attempt;
}

std::vector<DomainName> LibvirtSource::LooksFor(const Link& link,
                                                const LibvirtMessage& message) const {
  std::vector<DomainName> domains;
  const auto add = [&](const DomainName& domain, bool event) {
    if (NeedsLook(link, domain, event)) domains.push_back(domain);
  };
  const auto add_row = [&](const std::string& uuid) {
    const auto row = link.rows.find(uuid);
    if (row != link.rows.end()) add(row->second.active.domain, /*event=*/false);
  };
  const auto untracked = [&link](const DomainName& domain) {
    const LibvirtRun* const run = FindRun(link, domain);
    return run != nullptr && !run->tracked();
  };
  if (const auto* const listed = std::get_if<DomainListed>(&message)) {
    add_row(listed->uuid);
  } else if (const auto* const event = std::get_if<DomainEvent>(&message)) {
    add_row(event->domain.uuid);
    if (domains.empty()) add(event->domain, /*event=*/true);
  } else if (const auto* const change = std::get_if<DomainChanged>(&message)) {
    add_row(change->domain.uuid);
    if (change->lifecycle.what == DomainLifecycle::What::kStopped || !domains.empty()) {
      return domains;
    }
    add(change->domain, /*event=*/true);
    if (domains.empty() && link.processes.can_look() && untracked(change->domain)) {
      domains.push_back(change->domain);
    }
  } else if (const auto* const again = std::get_if<DomainsListedAgain>(&message);
             again != nullptr && link.heard.has_value()) {
    for (const ActiveDomain& active : again->domains) {
      const DomainName& domain = active.domain;
      if (link.heard->contains(domain.uuid)) continue;
      if (link.processes.can_look() && untracked(domain)) {
        domains.push_back(domain);
      } else if (FindRun(link, domain) == nullptr) {
        add(domain, /*event=*/false);
      }
    }
  }
  return domains;
}

// libvirt's reports

void LibvirtSource::Handle(Link* link, DomainListed& message) {
  auto node = link->rows.extract(message.uuid);
  if (node.empty()) return;
  const Row& row = node.mapped();
  // Its process may be the next life's by now.
  if (row.stopped.has_value() && !link->containers)
    link->newest_ids[message.uuid] = row.active.domain.id + 1;
  OnActive(link, row.active);
  if (row.stopped.has_value()) OnStopped(link, row.active.domain, *row.stopped);
}

void LibvirtSource::Handle(Link* link, DomainsListed&) {
  link->tried = true;
  link->listing = false;
  link->newest_ids.clear();
  ended_before_.erase(EscapeNonUtf8(DomainSource(link->uri)));
  std::vector<LibvirtRun*> absent;
  for (const auto& [uuid, run] : link->runs) {
    if (run->awaits_kept_end()) {
      AskEnd(link, *run);
    } else if (!run->connected()) {
      absent.push_back(run);
    }
  }
  for (LibvirtRun* run : absent) run->OnNotListed();
  // No event comes any more of a domain that is not listed.
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
    LibvirtRun* const run = FindRun(*link, active.domain);
    if (run == nullptr) {
      OnActive(link, active);
    } else {
      TrackIfPossible(link, run, active.domain.heard_ticks);
    }
  }
  std::vector<LibvirtRun*> absent;
  for (const auto& [uuid, run] : link->runs) {
    const bool is_absent = !listed.contains(uuid) && !heard.contains(uuid);
    if (is_absent && !run->tracked()) absent.push_back(run);
  }
  for (LibvirtRun* run : absent) run->OnNotListed();
}

void LibvirtSource::Handle(Link* link, DomainEvent& message) {
  Hear(link, message.domain.uuid);
  ApplyRow(link, message.domain, &message.event);
  Event event = message.event.name == "RESUME" ? Event::kResume : Event::kOther;
  if (message.event.name == "RESET") event = Event::kReset;
  LibvirtRun* const run =
      FindOrAddRun(link, message.domain, FirstRunState(message.event.name), event);
  if (run != nullptr) run->OnQmpEvent(message.event);
}

void LibvirtSource::Handle(Link* link, DomainChanged& message) {
  Hear(link, message.domain.uuid);
  switch (message.lifecycle.what) {
    case DomainLifecycle::What::kStarted:
      ApplyRow(link, message.domain, nullptr);
      // QEMU's RESUME came before, unless the domain was started paused or waits for its VM.
      if (LibvirtRun* const run =
              FindOrAddRun(link, message.domain,
                           message.lifecycle.incoming ? "inmigrate" : "prelaunch", Event::kStarted);
          run != nullptr) {
        TrackIfPossible(link, run, message.domain.heard_ticks);
      }
      return;
    case DomainLifecycle::What::kStopped:
      return OnStopped(link, message.domain, message.lifecycle);
  }
}

void LibvirtSource::ApplyRow(Link* link, const DomainName& domain, const QmpEvent* event) {
  const auto it = link->rows.find(domain.uuid);
  if (it == link->rows.end()) return;
  if (it->second.active.domain.id != domain.id) {
    it->second.stopped.reset();  // it was of the life before this one
    return;
  }
  ActiveDomain active = std::move(it->second.active);
  active.domain.heard_ticks = domain.heard_ticks;
  link->rows.erase(it);
  // It comes once: the list was made after it.
  if (event != nullptr && event->name == "SHUTDOWN" && QmpBool(event->data, "guest") == true) {
    active.run_state = "running";
  }
  OnActive(link, active);
}

void LibvirtSource::OnStopped(Link* link, const DomainName& domain,
                              const DomainLifecycle& lifecycle) {
  const auto row = link->rows.find(domain.uuid);
  const auto known = link->runs.find(domain.uuid);
  if (row != link->rows.end() && known == link->runs.end()) {
    const int64_t listed = row->second.active.domain.id;
    const auto ended = link->passed_over.find(domain.uuid);
    // An end without an id is of the life that has ended here unreported, if that is another one.
    const bool is_ended_lifes =
        domain.id <= 0 && ended != link->passed_over.end() && ended->second.domain_id != listed;
    if (is_ended_lifes) link->passed_over.erase(ended);
    if (is_ended_lifes || (domain.id > 0 && domain.id != listed)) return;
    // It stopped that life, unless something of it follows: its life before was not known here.
    row->second.stopped = lifecycle;
    return;
  }
  link->passed_over.erase(domain.uuid);
  if (row != link->rows.end()) {
    const int64_t listed = row->second.active.domain.id;
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

void LibvirtSource::Handle(Link* link, DetailsKnown& message) {
  const auto it = link->runs.find(message.uuid);
  if (it != link->runs.end()) it->second->OnDetails(std::move(message.details));
}

void LibvirtSource::Handle(Link* link, DetailsChanged& message) {
  if (link->runs.contains(message.uuid)) link->worker->AskDetails(message.uuid);
}

void LibvirtSource::AskDetails(LibvirtRun* run) {
  const auto it = link_of_.find(run);
  if (it == link_of_.end() || !it->second->connected) return;
  it->second->worker->AskDetails(run->uuid());
}

// Runs

LibvirtRun* LibvirtSource::FindRun(const Link& link, const DomainName& domain) {
  const auto it = link.runs.find(domain.uuid);
  if (it == link.runs.end()) return nullptr;
  return it->second->info().domain_id == domain.id ? it->second : nullptr;
}

// An id is used again by the next libvirtd only.
bool LibvirtSource::IsPlainlySameLife(const LibvirtRun& run, const DomainName& domain) {
  return run.info().domain_id == domain.id &&
         (run.connected() || (run.followed() && !run.process_ended()));
}

bool LibvirtSource::HasRoomFor(const Link& link, const DomainName& domain) const {
  if (context_->vm_descriptors < context_->max_vm_descriptors) return true;
  // A run whose process is known, and not followed, would pass for any life of that id. The look
  // gives its descriptor back.
  const auto run = link.runs.find(domain.uuid);
  return run != link.runs.end() && run->second->tracked() && !run->second->followed();
}

bool LibvirtSource::IsSameLife(const Link& link, const LibvirtRun& run, const DomainName& domain,
                               PeerProcess* process) {
  if (run.info().domain_id != domain.id) return false;
  if (IsPlainlySameLife(run, domain)) return true;
  *process = FindProcess(link, domain);
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
  if (life.domain_id == domain.id && link->IsOver(domain)) {
    life.attempt = link->attempt;
    return true;
  }
  if (life.domain_id == domain.id && life.pid > 0) {
    const PeerProcess process = FindProcess(*link, domain);
    // libvirt removes the pid file of an end before it reports that. Until then the file is that
    // life's, whoever has the number by now, unless it leads to a process of this domain.
    if (link->processes.HasNoPidFile(domain.uuid) ||
        (process.kind == PeerProcess::Kind::kGone && process.pid == 0) ||
        (process.kind != PeerProcess::Kind::kTracked &&
         link->processes.PidInFile(domain.uuid) == life.pid)) {
      life.attempt = link->attempt;
      return true;
    }
  }
  link->passed_over.erase(it);
  return false;
}

void LibvirtSource::Handle(Link* link, EndKept& message) {
  const auto it = link->runs.find(message.uuid);
  if (it == link->runs.end() || !it->second->awaits_kept_end()) return;
  it->second->OnKeptEnd(message.end, message.what);
}

void LibvirtSource::EndAwaited(Link* link, const DomainName& domain) {
  const auto it = link->runs.find(domain.uuid);
  if (it != link->runs.end() && it->second->awaits_kept_end()) it->second->OnNotListed();
}

void LibvirtSource::LeaveRun(Link* link, LibvirtRun* run) {
  link->runs.erase(run->uuid());
  run->OnNotListed();
}

bool LibvirtSource::MayHaveEndedBefore(const Link& link, const DomainName& domain) const {
  // A run whose process is not seen ends when libvirt says so, which lists it no more.
  if (!link.processes.can_look() || !link.IsOver(domain)) return false;
  const auto it = ended_before_.find(EscapeNonUtf8(DomainSource(link.uri)));
  return it != ended_before_.end() && it->second.contains(domain.uuid);
}

void LibvirtSource::OnActive(Link* link, const ActiveDomain& active) {
  const DomainName& domain = active.domain;
  EndAwaited(link, domain);
  if (domain.id <= 0 || IsPassedOver(link, domain)) return;
  if (const auto it = link->runs.find(domain.uuid); it != link->runs.end()) {
    LibvirtRun* const run = it->second;
    if (link->IsOver(domain) && run->info().domain_id > domain.id) return;  // its next life's
    PeerProcess process;
    if (IsSameLife(*link, *run, domain, &process)) {
      if (!run->tracked()) TrackInstead(link, run, domain, std::move(process));
      if (link_of_.contains(run)) run->OnListed(active.run_state, link->libvirtd_began_ns);
      return;
    }
    LeaveRun(link, run);
  }
  if (MayHaveEndedBefore(*link, domain)) return;
  if (LibvirtRun* const run = AddRun(link, domain, /*heard=*/false); run != nullptr) {
    run->OnListed(active.run_state, link->libvirtd_began_ns);
  }
}

LibvirtRun* LibvirtSource::FindOrAddRun(Link* link, const DomainName& domain, std::string run_state,
                                        Event event) {
  if (domain.id <= 0) return nullptr;  // it does not run (any more)
  EndAwaited(link, domain);
  if (const auto it = link->runs.find(domain.uuid); it != link->runs.end()) {
    PeerProcess process;
    if (IsSameLife(*link, *it->second, domain, &process)) return it->second;
    if (link->containers && event == Event::kReset) {
      it->second->OnRebooted(domain.id, FindProcess(*link, domain));
      return it->second;
    }
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
  LibvirtRun* const run = AddRun(link, domain, /*heard=*/true);
  if (run == nullptr) return nullptr;
  run->OnListed(run_state, link->libvirtd_began_ns);
  const auto it = link->runs.find(domain.uuid);
  return it != link->runs.end() && it->second == run ? run : nullptr;
}

PeerProcess LibvirtSource::FindProcess(const Link& link, const DomainName& domain,
                                       bool* out_of_descriptors) {
  if (!options_->process_tracking || link.IsOver(domain)) return {};
  absl::StatusOr<PeerProcess> process = absl::ResourceExhaustedError("pidfd");
  if (HasRoomFor(link, domain)) process = link.processes.Find(domain);
  if (absl::IsResourceExhausted(process.status())) {
    context_->meters.out_of_descriptors.Add();
    if (out_of_descriptors != nullptr) *out_of_descriptors = true;
  }
  if (!process.ok()) return {};
  if (process->kind == PeerProcess::Kind::kTracked && process->start_ticks > domain.heard_ticks) {
    return {.kind = PeerProcess::Kind::kGone};  // that one is of a later life
  }
  return *std::move(process);
}

LibvirtRun* LibvirtSource::AddRun(Link* link, const DomainName& domain, bool heard) {
  if (!link->new_runs.Take(context_->loop->Now().monotonic)) {
    context_->meters.libvirt_overflows.Add();
    spdlog::warn("--libvirt {}: too many domains began: {} is not followed",
                 absl::CHexEscape(link->uri), absl::Utf8SafeCHexEscape(domain.name));
    return nullptr;
  }
  bool out_of_descriptors = false;
  PeerProcess process = FindProcess(*link, domain, &out_of_descriptors);
  if (!heard && process.kind == PeerProcess::Kind::kGone) {
    // libvirt still tidies up. If this life was followed, its end was published.
    link->passed_over[domain.uuid] = {
        .domain_id = domain.id, .pid = process.pid, .attempt = link->attempt};
    return nullptr;
  }
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
  info.SetRawName(SharedText(domain.name));
  info.source = EscapeNonUtf8(DomainSource(link->uri));
  info.reported_by = link->containers ? ReportedBy::kContainerLibvirt : ReportedBy::kLibvirt;
  info.boot_id = context_->boot_id;
  info.pid_namespace = context_->pid_namespace;
  info.domain_id = domain.id;
  info.process_tracked = tracked;
  if (tracked) info.SetProcess(DescribeProcess(process, *context_->oom_counters));
  RunIdentity identity{.boot_id = context_->boot_id, .monitor_path = std::string(info.source)};
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
  if (tracked && !added->Track(std::move(process)).ok()) added->LoseTracking();
  if (!tracked && !link->IsOver(domain)) link->worker->FindProcess(domain);
  if (out_of_descriptors) added->ReportProblem(kOutOfDescriptorsProblem);
  return added;
}

void LibvirtSource::TrackIfPossible(Link* link, LibvirtRun* run, uint64_t heard_ticks) {
  if (run->tracked()) return;
  const DomainName domain = {std::string(run->info().raw_name()), run->uuid(),
                             run->info().domain_id, heard_ticks};
  TrackInstead(link, run, domain, FindProcess(*link, domain));
}

void LibvirtSource::TrackInstead(Link* link, LibvirtRun* run, const DomainName& domain,
                                 PeerProcess process) {
  if (process.kind != PeerProcess::Kind::kTracked) return link->worker->FindProcess(domain);
  if (table_->FindByProcess(process) != nullptr) return;
  run->TrackInstead(std::move(process)).IgnoreError();
}

void LibvirtSource::Handle(Link* link, ProcessFound& message) {
  LibvirtRun* const run = FindRun(*link, message.domain);
  if (run == nullptr || run->tracked() || run->reported()) return;
  // The next life may have its process before libvirt's report of this one's end is here.
  if (message.process.start_ticks > message.domain.heard_ticks) return;
  if (context_->vm_descriptors >= context_->max_vm_descriptors) return;
  TrackInstead(link, run, message.domain, std::move(message.process));
}

bool LibvirtSource::IsOrphan(const VmRun& run) const {
  if (run.connected()) return false;
  const auto link = link_of_.find(&run);
  if (link != link_of_.end()) return !link->second->reachable();
  return std::none_of(options_->watches.begin(), options_->watches.end(),
                      [path = run.info().raw_path()](const WatchSpec& watch) {
                        return watch.VmName(path).has_value();
                      });
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
               absl::Utf8SafeCHexEscape(run->info().name), std::string(run->info().source),
               absl::CHexEscape(link->uri));
  VmSession session = run->GiveAway();
  RunInfo place;
  place.source = EscapeNonUtf8(DomainSource(link->uri));
  place.reported_by = link->containers ? ReportedBy::kContainerLibvirt : ReportedBy::kLibvirt;
  place.domain_id = domain.id;
  session.MoveTo(place);
  LibvirtRun* const added = Adopt(link, domain.uuid, std::move(session));
  if (process.kind == PeerProcess::Kind::kTracked) added->TrackOn(std::move(process));
  return added;
}

void LibvirtSource::EndOrphans() {
  std::vector<LibvirtRun*> orphans;
  for (const auto& [run, link] : link_of_) {
    if (!link->reachable()) orphans.push_back(Of(run));
  }
  for (LibvirtRun* run : orphans) run->OnLibvirtGone();
}

VmRun* LibvirtSource::Restore(VmSession session) {
  const std::string uuid(session.Status().ref.uuid);
  const std::string uri(absl::StripPrefix(session.run().source.str(), "libvirt:"));
  return Adopt(LinkAt(uri), uuid, std::move(session));
}

// Nobody can keep a run's connection to libvirt.
bool LibvirtSource::GoOn(VmRun* run, HandedRun* handed) {
  return options_->process_tracking && context_->vm_descriptors < context_->max_vm_descriptors &&
         Of(run)->GoOn(handed);
}

void LibvirtSource::OnRestored(VmRun* run) {
  LibvirtRun* const own = Of(run);
  if (own->followed() && own->process_ended()) own->AwaitKeptEnd();
}

std::vector<HandedRun> LibvirtSource::HandOver() {
  std::vector<HandedRun> all;
  for (const auto& [run, link] : link_of_) {
    std::optional<HandedRun> handed = Of(run)->HandOver();
    if (handed.has_value()) all.push_back(*std::move(handed));
  }
  return all;
}

bool LibvirtSource::AskKeptEnd(LibvirtRun* run) {
  if (!started_) return true;
  Link* const link = link_of_.at(run);
  const auto it = link->runs.find(run->uuid());
  if (it == link->runs.end() || it->second != run || link->attempt == 0) return false;
  if (link->connected && !link->listing) AskEnd(link, *run);
  return true;
}

void LibvirtSource::AskEnd(Link* link, const LibvirtRun& run) {
  link->worker->AskEnd({std::string(run.info().raw_name()), run.uuid(), 0}, run.info(),
                       run.attached_at().wall);
}

LibvirtRun* LibvirtSource::Adopt(Link* link, const std::string& uuid, VmSession session) {
  auto run = std::make_unique<LibvirtRun>(context_, table_, this, uuid, std::move(session));
  LibvirtRun* const added = run.get();
  link->runs[uuid] = added;
  link_of_[added] = link;
  table_->Add(this, std::move(run));
  table_->SetUuid(added, uuid);
  ShowState(*link);
  return added;
}

void LibvirtSource::OnOver(VmRun* run) {
  const auto of = link_of_.find(run);
  Link* const link = of->second;
  link_of_.erase(of);
  const auto it = link->runs.find(Of(run)->uuid());
  if (it != link->runs.end() && it->second == run) {
    // No libvirt names a life of an earlier boot.
    if (!Of(run)->reported() && run->info().boot_id == context_->boot_id) {
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
