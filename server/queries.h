#ifndef VMEVENTD_SERVER_QUERIES_H_
#define VMEVENTD_SERVER_QUERIES_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "server/event_store.h"
#include "server/journal_reader.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// The questions about events and VMs, each answered by the bytes of its response message: what is
// stored encoded is not encoded again. Checks its requests. Any thread, where nothing
// else is said.
class Queries {
 public:
  // No answer is longer: a page ends early instead.
  static constexpr size_t kMaxResponseBytes = 1 << 20;

  // `store` outlives it.
  explicit Queries(const EventStore* store) : store_(store) {}

  // History thread, whose reader it gets.
  absl::StatusOr<std::string> ListEvents(const v1::ListEventsRequest& request,
                                         const absl::StatusOr<JournalReader*>& journal) const;
  absl::StatusOr<std::string> ListVms(const v1::ListVmsRequest& request) const;
  absl::StatusOr<std::string> GetVm(const v1::GetVmRequest& request) const;

 private:
  const EventStore* const store_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_QUERIES_H_
