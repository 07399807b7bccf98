#include "tests/support/journal_events.h"

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "server/events/event_codec.h"
#include "server/events/event_page.h"
#include "tests/support/manual_clock.h"

namespace vmeventd {

absl::StatusOr<std::vector<v1::Event>> JournalEvents(JournalReader* journal, uint64_t first,
                                                     uint64_t last, uint64_t* through) {
  const ManualClock clock;
  EventPage page{.clock = &clock};
  page.Begin(absl::InfiniteDuration(), SIZE_MAX);
  const absl::StatusOr<uint64_t> read = journal->Read(
      first, last, [](const EventRecord&) { return true; }, &page);
  if (!read.ok()) return read.status();
  if (through != nullptr) *through = *read;
  const auto events = Parsed<v1::ListEventsResponse>(page.encoded).events();
  EXPECT_EQ(static_cast<size_t>(events.size()), page.count);
  return std::vector<v1::Event>(events.begin(), events.end());
}

}  // namespace vmeventd
