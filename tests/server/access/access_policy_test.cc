#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "server/access/access.h"

namespace vmeventd {
namespace {

TEST(KindOfOperator, FollowsFromTheForm) {
  EXPECT_EQ(KindOfOperator("mover.example"), NameKind::kDns);
  EXPECT_EQ(KindOfOperator("localhost"), NameKind::kDns);
  EXPECT_EQ(KindOfOperator("spiffe://site/mover"), NameKind::kUri);
  EXPECT_EQ(KindOfOperator("urn:uuid:1"), NameKind::kUri);
  EXPECT_EQ(KindOfOperator("https://a@b/c"), NameKind::kUri);
  EXPECT_EQ(KindOfOperator("ops@example.org"), NameKind::kEmail);
  EXPECT_EQ(KindOfOperator("192.0.2.7"), NameKind::kIp);
  EXPECT_EQ(KindOfOperator("fe80::1"), NameKind::kIp);
}

TEST(IsOperatorName, TakesNoNameOfAnotherKind) {
  for (const char* name :
       {"mover.example", "spiffe://site/mover", "ops@example.org", "192.0.2.7"}) {
    for (const NameKind kind : {NameKind::kDns, NameKind::kUri, NameKind::kEmail, NameKind::kIp}) {
      EXPECT_EQ(IsOperatorName(name, kind, name), kind == KindOfOperator(name)) << name;
    }
  }
}

TEST(IsOperatorName, ComparesAsItsKindDemands) {
  EXPECT_TRUE(IsOperatorName("Mover.example", NameKind::kDns, "mover.EXAMPLE"));
  EXPECT_FALSE(IsOperatorName("mover.example", NameKind::kDns, "mover.example.org"));
  EXPECT_FALSE(IsOperatorName("spiffe://site/Mover", NameKind::kUri, "spiffe://site/mover"));
  EXPECT_TRUE(IsOperatorName("ops@example.org", NameKind::kEmail, "ops@EXAMPLE.org"));
  EXPECT_FALSE(IsOperatorName("ops@example.org", NameKind::kEmail, "OPS@example.org"));
  EXPECT_FALSE(IsOperatorName("ops@example.org", NameKind::kEmail, "example.org"));
  EXPECT_TRUE(IsOperatorName("2001:db8::1", NameKind::kIp, "2001:DB8:0:0:0:0:0:1"));
  EXPECT_FALSE(IsOperatorName("192.0.2.7", NameKind::kIp, "192.0.2.8"));
}

constexpr absl::Duration kMoment = absl::Hours(1);

TEST(RateLimiter, PassesABurstAndThenTheRate) {
  RateLimiter limiter(10, 3, 100);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(limiter.Take("a", kMoment), absl::ZeroDuration());
  EXPECT_EQ(limiter.Take("a", kMoment), absl::Milliseconds(100));
  EXPECT_EQ(limiter.Take("b", kMoment), absl::ZeroDuration()) << "each key has its own bucket";
  EXPECT_EQ(limiter.Take("a", kMoment + absl::Milliseconds(50)), absl::Milliseconds(50));
  EXPECT_EQ(limiter.Take("a", kMoment + absl::Milliseconds(100)), absl::ZeroDuration());
  EXPECT_GT(limiter.Take("a", kMoment + absl::Milliseconds(100)), absl::ZeroDuration());
}

TEST(RateLimiter, ManyKeysDoNotBypassIt) {
  RateLimiter limiter(1, 5, 10);
  for (int i = 0; i < 10; ++i) limiter.Take(absl::StrCat("key", i), kMoment);
  int through = 0;
  for (int i = 0; i < 100; ++i) {
    through += limiter.Take(absl::StrCat("other", i), kMoment) == absl::ZeroDuration() ? 1 : 0;
  }
  EXPECT_EQ(through, 5) << "they share one bucket";
  EXPECT_EQ(limiter.Take("new", kMoment + absl::Seconds(10)), absl::ZeroDuration())
      << "idle keys have made room";
}

}  // namespace
}  // namespace vmeventd
