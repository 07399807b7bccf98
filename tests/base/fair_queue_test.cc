#include "base/fair_queue.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> PopAll(FairQueue<std::string>* queue) {
  std::vector<std::string> out;
  while (!queue->empty()) out.push_back(queue->Pop());
  return out;
}

TEST(FairQueue, OwnersTakeTurnsAndEachKeepsItsOrder) {
  FairQueue<std::string> queue;
  for (const char* item : {"a1", "a2", "a3", "a4"}) queue.Push("a", item);
  queue.Push("b", "b1");
  queue.Push("b", "b2");
  queue.Push("c", "c1");
  EXPECT_EQ(queue.size(), 7u);
  EXPECT_EQ(queue.size_of("a"), 4u);
  EXPECT_THAT(PopAll(&queue), ElementsAre("a1", "b1", "c1", "a2", "b2", "a3", "a4"));
  EXPECT_EQ(queue.size_of("a"), 0u);
}

TEST(FairQueue, AReturningOwnerGoesToTheEnd) {
  FairQueue<std::string> queue;
  queue.Push("a", "a1");
  queue.Push("b", "b1");
  EXPECT_EQ(queue.Pop(), "a1");
  queue.Push("a", "a2");
  EXPECT_THAT(PopAll(&queue), ElementsAre("b1", "a2"));
}

TEST(FairQueue, TakesTheNewestFromTheLongestLine) {
  FairQueue<std::string> queue;
  queue.Push("a", "a1");
  for (const char* item : {"b1", "b2", "b3"}) queue.Push("b", item);
  EXPECT_EQ(queue.PopFromLongest(), "b3");
  EXPECT_THAT(PopAll(&queue), ElementsAre("a1", "b1", "b2"));
}

}  // namespace
}  // namespace vmeventd
