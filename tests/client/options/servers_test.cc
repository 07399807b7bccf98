#include <string>

#include "client/options/option_context.h"
#include "client/options/options.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/options/options_fixture.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

TEST(ParseCommandLine, TheServerIsTheOptionThenTheVariableThenTheDefault) {
  EXPECT_EQ(Parsed({"info"}).servers.first().path, "/run/vmeventd/vmeventd.sock");
  OptionContext context = TestContext({{"XDG_RUNTIME_DIR", "/tmp/rt"}});
  context.uid = 1000;
  EXPECT_EQ(Parsed({"info"}, context).servers.first().path, "/tmp/rt/vmeventd/vmeventd.sock");
  context.may_exist = [](const std::string& path) { return path == "/run/vmeventd/vmeventd.sock"; };
  EXPECT_EQ(Parsed({"info"}, context).servers.first().path, "/run/vmeventd/vmeventd.sock");
  context = TestContext({{"VMEVENTS_SERVER", "unix:/tmp/v.sock"}});
  EXPECT_EQ(Parsed({"info"}, context).servers.first().path, "/tmp/v.sock");
  EXPECT_EQ(Parsed({"info"}, context).origin, "$VMEVENTS_SERVER");
  EXPECT_EQ(Parsed({"--server", "unix:/tmp/o.sock", "info"}, context).origin, "");
  EXPECT_EQ(Parsed({"--server", "unix:/tmp/o.sock", "info"}, context).servers.first().path,
            "/tmp/o.sock");
}

TEST(ParseCommandLine, SeveralServersAreMerged) {
  const CommandLine line = Parsed({"--server", "node1,unix:/a", "watch", "--server", "unix:/s"});
  ASSERT_EQ(line.servers.addresses.size(), 3U);
  EXPECT_EQ(line.servers.addresses[0].host, "node1");
  EXPECT_EQ(line.servers.addresses[1].path, "/a");
  EXPECT_EQ(line.servers.addresses[2].path, "/s");
  EXPECT_EQ(line.servers.client, "vmevents --server node1,unix:/a --server unix:/s");
  EXPECT_TRUE(line.servers.by_option);
  EXPECT_FALSE(Parsed({"watch"}, TestContext({{"VMEVENTS_SERVER", "node1"}})).servers.by_option);
  EXPECT_EQ(
      Parsed({"--server", "node1", "--server", "node1:9555", "vm", "a"}).servers.addresses.size(),
      1U);
  EXPECT_EQ(Parsed({"--server", "a,b", "vm", "web1"}).servers.addresses.size(), 2U);
  EXPECT_EQ(Parsed({"--server", "a,b", "watch", "--from", "oldest"}).servers.addresses.size(), 2U);
  EXPECT_THAT(Complaint({"--server", "a,b", "watch", "--from", "17"}),
              HasSubstr("for several nodes give oldest"));
  EXPECT_EQ(Parsed({"--server", "a", "--server", "b", "info"}).servers.addresses.size(), 2U);
}

// A query of the web page cannot name servers.
TEST(ParseQuery, AComplaintAboutTheServersNamesNoParameter) {
  const Servers fleet = Parsed({"--server", "nats://a", "vms"}).servers;
  const auto query = ParseQuery("streams", {}, fleet, TestContext());
  EXPECT_THAT(std::string(query.status().message()), StartsWith("streams asks vmeventd itself"));
}

TEST(ParseCommandLine, AFleetIsNamedByItsServers) {
  const CommandLine line =
      Parsed({"--server", "nats://a,b:1", "watch", "--node", "rack7-*", "--node", "prod/n1"});
  EXPECT_TRUE(line.servers.addresses.empty());
  EXPECT_THAT(line.servers.fleet->servers, ElementsAre("nats://a:4222", "nats://b:1"));
  EXPECT_FALSE(line.servers.fleet->tls.has_value());
  EXPECT_THAT(line.servers.nodes, ElementsAre("rack7-*", "prod/n1"));
  EXPECT_THAT(
      Parsed({"--server", "nats://a", "--server", "nats://b", "vms"}).servers.fleet->servers,
      ElementsAre("nats://a:4222", "nats://b:4222"));
  const CommandLine tls = Parsed({"--server", "tls://a", "--tls-cert", "c", "--tls-key", "k",
                                  "--credentials", "ops.creds", "fleet"});
  EXPECT_EQ(tls.servers.fleet->tls->cert_file, "c");
  EXPECT_EQ(tls.servers.fleet->credentials, "ops.creds");
  EXPECT_TRUE(std::holds_alternative<FleetCommand>(tls.command));
}

TEST(ParseCommandLine, APasswordInAServersNameIsNotRepeated) {
  EXPECT_THAT(Complaint({"--server", "nats://me:secret@a", "vms"}),
              AllOf(HasSubstr("credentials"), testing::Not(HasSubstr("secret"))));
}

TEST(ParseCommandLine, TlsOptionsNameTheFilesAndTheServer) {
  const CommandLine line =
      Parsed({"--server", "node1:80", "info", "--tls-ca", "ca", "--tls-cert", "cert", "--tls-key",
              "key", "--tls-server-name", "node1.example"});
  ASSERT_TRUE(line.servers.first().tls.has_value());
  EXPECT_EQ(line.servers.first().tls->ca_file, "ca");
  EXPECT_EQ(line.servers.first().tls->cert_file, "cert");
  EXPECT_EQ(line.servers.first().tls->key_file, "key");
  EXPECT_EQ(line.servers.first().tls->server_name, "node1.example");
  EXPECT_FALSE(Parsed({"--server", "node1:80", "info"}).servers.first().tls.has_value());
}

TEST(ParseCommandLine, TlsVariablesApplyIfNoTlsOptionIsGiven) {
  const OptionContext context = TestContext(
      {{"VMEVENTS_TLS_CA", "ca"}, {"VMEVENTS_TLS_CERT", "cert"}, {"VMEVENTS_TLS_KEY", "key"}});
  EXPECT_EQ(Parsed({"info", "--server", "node1:80"}, context).servers.first().tls->key_file, "key");
  const CommandLine given = Parsed({"info", "--server", "node1:80", "--tls-ca", "other"}, context);
  EXPECT_EQ(given.servers.first().tls->ca_file, "other");
  EXPECT_EQ(given.servers.first().tls->cert_file, "") << "all or none";
  EXPECT_FALSE(Parsed({"info"}, context).servers.first().tls.has_value());
  const OptionContext incomplete = TestContext({{"VMEVENTS_TLS_CERT", "cert"}});
  EXPECT_THAT(Answer({"info", "--server", "node1:80"}, incomplete).err,
              HasSubstr("give --tls-ca FILE, $VMEVENTS_TLS_CA"));
}

TEST(ParseCommandLine, ReportsWhereAMalformedServerComesFrom) {
  const OptionContext context = TestContext({{"VMEVENTS_SERVER", "non/sense"}});
  EXPECT_THAT(Answer({"info"}, context).err, StartsWith("$VMEVENTS_SERVER: "));
  EXPECT_THAT(Complaint({"--server", "non/sense", "info"}), StartsWith("--server: "));
  EXPECT_THAT(Complaint({"--server", "", "info"}), HasSubstr("is empty"));
}

}  // namespace
}  // namespace vmeventd::client
