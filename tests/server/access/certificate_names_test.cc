#include "server/access/certificate_names.h"

#include <gtest/gtest.h>

namespace vmeventd {
namespace {

TEST(OperatorName, IsADnsNameOrAUriByItsForm) {
  EXPECT_EQ(OperatorName("Mover.example"), "DNS mover.example");
  EXPECT_EQ(OperatorName("spiffe://site/Mover"), "URI spiffe://site/Mover");
  EXPECT_EQ(OperatorName("urn:uuid:1"), "URI urn:uuid:1");
}

}  // namespace
}  // namespace vmeventd
