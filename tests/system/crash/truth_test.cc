#include "tests/system/crash/truth.h"

#include <initializer_list>
#include <vector>

#include "gmock/gmock.h"

namespace vmeventd::crash {
namespace {

using testing::ElementsAre;

constexpr auto kUser = v1::SHUTDOWN_CLASS_USER;
constexpr auto kAdmin = v1::SHUTDOWN_CLASS_ADMIN;
constexpr auto kCrash = v1::SHUTDOWN_CLASS_CRASH;
constexpr auto kUnknown = v1::SHUTDOWN_CLASS_UNKNOWN;

// The life that observes STOPPED in these tests; kLife - 1 precedes it.
constexpr int kLife = 5;
constexpr int kEarlier = 4;

std::set<v1::ShutdownClass> Allowed(std::vector<Act> acts,
                                    std::initializer_list<v1::EventType> published = {}) {
  RunHistory run;
  run.acts = std::move(acts);
  std::vector<v1::Event> events(published.size());
  std::vector<const v1::Event*> pointers;
  size_t i = 0;
  for (const v1::EventType type : published) {
    events[i].set_type(type);
    pointers.push_back(&events[i++]);
  }
  return AllowedClasses(run, kLife, pointers);
}

TEST(TruthTest, WitnessedDeedsHaveOneTruth) {
  EXPECT_THAT(Allowed({{Deed::kGuestShutdown, kLife}}), ElementsAre(kUser));
  EXPECT_THAT(Allowed({{Deed::kGuestReset, kLife}}), ElementsAre(kUser));
  EXPECT_THAT(Allowed({{Deed::kQuit, kLife}}), ElementsAre(kAdmin));
  EXPECT_THAT(Allowed({{Deed::kSignal, kLife}}), ElementsAre(kAdmin));
  EXPECT_THAT(Allowed({{Deed::kHostReset, kLife}}), ElementsAre(kAdmin));
  EXPECT_THAT(Allowed({{Deed::kPanicExit, kLife}}), ElementsAre(kCrash));
  EXPECT_THAT(Allowed({{Deed::kWatchdog, kLife}}), ElementsAre(kCrash));
  EXPECT_THAT(Allowed({{Deed::kDie, kLife}}), ElementsAre(kCrash));
}

TEST(TruthTest, AnEndThatMayHaveBeenMissedIsTheTruthOrUnknown) {
  for (const int witness : {-1, kEarlier}) {
    EXPECT_THAT(Allowed({{Deed::kGuestShutdown, witness}}), ElementsAre(kUser, kUnknown));
    EXPECT_THAT(Allowed({{Deed::kDie, witness}}), ElementsAre(kCrash, kUnknown));
  }
}

TEST(TruthTest, PublishedPowerdownIsKnown) {
  EXPECT_THAT(Allowed({{Deed::kPowerdown, kEarlier}, {Deed::kGuestShutdown, kLife}},
                      {v1::EVENT_TYPE_POWERDOWN_REQUESTED}),
              ElementsAre(kAdmin));
  EXPECT_THAT(Allowed({{Deed::kPowerdown, kEarlier}, {Deed::kGuestShutdown, kEarlier}},
                      {v1::EVENT_TYPE_POWERDOWN_REQUESTED}),
              ElementsAre(kAdmin, kUnknown));
}

TEST(TruthTest, UnpublishedPowerdownMayHaveBeenMissed) {
  EXPECT_THAT(Allowed({{Deed::kPowerdown, kEarlier}, {Deed::kGuestShutdown, kLife}}),
              ElementsAre(kUser, kAdmin));
  EXPECT_THAT(Allowed({{Deed::kPowerdown, kLife}, {Deed::kGuestShutdown, kLife}}),
              ElementsAre(kAdmin));
}

TEST(TruthTest, ResetClearsAPowerdown) {
  EXPECT_THAT(
      Allowed({{Deed::kPowerdown, kLife}, {Deed::kReset, kLife}, {Deed::kGuestShutdown, kLife}}),
      ElementsAre(kUser));
  EXPECT_THAT(
      Allowed({{Deed::kPowerdown, kLife}, {Deed::kReset, -1}, {Deed::kGuestShutdown, kLife}}),
      ElementsAre(kUser, kAdmin));
}

TEST(TruthTest, GuestThatWasFoundDownIsUnknown) {
  EXPECT_THAT(Allowed({{Deed::kGuestDown, kLife}, {Deed::kQuit, kLife}}), ElementsAre(kUser));
  EXPECT_THAT(Allowed({{Deed::kGuestDown, -1}, {Deed::kQuit, kLife}}),
              ElementsAre(kUser, kUnknown));
  EXPECT_THAT(Allowed({{Deed::kGuestDown, kEarlier}, {Deed::kDie, -1}}),
              ElementsAre(kUser, kCrash, kUnknown));
}

TEST(TruthTest, GuestThatWasRevivedIsJudgedByItsNextEnd) {
  EXPECT_THAT(Allowed({{Deed::kGuestDown, kLife}, {Deed::kRevive, kLife}, {Deed::kQuit, kLife}}),
              ElementsAre(kAdmin));
  EXPECT_THAT(Allowed({{Deed::kGuestDown, kEarlier}, {Deed::kRevive, -1}, {Deed::kQuit, kLife}}),
              ElementsAre(kAdmin));
}

TEST(TruthTest, PanicStays) {
  EXPECT_THAT(Allowed({{Deed::kPanic, -1}, {Deed::kQuit, kLife}}), ElementsAre(kCrash));
  EXPECT_THAT(
      Allowed({{Deed::kPanic, kEarlier}, {Deed::kQuit, -1}}, {v1::EVENT_TYPE_GUEST_PANICKED}),
      ElementsAre(kCrash));
  EXPECT_THAT(Allowed({{Deed::kPanic, kEarlier}, {Deed::kQuit, -1}}),
              ElementsAre(kAdmin, kCrash, kUnknown));
}

TEST(TruthTest, HungEndIsJudgedByItsEvidence) {
  EXPECT_THAT(Allowed({{Deed::kSignal, kLife}, {Deed::kDie, kLife}}), ElementsAre(kAdmin));
  EXPECT_THAT(Allowed({{Deed::kSignal, -1}, {Deed::kDie, kLife}}), ElementsAre(kAdmin, kCrash));
}

TEST(TruthTest, TrueClassKnowsEverything) {
  RunHistory run;
  run.acts = {{Deed::kPowerdown}, {Deed::kGuestShutdown}};
  EXPECT_EQ(TrueClass(run), kAdmin);
  run.acts = {{Deed::kPowerdown}, {Deed::kReset}, {Deed::kGuestShutdown}};
  EXPECT_EQ(TrueClass(run), kUser);
}

}  // namespace
}  // namespace vmeventd::crash
