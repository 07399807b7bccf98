#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <map>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/account_names.h"
#include "base/detached_threads.h"
#include "base/duration_text.h"
#include "base/glob.h"
#include "base/label_selector.h"
#include "base/labels.h"
#include "base/latency_histogram.h"
#include "base/mutex.h"
#include "base/rare.h"
#include "base/standstill.h"
#include "base/star_pattern.h"
#include "base/token_bucket.h"
#include "base/turn_queue.h"
#include "base/utf8.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;
using testing::HasSubstr;

TEST(ParseDuration, AddsItsTerms) {
  EXPECT_EQ(ParseDuration("10m"), absl::Minutes(10));
  EXPECT_EQ(ParseDuration("1h30m"), absl::Minutes(90));
  EXPECT_EQ(ParseDuration("1d12h"), absl::Hours(36));
  EXPECT_EQ(ParseDuration("2w"), absl::Hours(24 * 14));
  EXPECT_EQ(ParseDuration("0.5s"), absl::Milliseconds(500));
  EXPECT_EQ(ParseDuration(".5s"), absl::Milliseconds(500));
  EXPECT_EQ(ParseDuration("1s500ms"), absl::Milliseconds(1500));
  EXPECT_EQ(ParseDuration("3us"), absl::Microseconds(3));
  EXPECT_EQ(ParseDuration("7ns"), absl::Nanoseconds(7));
  EXPECT_EQ(ParseDuration("+3s"), absl::Seconds(3));
  EXPECT_EQ(ParseDuration("0s"), absl::ZeroDuration());
}

TEST(ParseDuration, RefusesOtherText) {
  for (const char* text : {"", "+", "10", "s", "-3s", "1h-3m", "inf", "1 h", "1..5s", "1e3s", "1x",
                           "nan", "1h30", " 1h"}) {
    EXPECT_EQ(ParseDuration(text), std::nullopt) << text;
  }
}

TEST(PrintDuration, PrintsWhatParseDurationReads) {
  EXPECT_EQ(PrintDuration(absl::Hours(24 * 30)), "30d");
  EXPECT_EQ(PrintDuration(absl::Minutes(90)), "1h30m");
  EXPECT_EQ(PrintDuration(absl::Milliseconds(500)), "500ms");
  for (const absl::Duration duration : {absl::Minutes(10), absl::Hours(25), absl::Nanoseconds(1500),
                                        absl::Hours(48) + absl::Seconds(1)}) {
    EXPECT_EQ(ParseDuration(PrintDuration(duration)), duration);
  }
}

