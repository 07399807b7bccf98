// Match of a LibvirtSource's domains with their runs.

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "spdlog/spdlog.h"
#include "watcher/core/foreign_text.h"
#include "watcher/core/libvirt_spec.h"
#include "watcher/core/manager_logs.h"
#include "watcher/core/vm_source.h"
#include "watcher/libvirt/libvirt_run.h"
#include "watcher/libvirt/libvirt_source.h"
#include "watcher/runs/describe_process.h"
#include "watcher/runs/peer_process.h"
#include "watcher/runs/process.h"
#include "watcher/runs/run_context.h"
#include "watcher/runs/vm_run.h"

namespace vmeventd {
namespace {

// Maximum error in the start time of a process that steps of the node's clock may cause.
constexpr absl::Duration kClockSteps = absl::Seconds(5);

// The run state of a domain before `event`, its first event: nothing before it was missed.
std::string FirstRunState(const std::string& event) {
  if (event == "RESUME" || event == "SHUTDOWN" || event == "POWERDOWN" || event == "RESET") {
    return "running";
  }
  if (event == "STOP") return "paused";
  if (event == "MIGRATION") return "inmigrate";  // a source has begun long before
  return "prelaunch";
}

bool IsGuestShutdown(const std::variant<QmpEvent, DomainLifecycle>& what) {
  const auto* const event = std::get_if<QmpEvent>(&what);
  return event != nullptr && event->name == "SHUTDOWN" && QmpBool(event->data, "guest") == true;
}

}  // namespace

// Lists

void LibvirtSource::ApplyList(Link* link, const std::vector<ActiveDomain>& list) {
  link->listing = false;
  absl::flat_hash_set<std::string> listed;
  for (const ActiveDomain& active : list) {
    listed.insert(active.domain.uuid);
    if (active.domain.id > 0) OnListed(link, active);
  }
  std::vector<LibvirtRun*> absent;
  for (auto& [uuid, domain] : link->domains) {
    if (listed.contains(uuid) || domain.doubt != ListDoubt::kNone) continue;
    TakeLife(link, &domain);
    if (domain.run != nullptr) absent.push_back(domain.run);
  }
  for (LibvirtRun* run : absent) {
    if (link_of_.contains(run)) run->OnNotListed();
  }
  has_unused_ = true;
}

void LibvirtSource::OnListed(Link* link, const ActiveDomain& active) {
  Domain& domain = link->domains[active.domain.uuid];
  if (domain.doubt == ListDoubt::kLifecycle) return;
  if (LibvirtRun* const run = domain.run; run != nullptr && IsSameLifeById(*run, active.domain)) {
    if (!run->connected()) run->OnListed(active.domain.id, active.run_state);
    if (domain.run == run && !run->tracked()) LookForProcess(link, active.domain);
    return;
  }
  if (domain.life.IsOfAnotherRun(active.domain.id)) return;
  Life* const life = LifeOf(link, &domain, active.domain.id);
  if (life->run_state.empty()) life->run_state = active.run_state;
  LookForProcessOfLife(link, active.domain, life);
}

// Events

void LibvirtSource::Handle(Link* link, DomainEvent& message) {
  if (message.domain.id <= 0) return;  // it does not run (any more)
  Domain& domain = link->domains[message.domain.uuid];
  if (!link->connected() && domain.doubt == ListDoubt::kNone) domain.doubt = ListDoubt::kEvent;
  LibvirtRun* const run = domain.run;
  if (run != nullptr && IsSameLifeById(*run, message.domain)) {
    return run->OnQmpEvent(message.event);
  }
  if (domain.life.IsOfAnotherRun(message.domain.id)) return;
  Life* const life = LifeOf(link, &domain, message.domain.id);
  const bool reset = message.event.name == "RESET";
  Hold(link, life, std::move(message.event));
  if (!link->containers || !reset || run == nullptr) return;
  life->rebooted = true;
  LookForProcessOfLife(link, message.domain, life);
}

void LibvirtSource::Handle(Link* link, DomainChanged& message) {
  if (!message.lifecycle.paused_for.empty()) {
    return OnPaused(link, message.domain, message.lifecycle);
  }
  if (link->listing) link->domains[message.domain.uuid].doubt = ListDoubt::kLifecycle;
  if (message.lifecycle.started) {
    OnStarted(link, message.domain, message.lifecycle);
  } else {
    OnStopped(link, message.domain, message.lifecycle);
  }
}

void LibvirtSource::OnStarted(Link* link, const DomainName& name,
                              const DomainLifecycle& lifecycle) {
  if (name.id <= 0) return;
  Domain& domain = link->domains[name.uuid];
  if (domain.run != nullptr && IsSameLifeById(*domain.run, name)) {
    if (!domain.run->tracked()) LookForProcess(link, name);
    return;
  }
  Life* const life = LifeOf(link, &domain, name.id);
  life->started = true;
  if (life->run_state.empty()) {
    // QEMU's RESUME came before, unless the domain was started paused or waits for its VM.
    life->run_state = lifecycle.incoming ? "inmigrate" : "prelaunch";
    if (!life->held.empty()) {
      const auto* const first = std::get_if<QmpEvent>(&life->held.front());
      if (first != nullptr) life->run_state = FirstRunState(first->name);
    }
  }
  LookForProcessOfLife(link, name, life);
}

void LibvirtSource::OnPaused(Link* link, const DomainName& name, const DomainLifecycle& lifecycle) {
  const auto it = link->domains.find(name.uuid);
  if (it == link->domains.end()) return;
  Domain& domain = it->second;
  if (domain.run != nullptr && IsSameLifeById(*domain.run, name)) {
    domain.run->OnPaused(lifecycle);
  } else if (domain.life.waits() && domain.life.id == name.id) {
    Hold(link, &domain.life, lifecycle);
  }
}

void LibvirtSource::OnStopped(Link* link, const DomainName& name,
                              const DomainLifecycle& lifecycle) {
  const auto it = link->domains.find(name.uuid);
  if (it == link->domains.end()) return;
  Domain& domain = it->second;
  LibvirtRun* const run = domain.run;
  has_unused_ = true;
  // What is known of the process may be of the life that has ended.
  domain.life.process = Life::Process::kUnknown;
  if (!domain.life.waits()) {
    domain.life = {};
  } else if (name.id <= 0 || name.id == domain.life.id) {
    // The latest life: libvirt does not report which one of a transient domain it was.
    if (domain.life.is_looked_for) return Hold(link, &domain.life, lifecycle);
    // The life never started, or it is a run of which only the list could show more.
    const Life life = TakeLife(link, &domain);
    if (run == nullptr || run->tracked() || run->info().domain_id != life.id) return;
    Release(run, *link, life);
  }
  if (domain.run != run || run == nullptr) return;
  if (name.id <= 0 || name.id == run->info().domain_id) run->OnStopped(lifecycle);
}

void LibvirtSource::Handle(Link* link, DetailsKnown& message) {
  LibvirtRun* const run = FindRun(*link, message.uuid);
  if (run != nullptr) run->OnDetails(std::move(message.details));
}

void LibvirtSource::Handle(Link* link, DetailsChanged& message) {
  if (FindRun(*link, message.uuid) != nullptr) link->worker->AskDetails(message.uuid);
}

void LibvirtSource::AskDetails(LibvirtRun* run) {
  const auto it = link_of_.find(run);
  if (it == link_of_.end() || !it->second->connected()) return;
  it->second->worker->AskDetails(run->uuid());
}

// New lives

LibvirtSource::Life* LibvirtSource::LifeOf(Link* link, Domain* domain, int64_t id) {
  if (domain->life.id != id) {
    TakeLife(link, domain);
    domain->life.id = id;
  }
  return &domain->life;
}

LibvirtSource::Life LibvirtSource::TakeLife(Link* link, Domain* domain) {
  link->held -= domain->life.held.size();
  return std::exchange(domain->life, {});
}

void LibvirtSource::LookForProcessOfLife(Link* link, const DomainName& domain, Life* life) {
  if (!std::exchange(life->is_looked_for, true)) LookForProcess(link, domain);
}

void LibvirtSource::LookForProcess(Link* link, const DomainName& domain) {
  ++link->searches;
  link->worker->FindProcess(domain);
}

void LibvirtSource::Hold(Link* link, Life* life, std::variant<QmpEvent, DomainLifecycle> what) {
  ++link->held;
  life->held.push_back(std::move(what));
}

void LibvirtSource::Release(LibvirtRun* run, const Link& link, const Life& life) {
  const std::string uuid = run->uuid();
  for (const std::variant<QmpEvent, DomainLifecycle>& what : life.held) {
    if (FindRun(link, uuid) != run) return;
    if (const auto* const event = std::get_if<QmpEvent>(&what); event != nullptr) {
      run->OnQmpEvent(*event);
    } else if (const auto& lifecycle = std::get<DomainLifecycle>(what);
               !lifecycle.paused_for.empty()) {
      run->OnPaused(lifecycle);
    } else {
      run->OnStopped(lifecycle);
    }
  }
}

void LibvirtSource::Handle(Link* link, ProcessFound& message) {
  --link->searches;
  const auto it = link->domains.find(message.domain.uuid);
  if (it == link->domains.end()) return;
  Domain& domain = it->second;
  if (!domain.life.is_looked_for || domain.life.id != message.domain.id) {
    LibvirtRun* const run = domain.run;
    if (run != nullptr && run->info().domain_id == message.domain.id) Track(run, &message);
    return;
  }
  const Life life = TakeLife(link, &domain);
  LibvirtRun* const run = RunOf(link, life, &message);
  if (run != nullptr && FindRun(*link, run->uuid()) == run) return Release(run, *link, life);
  has_unused_ = true;
}

LibvirtRun* LibvirtSource::RunOf(Link* link, const Life& life, ProcessFound* found) {
  const DomainName& name = found->domain;
  Domain& domain = link->domains[name.uuid];
  std::string run_state = life.run_state;
  // The event comes once: the list was made after it.
  if (run_state == "shutdown" && std::any_of(life.held.begin(), life.held.end(), IsGuestShutdown)) {
    run_state = "running";
  }
  if (LibvirtRun* const run = domain.run; run != nullptr) {
    if (life.rebooted) {
      run->OnRebooted(name.id, std::move(found->result.process));
      return run;
    }
    const bool is_next = life.started && run->process_ended();
    if (!is_next && IsSameLife(*run, name, found->result.process)) {
      if (run->process_ended()) return run;  // libvirt has not noticed
      if (!run_state.empty()) run->OnListed(name.id, run_state);
      if (domain.run == run) Track(run, found);
      return run;
    }
    domain.run = nullptr;  // the end of that life was not reported
    run->OnNotListed();
  }
  if (run_state.empty()) return nullptr;
  if (table_->FindByProcess(found->result.process) != nullptr) {
    LifeOf(link, &domain, name.id)->process = Life::Process::kOfAnotherRun;
    return nullptr;
  }
  const bool would_be_seen = found->result.visible && !life.started &&
                             found->result.process.kind != PeerProcess::Kind::kTracked;
  if (would_be_seen && life.process == Life::Process::kGone) {
    LifeOf(link, &domain, name.id)->process = Life::Process::kGone;
    return nullptr;
  }
  // libvirt may not have noticed its end yet. If it still lists the domain later, it runs.
  if (would_be_seen && !found->result.no_descriptor && life.process != Life::Process::kUnseen) {
    LifeOf(link, &domain, name.id)->process = Life::Process::kUnseen;
    return nullptr;
  }
  LibvirtRun* const run = AddRun(link, found);
  if (run == nullptr) return nullptr;
  run->OnListed(name.id, run_state);
  if (domain.run == run) Track(run, found);
  return run;
}

// Runs

LibvirtRun* LibvirtSource::FindRun(const Link& link, const std::string& uuid) {
  const auto it = link.domains.find(uuid);
  return it == link.domains.end() ? nullptr : it->second.run;
}

std::vector<LibvirtRun*> LibvirtSource::RunsThat(
    const std::function<bool(const LibvirtRun&, const Link&)>& pass) const {
  std::vector<LibvirtRun*> runs;
  for (const auto& [run, link] : link_of_) {
    if (pass(*Of(run), *link)) runs.push_back(Of(run));
  }
  std::sort(runs.begin(), runs.end(), [](const LibvirtRun* a, const LibvirtRun* b) {
    return std::tie(a->uuid(), a->info().domain_id) < std::tie(b->uuid(), b->info().domain_id);
  });
  return runs;
}

// Compares ids: libvirtd does not reuse an id; only a restarted libvirtd may.
bool LibvirtSource::IsSameLifeById(const LibvirtRun& run, const DomainName& domain) {
  return run.info().domain_id == domain.id &&
         (run.connected() || (run.followed() && !run.process_ended()));
}

bool LibvirtSource::IsSameLife(const LibvirtRun& run, const DomainName& domain,
                               const PeerProcess& process) {
  const RunInfo& info = run.info();
  if (process.kind != PeerProcess::Kind::kTracked) return info.domain_id == domain.id;
  if (run.tracked()) return process.pid == info.pid && process.start_ticks == info.start_ticks;
  return info.domain_id == domain.id &&
         ProcessStartTime(process.start_ticks) <= run.session().attached_at().wall + kClockSteps;
}

void LibvirtSource::Track(LibvirtRun* run, ProcessFound* found) {
  if (run->tracked() || run->reported() || !context_->options->process_tracking) return;
  PeerProcess process = std::move(found->result.process);
  const bool seen = process.kind == PeerProcess::Kind::kTracked;
  if (found->result.no_descriptor ||
      (seen && context_->vm_descriptors >= context_->max_vm_descriptors)) {
    context_->meters.out_of_descriptors.Add();
    run->ReportProblem({ProblemCode::kOutOfDescriptors, kOutOfDescriptorsProblem});
  } else if (!seen) {
    run->OnProcessMissing();
  } else if (table_->FindByProcess(process) == nullptr) {
    run->OnProcessFound(std::move(process));
  }
}

LibvirtRun* LibvirtSource::AddRun(Link* link, ProcessFound* found) {
  const DomainName& domain = found->domain;
  PeerProcess& process = found->result.process;
  if (!link->new_runs.Take(context_->loop->Now().monotonic)) {
    meters_.left_out.Add();
    spdlog::warn("--libvirt {}: too many domains started at once: not following {}",
                 absl::CHexEscape(link->uri), absl::Utf8SafeCHexEscape(domain.name));
    return nullptr;
  }
  const bool tracked = process.kind == PeerProcess::Kind::kTracked &&
                       context_->vm_descriptors < context_->max_vm_descriptors;
  RunInfo info;
  info.name = EscapeName(domain.name);
  info.raw_name = domain.name;
  info.source_key = kKey;
  info.source = EscapeNonUtf8(DomainSource(link->uri));
  info.has_manager = true;
  info.is_container = link->containers;
  info.lost_problem = ProblemCode::kLibvirtLost;
  if (!link->containers) info.log = {kLibvirtLogs, LastWordsSource::kLibvirtLog};
  info.pid_namespace = context_->pid_namespace;
  info.domain_id = domain.id;
  info.process_tracked = tracked;
  if (tracked) info.SetProcess(DescribeProcess(process, context_->oom_counters));
  info.run_id = context_->NewRunId(info, info.source, static_cast<uint64_t>(domain.id));
  if (table_->Find(info.run_id) != nullptr) return nullptr;
  LibvirtRun* const added =
      Adopt(link, domain.uuid,
            VmSession(std::move(info), &context_->options->session, context_->loop->Now()));
  if (tracked && !added->Track(std::move(process)).ok()) added->LoseTracking();
  return added;
}

void LibvirtSource::Restore(VmSession session) {
  const std::string uuid = session.uuid();
  const std::string uri = ParseVmSource(session.run().source).where;
  Adopt(LinkAt(uri), uuid, std::move(session));
}

LibvirtRun* LibvirtSource::Adopt(Link* link, const std::string& uuid, VmSession session) {
  auto run = std::make_unique<LibvirtRun>(context_, table_, this, uuid, std::move(session));
  LibvirtRun* const added = run.get();
  link->domains[uuid].run = added;
  link_of_[added] = link;
  ++link->runs;
  table_->Add(this, std::move(run));
  table_->SetUuid(added, uuid);
  ShowState(*link);
  return added;
}

void LibvirtSource::OnOver(VmRun* run) {
  const auto of = link_of_.find(run);
  Link* const link = of->second;
  link_of_.erase(of);
  --link->runs;
  const auto it = link->domains.find(Of(run)->uuid());
  if (it != link->domains.end() && it->second.run == run) {
    it->second.run = nullptr;
    // A run that tracks its process ends with it.
    Domain& domain = it->second;
    const int64_t id = run->info().domain_id;
    if (run->tracked() && !Of(run)->reported() && (domain.life.id == id || !domain.life.waits())) {
      LifeOf(link, &domain, id)->process = Life::Process::kGone;
    }
  }
  has_unused_ = true;
  ShowState(*link);
}

}  // namespace vmeventd
