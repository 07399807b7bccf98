#include "server/stream/stream_meters.h"

#include <gtest/gtest.h>

namespace vmeventd {
namespace {

TEST(StreamMeters, TellsAJournalThatCannotBeReadFromAStop) {
  StreamMeters meters;
  const absl::Status unavailable = absl::UnavailableError("journal.db: cannot open it");
  meters.CountEnd(unavailable, /*stopping=*/false);
  EXPECT_EQ(meters.ends(StreamEnd::kError), 1);
  EXPECT_EQ(meters.ends(StreamEnd::kShutdown), 0);
  meters.CountEnd(unavailable, /*stopping=*/true);
  EXPECT_EQ(meters.ends(StreamEnd::kError), 1);
  EXPECT_EQ(meters.ends(StreamEnd::kShutdown), 1);
}

}  // namespace
}  // namespace vmeventd
