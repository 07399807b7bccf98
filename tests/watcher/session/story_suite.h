#pragma once

#include <string>

#include "gtest/gtest.h"
#include "tests/watcher/session/story.h"

namespace vmeventd {

// One story and its verdict, and the name of the test.
struct StoryCase {
  const char* name;
  const char* steps;
  const char* verdict;
};

// Defines a suite whose parameters are stories: each is judged as its verdict says, and so it is
// with handovers between its steps; with restarts of the daemon it may be UNKNOWN.
#define STORY_SUITE(suite)                                                               \
  class suite : public testing::TestWithParam<StoryCase> {};                             \
  TEST_P(suite, IsJudged) { Story(GetParam().steps).ExpectVerdict(GetParam().verdict); } \
  TEST_P(suite, IsJudgedTheSameAfterHandovers) {                                         \
    Story(GetParam().steps, Story::Before::kHandover).ExpectVerdict(GetParam().verdict); \
  }                                                                                      \
  TEST_P(suite, IsJudgedTheSameOrUnknownAfterRestarts) {                                 \
    Story(GetParam().steps, Story::Before::kRestart).ExpectVerdict(GetParam().verdict);  \
  }                                                                                      \
  static_assert(true)  // takes the semicolon

#define STORIES(suite, topic, cases)                               \
  INSTANTIATE_TEST_SUITE_P(topic, suite, testing::ValuesIn(cases), \
                           [](const auto& test) { return std::string(test.param.name); })

}  // namespace vmeventd
