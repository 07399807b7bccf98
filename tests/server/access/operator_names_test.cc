#include <gtest/gtest.h>

#include "server/access/certificate_names.h"

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

}  // namespace
}  // namespace vmeventd
