#include "tests/simulation/libvirtd.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "watcher/libvirt/domain_xml.h"
#include "watcher/libvirt/forwarded_event.h"

namespace vmeventd::simulation {
namespace {

std::string PidFile(const Life& life) {
  return absl::StrCat(kPidDirectory, "/", life.name, ".pid");
}

DomainName NameOf(const Life& life) { return {life.name, life.uuid, life.domain_id}; }

absl::Status Away() { return absl::UnavailableError("libvirtd is away"); }

}  // namespace

// A connection to it.
class Libvirtd::Client : public Connection {
 public:
  Client(Libvirtd* libvirtd, ConnectionPtr link) : libvirtd_(libvirtd), link_(std::move(link)) {}
  ~Client() override {
    if (libvirtd_->link_ == link_) libvirtd_->Forget();
  }
  absl::StatusOr<std::vector<ActiveDomain>> ListActive() override { return libvirtd_->List(link_); }
  absl::StatusOr<DomainDetails> Details(const std::string& /*uuid*/) override {
    libvirtd_->Take();
    if (libvirtd_->link_ != link_) return Away();
    return DomainDetails();
  }

 private:
  Libvirtd* const libvirtd_;
  const ConnectionPtr link_;
};

void Libvirtd::Take() {
  if (random_->OneIn(3)) return;
  const absl::Duration takes = random_->OneIn(8)
                                   ? random_->Between(absl::ZeroDuration(), absl::Seconds(9))
                                   : random_->Between(absl::ZeroDuration(), absl::Milliseconds(20));
  const absl::Duration end = kernel_->monotonic() + takes;
  const MutexLock lock(&mutex_);
  while (daemon_ != 0 && !kernel_->dead() && kernel_->monotonic() < end) {
    ends_.WaitFor(&mutex_, end - kernel_->monotonic());
  }
}

absl::StatusOr<std::unique_ptr<LibvirtApi::Connection>> Libvirtd::Open(const std::string& /*uri*/,
                                                                       const Callback& callback) {
  Take();
  if (!runs_ || daemon_ == 0) return Away();
  callback_ = callback;
  link_ = std::make_shared<simulation::Connection>();
  link_->of_daemon = true;
  listed_ = false;
  story_->Log("libvirtd", "has a client");
  return std::make_unique<Client>(this, link_);
}

absl::StatusOr<std::vector<ActiveDomain>> Libvirtd::List(const ConnectionPtr& link) {
  Take();
  if (link_ != link) return Away();
  const std::vector<Life*> listed = domains_;
  std::vector<ActiveDomain> active;
  for (Life* const life : listed) {
    active.push_back({NameOf(*life), life->run_state});
    if (const ProcessPtr other = kernel_->Living(life->process->pid);
        other != nullptr && other != life->process) {
      story_->Reach("a list has a domain whose number another process has");
    }
    // libvirtd has not noticed the end of another yet, and its state says nothing.
    if (!life->process_gone) SayRunState(life);
  }
  story_->Log("libvirtd", "lists ", active.size(), " domains");
  story_->Reach("a list of domains");
  Take();
  if (link_ != link) return Away();
  listed_ = true;
  for (Life* const life : listed) life->daemons.insert(daemon_);
  return active;
}

void Libvirtd::Stop() {
  if (!runs_) return;
  story_->Log("libvirtd", "ends");
  story_->Reach("libvirtd ends");
  runs_ = false;
  LoseSight();
  link_ = nullptr;
  // A thread may take its place meanwhile; the same holds below.
  if (const Callback callback = callback_; callback != nullptr) {
    callback(LinkClosed{"libvirt closed the connection"});
  }
}

void Libvirtd::Start() {
  if (runs_) return;
  // A domain that ended meanwhile is not known any more, and no end of it is reported.
  std::erase_if(domains_, [](const Life* life) { return life->process_gone; });
  last_id_ = 0;
  for (const Life* const life : domains_) last_id_ = std::max(last_id_, life->domain_id);
  if (last_id_ == 0) story_->Reach("the ids of domains begin again");
  story_->Log("libvirtd", "starts, with ", domains_.size(), " domains");
  runs_ = true;
  started_at_ = kernel_->monotonic();
}

void Libvirtd::Add(Life* life) {
  life->domain_id = ++last_id_;
  const std::string path = PidFile(*life);
  kernel_->disk().Unlink(path);
  kernel_->disk().Make(path, S_IFREG | 0644, kernel_->wall_ns())->content =
      absl::StrCat(life->process->pid, "\n");
  domains_.push_back(life);
}

void Libvirtd::RecordSent(Life* life, Report* report) {
  ++link_->sent;
  report->received_on = link_;
  report->end = link_->sent;
  report->daemon = daemon_;
  report->unsure = !listed_;
  life->attached = link_;
  life->client_daemon = daemon_;
  life->daemons.insert(daemon_);
}

void Libvirtd::SayRunState(Life* life) {
  if (!IsListened()) return;
  life->reports.push_back(
      {.kind = Report::Kind::kRunState, .text = life->run_state, .at = kernel_->monotonic()});
  RecordSent(life, &life->reports.back());
}

void Libvirtd::Forward(Life* life, absl::string_view event, absl::string_view data,
                       Report* report) {
  if (!runs_ || !IsListened()) return;
  RecordSent(life, report);
  const int64_t us = report->wall_us;
  const Callback callback = callback_;
  callback(DomainEvent{NameOf(*life),
                       ForwardedEvent(std::string(event), us / 1'000'000,
                                      static_cast<uint32_t>(us % 1'000'000), std::string(data))
                           .value()});
}

void Libvirtd::SayStarted(Life* life, bool incoming) {
  if (!runs_ || !IsListened()) return;
  const Callback callback = callback_;
  callback(
      DomainChanged{NameOf(*life), {.text = "started", .started = true, .incoming = incoming}});
}

void Libvirtd::Remove(Life* life, ManagerEnd end) {
  if (!runs_ || std::erase(domains_, life) == 0) return;
  if (kernel_->disk().Find(PidFile(*life)) != nullptr && random_->OneIn(2)) {
    kernel_->disk().Unlink(PidFile(*life));
  }
  if (!IsListened()) return;
  Report report{.kind = Report::Kind::kManager, .manager = end, .at = kernel_->monotonic()};
  RecordSent(life, &report);
  life->reports.push_back(std::move(report));
  DomainName name = NameOf(*life);
  if (random_->OneIn(2)) name.id = -1;  // a transient domain's
  const Callback callback = callback_;
  callback(DomainChanged{name, {.text = "stopped", .end = end}});
}

void Libvirtd::set_daemon(int number) {
  daemon_ = number;
  if (number == 0) ends_.NotifyAll();
}

void Libvirtd::LoseSight() {
  if (link_ == nullptr) return;
  for (Life* const life : domains_) life->unseen_at = kernel_->monotonic();
}

void Libvirtd::Forget() {
  LoseSight();
  callback_ = nullptr;
  link_ = nullptr;
}

void Libvirtd::AfterLoopTurn(bool has_read) {
  if (link_ != nullptr && (has_read || kernel_->dead())) link_->handed_out = link_->sent;
}

}  // namespace vmeventd::simulation
