#include "server/disk_wait.h"

#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <ctime>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/thread_name.h"
#include "server/eventlog/event_log.h"
#include "server/host/service.h"
#include "spdlog/spdlog.h"

namespace vmeventd {

std::vector<ServiceHealth> DiskWait::NothingServes(const SourceTable& sources) {
  std::vector<ServiceHealth> services = NodeWatcher::NotServing(sources);
  services.push_back(EventLog::NotServing());
  return services;
}

DiskWait::DiskWait(std::string directory, GrpcServerOptions server, ServerFacts facts,
                   const Clock* clock)
    : directory_(std::move(directory)),
      server_options_(std::move(server)),
      clock_(clock),
      begin_(clock->Now().monotonic),
      service_(std::move(facts), [this] { return What(); }),
      thread_([this] { Run(); }) {}

DiskWait::~DiskWait() {
  // The thread waits for this signal, which ends nothing else.
  // NOLINTNEXTLINE(bugprone-bad-signal-to-kill-thread)
  pthread_kill(thread_.native_handle(), SIGTERM);
  thread_.join();
  if (server_ != nullptr) server_->Shutdown(absl::ZeroDuration());
}

std::string DiskWait::What() const {
  return absl::StrCat(
      "the disk of ", directory_, ", which has not answered for ",
      absl::FormatDuration(absl::Trunc(clock_->Now().monotonic - begin_, absl::Seconds(1))));
}

void DiskWait::Run() {
  // A disk that answers in time needs no such server.
  constexpr absl::Duration kListen = absl::Milliseconds(500);
  constexpr timespec kTurn = {0, 500'000'000};
  SetThreadName("signals");
  sigset_t stops;
  sigemptyset(&stops);
  for (const int number : {SIGTERM, SIGINT}) sigaddset(&stops, number);
  absl::Duration log_at = begin_ + kReadyTimeout;
  for (;;) {
    siginfo_t info{};
    const int number = sigtimedwait(&stops, &info, &kTurn);
    if (number > 0 && info.si_pid == getpid()) return;  // sent by the destructor
    const absl::Duration now = clock_->Now().monotonic;
    if (number > 0) {
      spdlog::error("stopped during the start, while waiting for {}", directory_);
      spdlog::default_logger()->flush();
      _exit(0);
    }
    if (now >= begin_ + kListen && !std::exchange(tried_, true)) Listen();
    if (now < begin_ + kReadyTimeout) continue;
    const std::string waits = absl::StrCat("the start waits for ", What());
    if (now >= log_at) {
      spdlog::error("{}; no VM is followed until then", waits);
      log_at = now + absl::Minutes(1);
    }
    Notify(absl::StrCat("READY=1\nWATCHDOG=1\nSTATUS=", waits));
  }
}

void DiskWait::Listen() {
  absl::StatusOr<std::unique_ptr<GrpcServer>> server =
      GrpcServer::Start(server_options_, &service_, &refusals_, clock_);
  if (!server.ok()) return;  // the daemon's own server reports it
  server_ = *std::move(server);
}

}  // namespace vmeventd
