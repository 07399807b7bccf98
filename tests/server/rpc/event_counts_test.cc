#include "server/rpc/event_counts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;

// An event of that VM that was observed so many seconds after 1970.
void Add(EventCounts* counts, const std::string& vm, int64_t seconds = 0) {
  v1::VmRef ref;
  ref.set_name(vm);
  const std::string bytes = ref.SerializeAsString();
  counts->Add({.type = v1::EVENT_TYPE_STOPPED,
               .shutdown_class = v1::SHUTDOWN_CLASS_CRASH,
               .observe_time = absl::FromUnixSeconds(seconds),
               .vm_ref = bytes});
}

std::vector<std::string> Texts(const EventCounts& counts) {
  std::vector<std::string> texts;
  const v1::CountEventsResponse response = counts.Take();
  for (const v1::EventCount& one : response.counts()) {
    texts.push_back(absl::StrCat(one.key(), " ", one.events()));
  }
  return texts;
}

TEST(EventCountsTest, RowsAreOrderedByTheirCount) {
  EventCounts counts(v1::COUNT_KEY_VM, absl::ZeroDuration(), false);
  for (const char* vm : {"a", "b", "c", "b"}) Add(&counts, vm);
  counts.Add({.type = v1::EVENT_TYPE_GAP});  // of the node
  EXPECT_THAT(Texts(counts), ElementsAre("b 2", "a 1", "c 1"));
}

TEST(EventCountsTest, ADayBeginsAtMidnightOfTheUtcOffset) {
  for (const auto& [offset, day] : {std::pair(0, "1970-01-01 1"), std::pair(2, "1970-01-02 1")}) {
    EventCounts counts(v1::COUNT_KEY_DAY, absl::Hours(offset), false);
    Add(&counts, "a", 23 * 60 * 60);
    EXPECT_THAT(Texts(counts), ElementsAre(day));
  }
}

TEST(EventCountsTest, HoursAndMinutesAreShownWithTheirDay) {
  for (const auto& [key, text] : {std::pair(v1::COUNT_KEY_HOUR, "1970-01-02 01 1"),
                                  std::pair(v1::COUNT_KEY_MINUTE, "1970-01-02 01:05 1")}) {
    EventCounts counts(key, absl::Hours(2), false);
    Add(&counts, "a", 23 * 60 * 60 + 5 * 60);
    EXPECT_THAT(Texts(counts), ElementsAre(text));
  }
}

TEST(EventCountsTest, KeysBeyondTheLimitsAreCountedAsOthers) {
  EventCounts counts(v1::COUNT_KEY_VM, absl::ZeroDuration(), false);
  for (size_t i = 0; i < EventCounts::kMaxKeys + 5; ++i) Add(&counts, absl::StrCat(i));
  const v1::CountEventsResponse response = counts.Take();
  EXPECT_EQ(response.counts_size(), EventCounts::kMaxCounts);
  EXPECT_EQ(response.others(), EventCounts::kMaxKeys + 5 - EventCounts::kMaxCounts);
}

}  // namespace
}  // namespace vmeventd
