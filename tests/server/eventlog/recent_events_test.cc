#include "server/eventlog/recent_events.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/events/logged_event.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

EventPtr EventAt(uint64_t sequence) {
  v1::Event event;
  event.set_sequence(sequence);
  event.set_message(std::string(100, 'x'));
  return Logged(std::move(event));
}

std::vector<uint64_t> Sequences(const std::vector<EventPtr>& events) {
  std::vector<uint64_t> sequences;
  for (const EventPtr& event : events) sequences.push_back(event->sequence);
  return sequences;
}

TEST(RecentEventsTest, AnEventCanBeReadOnceItIsPublic) {
  RecentEvents recent(1 << 20, 4);
  recent.Add({EventAt(5), EventAt(6)});
  EXPECT_THAT(recent.Read(1, SIZE_MAX), IsEmpty());
  EXPECT_EQ(recent.oldest(), 5);
  EXPECT_TRUE(recent.Publish(5, absl::Seconds(7)));
  const std::vector<EventPtr> read = recent.Read(1, SIZE_MAX);
  ASSERT_THAT(Sequences(read), ElementsAre(5));
  EXPECT_EQ(read.front()->published, absl::Seconds(7));
  EXPECT_EQ(recent.newest(), 5);
  EXPECT_FALSE(recent.Publish(5, absl::Seconds(8))) << "nothing new";
}

TEST(RecentEventsTest, AReadHasAtLeastOneEventAndEndsSoonAfterItsLimitOfBytes) {
  RecentEvents recent(1 << 20, 0);
  recent.Add({EventAt(1), EventAt(2), EventAt(3)});
  recent.Publish(3, absl::ZeroDuration());
  EXPECT_THAT(Sequences(recent.Read(2, 1)), ElementsAre(2));
  const size_t size = EventAt(1)->field.size();
  EXPECT_THAT(Sequences(recent.Read(1, size + 1)), ElementsAre(1, 2));
}

TEST(RecentEventsTest, TrimKeepsUnwrittenEventsAndTheLastOne) {
  const size_t of_one = EventAt(1)->memory();
  RecentEvents recent(of_one, 0);
  recent.Add({EventAt(1), EventAt(2), EventAt(3)});
  recent.Publish(3, absl::ZeroDuration());
  recent.Trim(1);
  EXPECT_THAT(Sequences(recent.Read(1, SIZE_MAX)), ElementsAre(2, 3));
  EXPECT_EQ(recent.bytes(), 2 * of_one);
  RecentEvents tiny(1, 0);
  tiny.Add({EventAt(1), EventAt(2)});
  tiny.Publish(2, absl::ZeroDuration());
  tiny.Trim(2);
  EXPECT_THAT(Sequences(tiny.Read(1, SIZE_MAX)), ElementsAre(2));
}

TEST(RecentEventsTest, DroppedEventsAreGoneAndTheirSequencesAreMissing) {
  RecentEvents recent(1 << 20, 0);
  recent.Add({EventAt(1), EventAt(2), EventAt(3), EventAt(4)});
  recent.Remove({.first = 2, .last = 3});
  recent.Publish(4, absl::ZeroDuration());
  EXPECT_THAT(Sequences(recent.Read(1, SIZE_MAX)), ElementsAre(1, 4));
  EXPECT_EQ(recent.bytes(), 2 * EventAt(1)->memory());
}

TEST(RecentEventsTest, WithoutEventsTheOldestSequenceIsTheNextOne) {
  const RecentEvents recent(1 << 20, 9);
  EXPECT_EQ(recent.newest(), 9);
  EXPECT_EQ(recent.oldest(), 10);
}

}  // namespace
}  // namespace vmeventd
