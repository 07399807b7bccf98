#include "client/sources/servers.h"

#include "gtest/gtest.h"

namespace vmeventd::client {
namespace {

TEST(InvocationOf, ASuggestedCommandAsksTheSameServers) {
  Servers servers = {.addresses = {{.path = "/run/v.sock"}}, .client = "vmevents --context prod"};
  Invocation invocation = InvocationOf(servers);
  EXPECT_EQ(invocation.Quoted("vms --all"), "`vmevents --context prod vms --all`");
  EXPECT_EQ(invocation.QuotedDoctor(), "`vmevents --context prod doctor`");
  EXPECT_EQ(invocation.where, " to vmeventd at unix:/run/v.sock");
  servers.addresses.push_back({.host = "127.0.0.1", .port = "9555"});
  invocation = InvocationOf(servers);
  EXPECT_EQ(invocation.QuotedDoctor(), "`vmevents doctor` on the node") << "which of them, says it";
  EXPECT_EQ(invocation.where, " on the 2 servers");
  servers.addresses.erase(servers.addresses.begin());
  EXPECT_EQ(InvocationOf(servers).QuotedDoctor(), "`vmevents --context prod doctor`");
  servers.addresses[0].host = "node1";
  EXPECT_EQ(InvocationOf(servers).QuotedDoctor(), "`vmevents doctor` on the node");
  EXPECT_EQ(InvocationOf({}).where, "");
  EXPECT_EQ(InvocationOf({.fleet = NatsOptions()}).where, " in the fleet");
}

}  // namespace
}  // namespace vmeventd::client
