#include "watcher/libvirt/libvirt_source.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <utility>
#include <variant>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/backoff.h"
#include "base/clock.h"
#include "base/do_within.h"
#include "base/thread_name.h"
#include "base/unique_fd.h"
#include "spdlog/spdlog.h"
#include "watcher/core/foreign_text.h"
#include "watcher/core/libvirt_spec.h"
#include "watcher/core/proto_time.h"
#include "watcher/core/source_specs.h"
#include "watcher/libvirt/libvirt_run.h"

namespace vmeventd {
namespace {

constexpr absl::Duration kFirstRetry = absl::Milliseconds(100);
constexpr absl::Duration kMaxRetry = absl::Seconds(5);
// A connection that lasted at least this long is reopened at once.
constexpr absl::Duration kStable = absl::Seconds(10);
// An attempt that takes longer is reported, and does not delay the start any further.
constexpr absl::Duration kSlowAttempt = absl::Seconds(5);
// Interval of the checks after the first one (kFirstCheck).
constexpr absl::Duration kCheckInterval = absl::Minutes(1);
// Maximum time of one turn: the sockets of other QEMUs are read between turns.
constexpr absl::Duration kTurn = absl::Milliseconds(2);
// Interval of the search for a libvirt that is followed as soon as it exists.
constexpr absl::Duration kAwaitInterval = absl::Seconds(1);
// Longest time for which a stop waits for running calls to libvirt.
constexpr absl::Duration kStopWait = absl::Seconds(1);

std::vector<std::string> GlobsOf(const std::vector<LibvirtSpec>& specs) {
  std::vector<std::string> patterns;
  patterns.reserve(specs.size());
  for (const LibvirtSpec& spec : specs) patterns.push_back(spec.socket);
  return patterns;
}

}  // namespace

bool LibvirtSource::NeedsLibrary(const SourceSpecs& specs) {
  return std::any_of(specs.libvirts.begin(), specs.libvirts.end(),
                     [](const LibvirtSpec& spec) { return spec.awaited.empty(); });
}

SourceKind LibvirtSource::Kind(std::shared_ptr<LibvirtApi> api) {
  const auto library = std::make_shared<std::shared_ptr<LibvirtApi>>(std::move(api));
  return {.key = kKey,
          .health_service = kHealthService,
          // vmeventd observes: to look at qemu:///session must not start a libvirt.
          .prepare_process = [] { setenv("LIBVIRT_AUTOSTART", "0", 1); },
          .load_library = [library](const SourceSpecs& specs) -> absl::Status {
            if (*library != nullptr || !NeedsLibrary(specs)) return absl::OkStatus();
            absl::StatusOr<std::shared_ptr<LibvirtApi>> loaded = LoadLibvirt();
            if (!loaded.ok()) return loaded.status();
            *library = *std::move(loaded);
            return absl::OkStatus();
          },
          .make = [library](RunContext* context, RunTable* table,
                            UpdateSink* sink) { return Create(context, table, sink, *library); }};
}

absl::StatusOr<std::unique_ptr<LibvirtSource>> LibvirtSource::Create(
    RunContext* context, RunTable* table, UpdateSink* sink, std::shared_ptr<LibvirtApi> api) {
  UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return absl::ErrnoToStatus(errno, "eventfd");
  const int fd = wake.get();
  std::unique_ptr<LibvirtSource> source(
      new LibvirtSource(context, table, sink, std::move(api), std::move(wake)));
  if (absl::Status status = context->loop->Add(fd, EPOLLIN, source.get()); !status.ok()) {
    return status;
  }
  return source;
}

LibvirtSource::LibvirtSource(RunContext* context, RunTable* table, UpdateSink* sink,
                             std::shared_ptr<LibvirtApi> api, UniqueFd wake)
    : context_(context),
      table_(table),
      sink_(sink),
      api_(std::move(api)),
      wake_(std::make_shared<const UniqueFd>(std::move(wake))),
      threads_(kMaxThreads, [] { SetThreadName("libvirt-call"); }),
      sockets_(context->loop, GlobsOf(context->options->sources.libvirts),
               context->options->directory_patience,
               [this](const std::vector<SocketGlobWatcher::Change>& changes) {
                 has_unused_ = true;
                 for (const auto& [spec, path, gone] : changes) {
                   const LibvirtSpec& of =
                       context_->options->sources.libvirts[static_cast<size_t>(spec)];
                   if (gone) {
                     OnSocketGone(of, path);
                   } else {
                     OnSocket(of, path);
                   }
                 }
               }) {}

LibvirtSource::~LibvirtSource() {
  context_->loop->Remove(wake_->get());
  context_->loop->CancelTimer(&await_);
  for (const auto& [uri, link] : links_) {
    EndAttempt(link.get());
    link->worker.reset();
  }
  if (!threads_.WaitForJobs(kStopWait)) {
    spdlog::warn("a call to libvirt has not returned: stopping without waiting for it");
  }
}

void LibvirtSource::Start() {
  started_ = true;
  for (const LibvirtSpec& spec : context_->options->sources.libvirts) {
    if (!spec.has_glob()) ConnectWhenAvailable(spec, kFileSystemPatience);
  }
  sockets_.Start();
  // Ends the runs that are earlier lives of their domains.
  const auto is_earlier = [](const LibvirtRun& run, const Link& link) {
    return FindRun(link, run.uuid()) != &run;
  };
  for (LibvirtRun* run : RunsThat(is_earlier)) run->OnLibvirtGone();
}

void LibvirtSource::EndTurn() {
  threads_.StartMissing();
  for (const auto& [uri, link] : links_) {
    link->first_scan_done |= link->connected() && link->searches == 0;
  }
  const auto is_done = [](const auto& entry) {
    return entry.second->first_scan_done || !entry.second->wanted;
  };
  if (!first_scan_done_ && started_ && !loading_.under_way() &&
      (sockets_.looked() || sockets_.hangs()) &&
      std::all_of(links_.begin(), links_.end(), is_done)) {
    // The only reporter of how its domains end is gone for good.
    const auto is_orphan = [](const LibvirtRun&, const Link& link) { return !link.reachable(); };
    if (sockets_.looked()) {
      for (LibvirtRun* run : RunsThat(is_orphan)) run->OnLibvirtGone();
    }
    first_scan_done_ = true;
  }
  if (std::exchange(has_unused_, false)) DropUnused();
}

// Links

LibvirtSource::Link* LibvirtSource::LinkAt(const std::string& uri) {
  std::unique_ptr<Link>& link = links_[uri];
  if (link == nullptr) {
    link = std::make_unique<Link>(uri);
    link->since = context_->loop->Now().wall;
  }
  return link.get();
}

void LibvirtSource::Want(Link* link, const LibvirtSpec& spec, const std::string& socket) {
  if (link->worker == nullptr) {
    link->worker = std::make_unique<LibvirtLink>(api_, wake_, &threads_, spec, socket,
                                                 context_->options->process_tracking);
  }
  link->wanted = true;
  if (link->state != Link::State::kClosed || link->timer.serial != 0) return;
  if (context_->loop->Now().monotonic < link->not_before) {
    RetryLater(link);
  } else {
    Connect(link);
  }
}

void LibvirtSource::ConnectWhenAvailable(const LibvirtSpec& spec, absl::Duration patience) {
  // A restored run has a link already.
  const bool is_there = spec.awaited.empty() || links_.contains(spec.Uri()) ||
                        std::any_of(spec.awaited.begin(), spec.awaited.end(), [](const auto& path) {
                          return access(path.c_str(), F_OK) == 0;
                        });
  std::string problem = is_there ? "" : "its socket does not exist";
  if (is_there && api_ == nullptr) {
    auto api = loading_.Within(&threads_, patience, LoadLibvirt);
    if (!api.has_value()) {
      problem = "its library is being loaded";
    } else if (api->ok()) {
      api_ = **std::move(api);
    } else {
      problem = std::string(api->status().message());
    }
  }
  if (problem.empty()) {
    if (!spec.awaited.empty()) spdlog::info("found libvirt {}: following its domains", spec.Uri());
    return Want(LinkAt(spec.Uri()), spec, spec.socket);
  }
  if (std::exchange(awaited_problem_, problem) != problem) {
    spdlog::info("cannot follow libvirt {} yet, trying again: {}", spec.Uri(), problem);
  }
  context_->loop->SetTimerIn(&await_, kAwaitInterval,
                             [this, &spec] { ConnectWhenAvailable(spec, absl::ZeroDuration()); });
}

void LibvirtSource::OnSocket(const LibvirtSpec& spec, const std::string& path) {
  const std::string uri = spec.UriAt(path);
  if (!links_.contains(uri) && links_.size() >= kMaxLinks) {
    meters_.left_out.Add();
    spdlog::warn("not following libvirt {}: {} libvirts have not answered, which is the limit",
                 absl::CHexEscape(path), kMaxLinks);
    return;
  }
  Want(LinkAt(uri), spec, path);
}

void LibvirtSource::OnSocketGone(const LibvirtSpec& spec, const std::string& path) {
  const auto it = links_.find(spec.UriAt(path));
  if (it == links_.end()) return;
  Link* const link = it->second.get();
  link->wanted = false;
  if (!link->connected()) DropLink(link);
}

void LibvirtSource::Connect(Link* link) {
  link->state = Link::State::kOpening;
  link->listing = true;
  context_->loop->SetTimerIn(&link->timer, kSlowAttempt, [this, link] { OnSlow(link); });
  link->worker->Open();
  ShowState(*link);
}

void LibvirtSource::OnSlow(Link* link) {
  link->first_scan_done = true;
  SetProblem(link, ProblemCode::kNoAnswer,
             link->worker->waits_for_thread()
                 ? absl::StrCat("waiting for a free thread: ", kMaxThreads,
                                " calls to libvirt have not returned")
                 : "libvirt does not answer");
}

void LibvirtSource::BackOff(Link* link) {
  link->backoff = NextPause(link->backoff, kFirstRetry, kMaxRetry);
  link->not_before = context_->loop->Now().monotonic + link->backoff;
}

void LibvirtSource::RetryLater(Link* link) {
  context_->loop->SetTimer(&link->timer, link->not_before, [this, link] { Connect(link); });
}

void LibvirtSource::EndAttempt(Link* link) {
  context_->loop->CancelTimer(&link->timer);
  link->listing = false;
  link->searches = 0;
  for (auto& [uuid, domain] : link->domains) {
    domain.doubt = ListDoubt::kNone;
    const Life life = TakeLife(link, &domain);
    if (life.process == Life::Process::kGone) {
      LifeOf(link, &domain, life.id)->process = life.process;
    }
  }
  has_unused_ = true;
  link->state = Link::State::kClosed;
}

void LibvirtSource::Disconnect(Link* link, absl::string_view why) {
  const bool was_connected = link->connected();
  EndAttempt(link);
  if (was_connected) {
    const Instant now = context_->loop->Now();
    link->since = now.wall;
    if (now.monotonic - *link->connected_at >= kStable) link->backoff = absl::ZeroDuration();
    link->worker->Close();
  }
  const auto is_its = [link](const LibvirtRun&, const Link& of) { return &of == link; };
  for (LibvirtRun* run : RunsThat(is_its)) {
    if (link_of_.contains(run)) run->OnLost(why);
  }
}

void LibvirtSource::DropLink(Link* link) {
  if (link->state == Link::State::kOpening) BackOff(link);  // it has not answered
  EndAttempt(link);
  link->worker->Close();
  {
    const MutexLock lock(&mutex_);
    states_.erase(link->uri);
  }
  const auto is_its = [link](const LibvirtRun&, const Link& of) { return &of == link; };
  for (LibvirtRun* run : RunsThat(is_its)) run->OnLibvirtGone();
  has_unused_ = true;
}

void LibvirtSource::DropUnused() {
  for (const auto& [uri, link] : links_) {
    absl::erase_if(link->domains, [](const auto& entry) {
      const Domain& domain = entry.second;
      return domain.run == nullptr && domain.life.id == 0 && domain.doubt == ListDoubt::kNone;
    });
  }
  const absl::Duration now = context_->loop->Now().monotonic;
  std::erase_if(links_, [&](const auto& entry) {
    const Link& link = *entry.second;
    if (link.reachable() || link.runs > 0) return false;
    // A link whose socket may be made again stays as long as its thread is busy or it has to wait,
    // so that the new socket takes no second thread.
    return link.worker == nullptr || (!link.worker->busy() && link.not_before <= now);
  });
}

void LibvirtSource::CheckLater(Link* link, absl::Duration wait) {
  context_->loop->SetTimerIn(&link->timer, wait, [this, link] {
    CheckLater(link, kCheckInterval);
    const auto in_doubt = [link](const auto& entry) {
      const Domain& domain = entry.second;
      return domain.life.waits() || domain.life.process == Life::Process::kUnseen ||
             (domain.doubt != ListDoubt::kNone && !link->listing) ||
             (domain.run != nullptr && !domain.run->tracked());
    };
    if (std::none_of(link->domains.begin(), link->domains.end(), in_doubt)) return;
    // A list that was requested and has not arrived is as old as the events since the request.
    if (!std::exchange(link->listing, true)) {
      for (auto& [uuid, domain] : link->domains) domain.doubt = ListDoubt::kNone;
      has_unused_ = true;
    }
    link->worker->ListAgain();
  });
}

void LibvirtSource::SetProblem(Link* link, ProblemCode code, const std::string& problem) {
  if (link->problem.text != problem && !problem.empty()) {
    // The log escapes for its reader; libvirt's messages have quotes.
    spdlog::warn("cannot follow libvirt {}: {}", EscapeNonUtf8(link->uri), EscapeNonUtf8(problem));
  }
  link->problem = {code, EscapeNonUtf8(problem)};
  ShowState(*link);
}

void LibvirtSource::ShowState(const Link& link) {
  if (!link.reachable()) return;
  const MutexLock lock(&mutex_);
  v1::LibvirtConnection& state = states_[link.uri];
  state.set_uri(EscapeNonUtf8(link.uri));
  state.set_connected(link.connected());
  state.clear_problem();
  if (!link.connected() && !link.problem.empty()) *state.mutable_problem() = ToProto(link.problem);
  *state.mutable_since() = ToTimestamp(link.since);
  state.set_domains(link.runs);
}

bool LibvirtSource::is_open() const {
  const auto is_wanted = [](const auto& entry) { return entry.second->wanted; };
  const auto is_connected = [](const auto& entry) { return entry.second->connected(); };
  if (std::any_of(links_.begin(), links_.end(), is_wanted)) {
    return std::any_of(links_.begin(), links_.end(), is_connected);
  }
  return std::any_of(context_->options->sources.libvirts.begin(),
                     context_->options->sources.libvirts.end(),
                     [](const LibvirtSpec& spec) { return spec.has_glob(); });
}

std::vector<ServiceHealth> LibvirtSource::Health() const {
  return {{kHealthService, Trouble().empty()}};
}

void LibvirtSource::Describe(v1::GetServerInfoResponse* info) const {
  const MutexLock lock(&mutex_);
  for (const auto& [uri, state] : states_) *info->add_libvirt_connections() = state;
}

std::vector<SourceMetric> LibvirtSource::Metrics() const {
  std::vector<SourceMetric> metrics = {
      {"vmeventd_libvirt_connects_total", "Connections to libvirt that were made",
       meters_.connects.value()},
      {"vmeventd_libvirt_failures_total",
       "Connections to libvirt that could not be made or were lost", meters_.failures.value()},
      {"vmeventd_libvirt_overflows_total",
       "Connections to libvirt that were cut because too many events waited",
       meters_.overflows.value()},
      {"vmeventd_libvirt_left_out_total",
       "Times that a libvirt or a domain was not followed because of a limit",
       meters_.left_out.value()},
  };
  const MutexLock lock(&mutex_);
  for (const auto& [uri, state] : states_) {
    metrics.push_back({"vmeventd_libvirt_connected",
                       "1 if the connection to this libvirt is open",
                       state.connected() ? 1U : 0U,
                       /*is_gauge=*/true,
                       {{"uri", state.uri()}}});
  }
  return metrics;
}

std::string LibvirtSource::Trouble() const {
  std::vector<std::string> troubles;
  {
    const MutexLock lock(&mutex_);
    const bool is_unreachable = std::any_of(states_.begin(), states_.end(), [](const auto& entry) {
      return entry.second.has_problem();
    });
    if (is_unreachable) troubles.emplace_back("a libvirt cannot be reached");
  }
  if (sockets_.hangs()) troubles.emplace_back("looking for libvirt's sockets hangs");
  return absl::StrJoin(troubles, "; ");
}

void LibvirtSource::PublishGap(const Link& link) {
  const Instant now = context_->loop->Now();
  const absl::Duration lost = absl::Trunc(now.wall - link.since, absl::Milliseconds(1));
  VmUpdate update{std::nullopt,
                  MakeGap(GapReason::kLibvirtLost,
                          absl::StrCat("the connection to libvirt ", EscapeNonUtf8(link.uri),
                                       " was lost for ", absl::FormatDuration(lost),
                                       ": domains that began and ended meanwhile were not seen"),
                          now.wall)};
  update.observed = now.monotonic;
  sink_->Push(std::move(update));
}

// Messages

void LibvirtSource::OnFdReady(uint32_t) { ReadNow(kTurn); }

void LibvirtSource::ReadNow(absl::Duration limit) {
  if (std::exchange(reading_, true)) return;  // from within a message
  const absl::Duration deadline = context_->loop->Now().monotonic + limit;
  eventfd_t ignored;
  eventfd_read(wake_->get(), &ignored);
  // Takes some messages from each link in turn, until no link has any.
  for (size_t idle = 0; idle < links_.size();) {
    auto next = links_.upper_bound(last_read_);
    if (next == links_.end()) next = links_.begin();
    last_read_ = next->first;
    idle = ReadFrom(next->second.get()) ? 0 : idle + 1;
    if (context_->loop->Now().monotonic >= deadline) {
      eventfd_write(wake_->get(), 1);  // for the rest
      break;
    }
  }
  reading_ = false;
}

bool LibvirtSource::ReadFrom(Link* link) {
  if (link->state == Link::State::kClosed) return false;
  std::vector<LibvirtMessage> messages = link->worker->Take();
  for (LibvirtMessage& message : messages) {
    if (link->state == Link::State::kClosed) break;  // it was closed meanwhile
    std::visit([&](auto& known) { Handle(link, known); }, message);
    if (link->held > kMaxHeld) {
      LinkClosed closed{"events arrived faster than vmeventd could read them", /*overflow=*/true};
      Handle(link, closed);
    }
  }
  return !messages.empty();
}

bool LibvirtSource::waits() const {
  return std::any_of(links_.begin(), links_.end(),
                     [](const auto& entry) { return entry.second->searches > 0; });
}

void LibvirtSource::Handle(Link* link, DomainsListed& message) {
  if (!link->connected()) {
    meters_.connects.Add();
    spdlog::info("connected to libvirt {}", absl::CHexEscape(link->uri));
    if (link->connected_at.has_value()) PublishGap(*link);
    link->state = Link::State::kConnected;
    const Instant now = context_->loop->Now();
    link->since = now.wall;
    link->connected_at = now.monotonic;
    SetProblem(link, ProblemCode::kUnspecified, "");
    CheckLater(link, kFirstCheck);
  }
  if (link->listing) ApplyList(link, message.domains);
}

void LibvirtSource::Handle(Link* link, LinkClosed& message) {
  meters_.failures.Add();
  if (message.overflow) meters_.overflows.Add();
  link->first_scan_done = true;
  const auto code = link->connected()   ? ProblemCode::kLibvirtLost
                    : message.forbidden ? ProblemCode::kPermissionDenied
                                        : ProblemCode::kCannotConnect;
  Disconnect(link, message.why);
  BackOff(link);
  SetProblem(link, code, message.why);
  if (link->wanted) {
    RetryLater(link);
  } else {
    DropLink(link);
  }
}

}  // namespace vmeventd
