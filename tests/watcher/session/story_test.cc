#include "tests/watcher/session/story.h"

#include "gtest/gtest-spi.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

TEST(StoryTest, AStepThatDoesNotExistFailsAndPrintsTheManual) {
  EXPECT_NONFATAL_FAILURE(Story("STOP; dance"), "no such word: dance");
  EXPECT_NONFATAL_FAILURE(Story("STOP; dance"), "closed");
}

TEST(StoryTest, AnExpectationThatDoesNotExistFailsAndPrintsTheManual) {
  EXPECT_NONFATAL_FAILURE(
      Story("SHUTDOWN guest-shutdown; end 0").ExpectVerdict("USER GUEST_POWEROFF; dances"),
      "no such word: dances");
}

TEST(StoryTest, ACheckThatIsNotMetFails) {
  EXPECT_NONFATAL_FAILURE(Story("STOP; is RUNNING"), "PAUSED");
}

TEST(StoryTest, ACaveatThatTheVerdictLacksFails) {
  EXPECT_NONFATAL_FAILURE(
      Story("no-panic-device; SHUTDOWN guest-reset; end").ExpectVerdict("USER GUEST_REBOOT_EXIT"),
      "caveat");
}

}  // namespace
}  // namespace vmeventd
