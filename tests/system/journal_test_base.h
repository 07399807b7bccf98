#ifndef VMEVENTD_TESTS_SYSTEM_JOURNAL_TEST_BASE_H_
#define VMEVENTD_TESTS_SYSTEM_JOURNAL_TEST_BASE_H_

#include <optional>
#include <string>
#include <vector>

#include "tests/system/e2e_test.h"

namespace vmeventd::e2e {

// What the tests of the journal's troubles share.
class JournalTestBase : public E2eTest {
 protected:
  // A journal is filled by more events than the limits admit.
  JournalTestBase() { LimitEvents(false); }

  std::string journal_path() const { return Options().state_dir + "/journal.db"; }

  // grpc.health.v1: whether the service is SERVING.
  bool Serving(const std::string& service);
  // All events that ListEvents tells.
  std::vector<v1::Event> ListEvents();
  // How a stream with this start ends, if it does not begin.
  grpc::Status TryCursor(uint64_t after, const std::string& journal_id);
  void KillDaemon();

  // Sequences increase, and are without a hole but where a GAP of the node follows it.
  static void ExpectInOrder(const std::vector<v1::Event>& events);
  static size_t CountGaps(const std::vector<v1::Event>& events);
};

// A cursor of `journal_id`.
v1::WatchEventsRequest After(uint64_t sequence, const std::string& journal_id);

// What a moved-aside journal is called, of all that lies in `directory`.
std::vector<std::string> CorruptJournals(const std::string& directory);

}  // namespace vmeventd::e2e

#endif  // VMEVENTD_TESTS_SYSTEM_JOURNAL_TEST_BASE_H_
