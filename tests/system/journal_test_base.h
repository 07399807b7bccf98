#pragma once

#include <csignal>
#include <cstdint>
#include <string>

#include "tests/support/watch_requests.h"
#include "tests/system/e2e_test.h"

namespace vmeventd::e2e {

// Shared by the tests of journal failures.
class JournalTestBase : public E2eTest {
 protected:
  // Filling a journal takes more events than the limits admit.
  JournalTestBase() { LimitEvents(false); }

  // The status of a stream with this start, if it is refused.
  grpc::Status TryCursor(uint64_t after, const std::string& journal_id) {
    grpc::ClientContext context;
    const auto reader = daemon().stub().WatchEvents(&context, After(after, journal_id));
    v1::WatchEventsResponse response;
    if (!reader->Read(&response)) return reader->Finish();
    context.TryCancel();
    reader->Finish();
    return grpc::Status::OK;
  }
  void KillDaemon() { EndDaemon(SIGKILL); }
};

}  // namespace vmeventd::e2e