TEST(AccountNames, AnUnknownNumberIsShownAsItself) {
  EXPECT_EQ(UserName(0), "root");
  EXPECT_EQ(GroupName(0), "root");
  EXPECT_EQ(UserName(4'200'000'000), "4200000000");
  EXPECT_EQ(GroupName(4'200'000'000), "4200000000");
}

TEST(TurnQueueTest, OwnersTakeTurnsAndEachKeepsItsOrder) {
  TurnQueue queue;
  std::vector<std::string> done;
  const auto add = [&](const std::string& turn) {
    EXPECT_TRUE(queue.Add(turn.substr(0, 1), [&done, turn] { done.push_back(turn); }));
  };
  for (const char* turn : {"a1", "a2", "a3", "b1", "b2", "c1"}) add(turn);
  EXPECT_EQ(queue.size(), 6u);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(queue.RunTurn());
  add("c2");  // a returning owner goes to the end
  queue.Stop();
  EXPECT_FALSE(queue.Add("a", [] {}));
  queue.Run();
  EXPECT_THAT(done, ElementsAre("a1", "b1", "c1", "a2", "b2", "a3", "c2"));
  EXPECT_FALSE(queue.RunTurn());
}

bool Matches(absl::string_view text) {
  const std::map<std::string, std::string> labels = {
      {"app", "web"}, {"team/mail", "x,y"}, {"empty", ""}, {"path", "a\\b"}};
  const absl::StatusOr<LabelSelector> selector = LabelSelector::Parse(text);
  EXPECT_TRUE(selector.ok()) << text << ": " << selector.status();
  return selector.ok() && selector->Matches(labels);
}

TEST(LabelSelectorTest, EveryConditionMustHold) {
  for (const char* text : {"app=web", "app==web", "app", "app!=db", "!canary", "canary!=yes",
                           "app=web,!canary", " app = web , team/mail ", "team/mail=x\\,y",
                           "empty=", "empty", "path=a\\b", "path=a\\\\b", "app!="}) {
    EXPECT_TRUE(Matches(text)) << text;
  }
  for (const char* text : {"app=db", "app!=web", "!app", "canary", "canary=", "app=web,app=db",
                           "app=web,canary", "app=", "app=Web", "team/mail=x"}) {
    EXPECT_FALSE(Matches(text)) << text;
  }
}

TEST(LabelSelectorTest, AnErrorNamesTheCorrectForm) {
  for (const std::string& text :
       {std::string(), std::string(","), std::string("app=web,"), std::string("=web"),
        std::string("!"), std::string("!app=web"), std::string("a b=c"), std::string("app in (a)"),
        std::string(kMaxLabelKeyBytes + 1, 'a')}) {
    const absl::Status status = LabelSelector::Parse(text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("write conditions as app=web")) << text;
  }
  std::string most = "a";
  for (size_t i = 1; i < LabelSelector::kMaxConditions; ++i) most += ",a";
  EXPECT_TRUE(LabelSelector::Parse(most).ok());
  EXPECT_THAT(std::string(LabelSelector::Parse(most + ",a").status().message()),
              HasSubstr("more than 16 conditions"));
}

TEST(DecodeUtf8, ReturnsTheFirstCharacter) {
  EXPECT_EQ(DecodeUtf8("a").code_point, U'a');
  EXPECT_EQ(DecodeUtf8("\u00f6e").code_point, U'\u00f6');
  EXPECT_EQ(DecodeUtf8("\u00f6e").length, 2U);
  EXPECT_EQ(DecodeUtf8("\u6f22").length, 3U);
  EXPECT_EQ(DecodeUtf8("\U0001f427").code_point, U'\U0001f427');
}

TEST(DecodeUtf8, RefusesInvalidBytes) {
  for (const char* text :
       {"\x80", "\xc3", "\xc0\x9b", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff"}) {
    EXPECT_EQ(DecodeUtf8(text).length, 0U) << text;
  }
}

TEST(IsValidUtf8, DistinguishesValidFromInvalid) {
  EXPECT_TRUE(IsValidUtf8(""));
  EXPECT_TRUE(IsValidUtf8("größe"));
  EXPECT_FALSE(
      IsValidUtf8("gr\xf6\xdf"
                  "e"));
}

TEST(IsHiddenCharacter, CoversControlsAndInvisibleCharacters) {
  for (const char32_t hidden :
       {U'\n', U'\x7f', U'\u0085', U'\u00ad', U'\u200b', U'\u202e', U'\ufeff'}) {
    EXPECT_TRUE(IsHiddenCharacter(hidden)) << static_cast<uint32_t>(hidden);
  }
  EXPECT_FALSE(IsHiddenCharacter(U' '));
  EXPECT_FALSE(IsHiddenCharacter(U'\u00f6'));
}

TEST(WaitUntil, ReturnsAtOnceIfTheConditionHolds) {
  Mutex mutex;
  CondVar changed;
  const MutexLock lock(&mutex);
  EXPECT_TRUE(WaitUntil(&changed, &mutex, absl::ZeroDuration(), [] { return true; }));
}

TEST(WaitUntil, GivesUpAtItsTimeout) {
  Mutex mutex;
  CondVar changed;
  const MutexLock lock(&mutex);
  EXPECT_FALSE(WaitUntil(&changed, &mutex, absl::Milliseconds(1), [] { return false; }));
  EXPECT_FALSE(WaitUntil(&changed, &mutex, -absl::Seconds(1), [] { return false; }));
}

TEST(WaitUntil, SeesChangesOfAnotherThread) {
  Mutex mutex;
  CondVar changed;
  int value = 0;
  std::thread other([&] {
    for (int i = 1; i <= 2; ++i) {
      const MutexLock lock(&mutex);
      value = i;
      changed.NotifyAll();
    }
  });
  {
    const MutexLock lock(&mutex);
    EXPECT_TRUE(WaitUntil(&changed, &mutex, absl::InfiniteDuration(), [&] { return value == 2; }));
  }
  other.join();
}

TEST(LatencyHistogram, CountsEachLatencyInTheBucketOfTheNextBound) {
  LatencyHistogram histogram;
  histogram.Observe(absl::ZeroDuration());
  histogram.Observe(absl::Microseconds(100));
  histogram.Observe(absl::Microseconds(101));
  histogram.Observe(absl::Seconds(60));
  histogram.Observe(absl::Hours(1));
  const LatencyHistogram::Snapshot snapshot = histogram.Read();
  EXPECT_EQ(snapshot.counts.front(), 2u);
  EXPECT_EQ(snapshot.counts[1], 1u);
  EXPECT_EQ(snapshot.counts[LatencyHistogram::kBounds.size() - 1], 1u);
  EXPECT_EQ(snapshot.counts.back(), 1u);
  EXPECT_EQ(std::accumulate(snapshot.counts.begin(), snapshot.counts.end(), uint64_t{0}), 5u);
  EXPECT_EQ(snapshot.sum, absl::Hours(1) + absl::Seconds(60) + absl::Microseconds(201));
}

TEST(LatencyHistogram, AClockSetBackCountsAsZero) {
  LatencyHistogram histogram;
  histogram.Observe(-absl::Hours(1));
  EXPECT_EQ(histogram.Read().counts.front(), 1u);
  EXPECT_EQ(histogram.Read().sum, absl::ZeroDuration());
}

int TakenOf(TokenBucket* bucket, int wanted, absl::Duration now) {
  int taken = 0;
  for (int i = 0; i < wanted; ++i) taken += bucket->Take(now) ? 1 : 0;
  return taken;
}

TEST(TokenBucketTest, BeginsFullAndRefillsWithTime) {
  TokenBucket bucket(20, 5);
  EXPECT_TRUE(bucket.IsFull(absl::ZeroDuration()));
  EXPECT_EQ(TakenOf(&bucket, 100, absl::Seconds(1)), 20);
  EXPECT_FALSE(bucket.Has(absl::Seconds(1)));
  EXPECT_EQ(TakenOf(&bucket, 100, absl::Seconds(2)), 5);
  EXPECT_EQ(TakenOf(&bucket, 100, absl::Hours(1)), 20) << "never more than the burst";
}

TEST(TokenBucketTest, ADebtIsPaidOffFirst) {
  TokenBucket bucket(20, 5);
  TakenOf(&bucket, 20, absl::Seconds(1));
  for (int i = 0; i < 3; ++i) bucket.Spend(absl::Seconds(1));
  EXPECT_EQ(bucket.Available(absl::Seconds(1)), -3);
  EXPECT_EQ(TakenOf(&bucket, 100, absl::Seconds(2)), 2);
}

TEST(TokenBucketTest, ADebtIsBoundedByTheBurst) {
  TokenBucket bucket(20, 5);
  for (int i = 0; i < 1000; ++i) bucket.Spend(absl::Seconds(1));
  EXPECT_EQ(bucket.Available(absl::Seconds(1)), -20);
}

TEST(TokenBucketTest, AChargeMayLeaveADebtBeyondTheBurst) {
  TokenBucket bucket(TokenRate{.per_second = 5, .burst = 20});
  EXPECT_EQ(bucket.Charge(20, absl::Seconds(1)), absl::ZeroDuration());
  EXPECT_EQ(bucket.Charge(100, absl::Seconds(1)), absl::Seconds(20));
  EXPECT_EQ(bucket.Charge(0, absl::Seconds(11)), absl::Seconds(10));
  EXPECT_EQ(bucket.TakeOrWait(absl::Seconds(21)), absl::Milliseconds(200)) << "paid, none left";
  EXPECT_EQ(bucket.TakeOrWait(absl::Milliseconds(21'200)), absl::ZeroDuration());
}

TEST(TokenBucketTest, AClockSetBackAddsNoTokens) {
  TokenBucket bucket(20, 5);
  TakenOf(&bucket, 20, absl::Seconds(10));
  EXPECT_EQ(TakenOf(&bucket, 100, absl::Seconds(5)), 0);
  EXPECT_EQ(TakenOf(&bucket, 100, absl::Seconds(11)), 5);
}

struct GlobCase {
  const char* pattern;
  const char* text;
  bool matches;
};

class GlobTest : public ::testing::TestWithParam<GlobCase> {};

TEST_P(GlobTest, Matches) {
  EXPECT_EQ(Glob(GetParam().pattern).Matches(GetParam().text), GetParam().matches)
      << GetParam().pattern << " against " << GetParam().text;
}

INSTANTIATE_TEST_SUITE_P(
    Table, GlobTest,
    ::testing::Values(GlobCase{"web1", "web1", true}, GlobCase{"web1", "web10", false},
                      GlobCase{"web*", "web", true}, GlobCase{"web*", "web10", true},
                      GlobCase{"*", "", true}, GlobCase{"", "", true}, GlobCase{"", "a", false},
                      GlobCase{"?", "", false}, GlobCase{"w?b*", "web1.example", true},
                      GlobCase{"*.example.org", "a.b.example.org", true},
                      GlobCase{"*a*b*c", "xxaxxbxxc", true}, GlobCase{"*a*b*c", "xxcxxbxxa", false},
                      GlobCase{"db[1-3]", "db2", true}, GlobCase{"db[1-3]", "db4", false},
                      GlobCase{"db[!1-3]", "db4", true}, GlobCase{"db[]]", "db]", true},
                      GlobCase{"db[", "db[", true}, GlobCase{"a[-z]", "a-", true},
                      GlobCase{"[a-", "[a-", true}, GlobCase{"[[[", "[[[", true},
                      GlobCase{"[]", "[]", true}, GlobCase{"[!]a]b", "xb", true},
                      GlobCase{"[!]a]b", "]b", false}, GlobCase{"[^a]", "b", true},
                      GlobCase{"[z-a]", "m", false}, GlobCase{"**a**", "bab", true},
                      GlobCase{"ab*ba", "aba", false}, GlobCase{"ab*ba", "abba", true},
                      GlobCase{"*ab", "aab", true}, GlobCase{"*a?b*", "aaxb", true},
                      GlobCase{"[\xc3-\xc5]", "\xc4", true}, GlobCase{"[a-\xff]", "\xc4", true},
                      GlobCase{"?", "\xc3\xa4", false}, GlobCase{"??", "\xc3\xa4", true}));

TEST(GlobTest, MatchingTakesAtMostPatternTimesTextSteps) {
  const std::string text(255, 'a');
  std::string stars;
  for (int i = 0; i < 200; ++i) stars += "a*";
  const std::string half(128, 'a');
  const std::string sets = "[ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab]";
  std::vector<std::string> patterns = {stars + "b", "*" + half + "b*", "*" + half + "b",
                                       "*" + half + "*" + half + "b",
                                       "*" + sets + sets + sets + "b*"};
  for (const char* c : {"?", "[", "*[", "a*["}) {
    std::string repeated;
    for (int i = 0; i < 500; ++i) repeated += c;
    patterns.push_back(repeated);
  }
  patterns.emplace_back(1024, '*').push_back('b');
  for (const std::string& pattern : patterns) {
    size_t steps = 0;
    EXPECT_FALSE(Glob(pattern).Matches(text, &steps)) << pattern;
    EXPECT_LE(steps, (pattern.size() + 1) * (text.size() + 1)) << pattern;
  }
}

TEST(RareTest, ACopyDoesNotShareItsValue) {
  const std::string long_text = "3f2a9c1e-5b6d-4e0f-9a1b-0123456789ab";
  Rare<std::string> text = long_text;
  Rare<std::string> copy = text;
  text.reset();
  EXPECT_FALSE(text.has_value());
  ASSERT_TRUE(copy.has_value());
  EXPECT_EQ(*copy, long_text);
  copy = text;
  EXPECT_FALSE(copy.has_value());
}

TEST(DetachedThreadsTest, JobsBeyondTheLimitWaitForAThread) {
  constexpr int kJobs = 20;
  std::atomic<int> done = 0;
  Mutex held;
  held.Lock();
  DetachedThreads two(2, [] {});
  for (int job = 0; job < kJobs; ++job) {
    two.Run([&] {
      const MutexLock lock(&held);
      ++done;
    });
  }
  EXPECT_FALSE(two.WaitForJobs(absl::ZeroDuration()));
  EXPECT_GE(two.waiting(), kJobs - 2);
  held.Unlock();
  EXPECT_TRUE(two.WaitForJobs(absl::InfiniteDuration()));
  EXPECT_EQ(done, kJobs);
}

TEST(StandstillTest, NamesTheFrozenCgroupEvenIfItIsAnAncestor) {
  const TemporaryDirectory root;
  const auto write = [&root](const std::string& directory, const char* file, const char* text) {
    std::ofstream(root.MakeDirectory(directory) + "/" + file) << text;
  };
  const auto frozen = [&root](const char* cgroups) { return FrozenCgroup(cgroups, root.path()); };
  write("freezer/docker/0a", "freezer.state", "FROZEN\n");
  write("freezer/docker/0a", "freezer.self_freezing", "0\n");
  write("freezer/docker", "freezer.self_freezing", "1\n");
  write("freezer/docker/0b", "freezer.state", "THAWED\n");
  write("unified/vm.slice/a.service", "cgroup.events", "populated 1\nfrozen 1\n");
  write("unified/vm.slice/a.service", "cgroup.freeze", "1\n");
  write("unified/vm.slice/b.service", "cgroup.events", "populated 1\nfrozen 0\n");
  EXPECT_EQ(frozen("12:memory:/m\n9:freezer:/docker/0a\n0::/\n"), root / "freezer/docker");
  EXPECT_EQ(frozen("9:freezer:/docker/0b\n"), "");
  EXPECT_EQ(frozen("0::/vm.slice/a.service\n"), root / "unified/vm.slice/a.service");
  EXPECT_EQ(frozen("0::/vm.slice/b.service\n"), "");
  EXPECT_EQ(frozen("0::/../vm.slice/a.service\n"), "") << "of another cgroup namespace";
  EXPECT_EQ(frozen(""), "");
  EXPECT_EQ(FrozenCgroup(getpid()), "");
  EXPECT_FALSE(DumpsCore(getpid()));
  EXPECT_FALSE(DumpsCore(0));
}

TEST(PatternsTest, TheStarMatchesOneOrMoreCharacters) {
  EXPECT_EQ(MatchStar("vm-*.qmp", "vm-web1.qmp"), "web1");
  EXPECT_EQ(MatchStar("vm-*.qmp", "vm-.qmp"), std::nullopt);
  EXPECT_EQ(MatchStar("qmp.sock", "qmp.sock"), "qmp.sock");
  EXPECT_TRUE(StarsOverlap("vm-*", "*.qmp"));
  EXPECT_FALSE(StarsOverlap("vm-*", "qemu-*"));
  EXPECT_TRUE(StarsOverlap("qmp_*.sock", "qmp_web1.sock"));
}

}  // namespace
}  // namespace vmeventd
