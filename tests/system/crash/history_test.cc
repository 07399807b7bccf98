#include "tests/system/crash/history.h"

#include <vector>

#include "gtest/gtest.h"

namespace vmeventd::crash {
namespace {

constexpr auto kUser = v1::SHUTDOWN_CLASS_USER;
constexpr auto kAdmin = v1::SHUTDOWN_CLASS_ADMIN;
constexpr auto kCrash = v1::SHUTDOWN_CLASS_CRASH;

TEST(TruthTest, FollowsFromAllDeeds) {
  const struct {
    std::vector<Deed> deeds;
    v1::ShutdownClass is;
  } kRuns[] = {
      {{Deed::kGuestShutdown}, kUser},
      {{Deed::kGuestReset}, kUser},
      {{Deed::kQuit}, kAdmin},
      {{Deed::kSignal}, kAdmin},
      {{Deed::kHostReset}, kAdmin},
      {{Deed::kPanicExit}, kCrash},
      {{Deed::kWatchdog}, kCrash},
      {{Deed::kDie}, kCrash},
      {{Deed::kPowerdown, Deed::kGuestShutdown}, kAdmin},
      {{Deed::kPowerdown, Deed::kReset, Deed::kGuestShutdown}, kUser},
      {{Deed::kGuestDown, Deed::kQuit}, kUser},
      {{Deed::kGuestDown, Deed::kRevive, Deed::kQuit}, kAdmin},
      {{Deed::kPanic, Deed::kQuit}, kCrash},
      {{Deed::kSignal, Deed::kDie}, kAdmin},  // it hung at its end
  };
  for (const auto& [deeds, is] : kRuns) {
    RunHistory run;
    for (const Deed deed : deeds) run.acts.push_back({deed});
    EXPECT_EQ(TrueClass(run), is) << DeedName(deeds.front()) << " ... " << DeedName(deeds.back());
  }
}

}  // namespace
}  // namespace vmeventd::crash
