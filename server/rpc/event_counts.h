#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "server/events/event_record.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// Counts of events by a key, for one page of CountEvents. One thread at a time.
class EventCounts {
 public:
  static constexpr size_t kMaxCounts = 1'000;  // in a response
  // Keys in memory; events of further keys are counted together.
  static constexpr size_t kMaxKeys = 10'000;

  // `counts_gaps`: a GAP of the node as a whole is counted too.
  EventCounts(v1::CountKey by, absl::Duration utc_offset, bool counts_gaps)
      : by_(by),
        zone_(absl::FixedTimeZone(static_cast<int>(absl::ToInt64Seconds(utc_offset)))),
        counts_gaps_(counts_gaps) {}

  void Add(const EventRecord& event);
  // Returns the counts, largest first.
  v1::CountEventsResponse Take() const;

 private:
  std::string KeyOf(const EventRecord& event) const;

  const v1::CountKey by_;
  const absl::TimeZone zone_;
  const bool counts_gaps_;
  absl::flat_hash_map<std::string, uint64_t> counts_;
  uint64_t others_ = 0;
};

}  // namespace vmeventd
