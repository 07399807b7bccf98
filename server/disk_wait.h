#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "server/access/refusals.h"
#include "server/rpc/server_facts.h"
#include "server/rpc/starting_service.h"
#include "server/transport/grpc_server.h"
#include "watcher/core/service_health.h"
#include "watcher/node/node_watcher.h"
#include "watcher/runs/source_table.h"

namespace vmeventd {

// While this object exists, reports that the start waits for the disk of the state directory: to
// clients and, after kReadyTimeout, to the service manager, which is then notified that the daemon
// is ready. A SIGTERM or SIGINT, which every thread blocks, ends the process: nothing was observed
// yet, and a handover stays stored. Its own thread, "signals", does all of that.
class DiskWait {
 public:
  // The health services of the other parts of the daemon, while there is neither a log nor a
  // watcher.
  static std::vector<ServiceHealth> NothingServes(
      const SourceTable& sources = NodeWatcher::AllSources());

  // `server` has the addresses and limits of the daemon's own server, which replaces this one
  // later, with NothingServes() as the health. `clock` outlives this.
  DiskWait(std::string directory, GrpcServerOptions server, ServerFacts facts, const Clock* clock);
  ~DiskWait();
  DiskWait(const DiskWait&) = delete;
  DiskWait& operator=(const DiskWait&) = delete;

 private:
  std::string What() const;
  void Run();
  void Listen();

  const std::string directory_;
  const GrpcServerOptions server_options_;
  const Clock* const clock_;
  const absl::Duration begin_;
  RefusalCounters refusals_;
  StartingService service_;
  bool tried_ = false;
  std::unique_ptr<GrpcServer> server_;
  std::thread thread_;
};

}  // namespace vmeventd
