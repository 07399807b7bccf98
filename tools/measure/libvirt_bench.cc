// What a libvirt domain costs the watcher: memory, and time for its start and its end. The libvirt
// is a fake at the library's border, so that no QEMU is needed.
//
//   libvirt_bench [DOMAINS]

#include <malloc.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "spdlog/spdlog.h"
#include "tests/support/fake_libvirt.h"
#include "tests/support/sources_with_libvirt.h"
#include "watcher/core/libvirt_spec.h"
#include "watcher/node/node_watcher.h"
#include "watcher/runs/watcher_options.h"

namespace vmeventd {
namespace {

// Counts, and keeps nothing.
class CountingSink : public UpdateSink {
 public:
  void Push(VmUpdate update) override {
    if (!update.event.has_value()) return;
    if (update.event->type() == EventType::kStarted) ++started;
    if (update.event->type() == EventType::kStopped) ++stopped;
  }

  int started = 0;
  int stopped = 0;
};

size_t HeapBytes() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

DomainName Domain(int number) {
  return {absl::StrFormat("instance-%08x", number),
          absl::StrFormat("475852fa-ea74-4630-8eae-%012x", number), number + 1};
}

void Run(int domains) {
  spdlog::set_level(spdlog::level::err);
  const SystemClock clock;
  CountingSink sink;
  auto libvirt = std::make_shared<FakeLibvirt>();
  WatcherOptions options;
  options.sources.libvirts = {ParseLibvirtUri("qemu:///system").value()};
  const std::unique_ptr<NodeWatcher> watcher =
      NodeWatcher::Create(options, {}, &clock, &sink, SourcesWithLibvirt(libvirt)).value();
  while (!watcher->first_scan_done()) watcher->RunOnce(absl::Milliseconds(10));

  const size_t before = HeapBytes();
  absl::Time begin = absl::Now();
  for (int number = 0; number < domains; ++number) {
    libvirt->Qmp(Domain(number), "RESUME");
    libvirt->Started(Domain(number));
    if (number % 100 == 0) watcher->RunOnce(absl::ZeroDuration());
  }
  while (sink.started < domains) watcher->RunOnce(absl::Milliseconds(10));
  const absl::Duration starts = absl::Now() - begin;
  const size_t bytes = HeapBytes() - before;

  begin = absl::Now();
  for (int number = 0; number < domains; ++number) {
    libvirt->Qmp(Domain(number), "SHUTDOWN", R"({"guest":true,"reason":"guest-shutdown"})");
    libvirt->Stopped(Domain(number), ManagerEnd::kShutdown, "stopped, shutdown");
    if (number % 100 == 0) watcher->RunOnce(absl::ZeroDuration());
  }
  while (sink.stopped < domains) watcher->RunOnce(absl::Milliseconds(10));
  const absl::Duration ends = absl::Now() - begin;
  std::printf("%d domains: %.2f KiB each in the watcher; a start %.1f us, an end %.1f us\n",
              domains, static_cast<double>(bytes) / domains / 1024,
              absl::ToDoubleMicroseconds(starts) / domains,
              absl::ToDoubleMicroseconds(ends) / domains);
}

}  // namespace
}  // namespace vmeventd

int main(int argc, char** argv) {
  vmeventd::Run(argc > 1 ? std::atoi(argv[1]) : 1'000);
  return 0;
}
