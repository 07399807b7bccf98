#include <string>
#include <utility>

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

constexpr char kConfig[] =
    "current = \"lab\"\n"
    "[contexts.lab]\nservers = \"unix:/run/lab.sock\"\n"
    "[contexts.prod]\nservers = [\"node1\", \"node2:80\", \"node1:9555\"]\n"
    "tls-ca = \"ca.pem\"\n";

TEST(ParseCommandLine, AContextHasServersAndTlsFiles) {
  OptionContext context = Configured(kConfig);
  EXPECT_EQ(Parsed({"info"}, context).servers.first().path, "/run/lab.sock");
  const CommandLine prod = Parsed({"--context", "prod", "vms"}, context);
  ASSERT_EQ(prod.servers.addresses.size(), 2U);
  EXPECT_EQ(prod.servers.addresses[1].port, "80");
  EXPECT_EQ(prod.servers.addresses[0].tls->ca_file, "/c/ca.pem");
  EXPECT_EQ(
      Parsed({"--context", "prod", "--tls-ca", "o", "vms"}, context).servers.first().tls->ca_file,
      "o");
  EXPECT_EQ(Parsed({"--server", "node9", "vms"}, context).servers.first().host, "node9");
  const CommandLine one = Parsed({"--context", "prod", "--server", "node1", "info"}, context);
  EXPECT_EQ(one.servers.first().host, "node1");
  EXPECT_EQ(one.servers.first().tls->ca_file, "/c/ca.pem");
  context = Configured(kConfig, {{"VMEVENTS_SERVER", "node8"}});
  EXPECT_EQ(Parsed({"vms"}, context).servers.first().host, "node8");
  EXPECT_EQ(Parsed({"--context", "lab", "vms"}, context).servers.first().path, "/run/lab.sock");
}

TEST(ParseCommandLine, ContextComplaintsNameTheFix) {
  const OptionContext context = Configured(kConfig);
  EXPECT_THAT(Answer({"--context", "x", "vms"}, context).err,
              HasSubstr("no context \"x\"; /c/config.toml has lab prod"));
  EXPECT_THAT(Answer({"--context", "prod", "watch", "--from", "7"}, context).err,
              HasSubstr("for several nodes give oldest"));
  EXPECT_THAT(Answer({"--context", "x", "vms"}).err, HasSubstr("no configuration file"));
}

TEST(ParseCommandLine, AContextMayBeAFleet) {
  const OptionContext context = Configured(
      "[contexts.fleet]\nservers = [\"tls://a\", \"tls://b\"]\ncredentials = \"x.creds\"\n"
      "tls-ca = \"ca.pem\"\n",
      {{"VMEVENTS_CREDENTIALS", "other.creds"}});
  const CommandLine line = Parsed({"--context", "fleet", "vms"}, context);
  EXPECT_THAT(line.servers.fleet->servers, ElementsAre("tls://a:4222", "tls://b:4222"));
  EXPECT_EQ(line.servers.fleet->credentials, "/c/x.creds");
  EXPECT_EQ(line.servers.fleet->tls->ca_file, "/c/ca.pem");
  EXPECT_EQ(Parsed({"--server", "nats://a", "vms"}, context).servers.fleet->credentials,
            "other.creds");
}

TEST(ParseCommandLine, TheConfigurationFileIsToml) {
  OptionContext context = Configured(
      "current = \"node1.example\"  # mine\n"
      "[contexts.a]\nservers = [\"node1\", # a comment\n 'node2']\n"
      "[contexts.\"node1.example\"]\nservers = \"node9\"\ntls-ca = \"/etc/ca of us.pem\"\n"
      "tls-cert = \"me.pem\"\ntls-key = \"me.key\"\ntls-server-name = \"vmeventd\"\n");
  EXPECT_EQ(Parsed({"--context", "a", "vms"}, context).servers.addresses.size(), 2U);
  const CommandLine line = Parsed({"vms"}, context);
  EXPECT_EQ(line.servers.first().host, "node9");
  EXPECT_EQ(line.servers.first().tls,
            (TlsOptions{"/etc/ca of us.pem", "/c/me.pem", "/c/me.key", "vmeventd"}));
  EXPECT_EQ(Parsed({"vms"}, Configured("")).servers.first().path, "/run/vmeventd/vmeventd.sock");
  const std::pair<const char*, const char*> faults[] = {
      {"[contexts.a]\nserver-list = \"x\"\n",
       "\"server-list\" of the context \"a\" is not known; the keys are servers, tls-ca"},
      {"[contexts.a]\nhosts = \"x\"\n", "is not known; did you mean servers?; the keys"},
      {"[servers.a]\nservers = \"x\"\n", "\"servers\" is not a known setting; use current"},
      {"default = \"x\"\n", "use current = \"NAME\""},
      {"[contexts.a]\ntls-ca = \"x\"\n", "\"a\" has no servers"},
      {"[contexts.a]\nservers = \"x\"\ntls-ca = [\"a\", \"b\"]\n", "\"tls-ca\" needs one text"},
      {"[contexts.a]\nservers = 1\n", "\"servers\" needs one text"},
      {"[contexts.a.b]\nservers = \"x\"\n", "as [contexts.\"node1.example\"]"},
      {"[contexts]\na = \"x\"\n", "\"a\" is not a section"},
      {"this is no toml\n", "line 1: not TOML: "}};
  for (const auto& [content, fault] : faults) {
    EXPECT_THAT(Answer({"--context", "a", "vms"}, Configured(content)).err,
                AllOf(StartsWith("/c/config.toml: "), HasSubstr(fault)));
  }
}

TEST(ParseCommandLine, AnErrorInOneContextDoesNotAffectTheOthers) {
  const OptionContext context = Configured(
      "current = \"a\"\n[contexts.a]\nservers = \"node1\"\n[contexts.b]\ntls-ca = \"ca.pem\"\n"
      "[contexts.c]\nserver-list = \"x\"\n");
  EXPECT_EQ(Parsed({"vms"}, context).servers.first().host, "node1");
  EXPECT_THAT(Answer({"--context", "b", "vms"}, context).err,
              StartsWith("/c/config.toml: the context \"b\" has no servers"));
  EXPECT_EQ(
      Parsed({"--context", "b", "--server", "n", "vms"}, context).servers.first().tls->ca_file,
      "/c/ca.pem");
  EXPECT_THAT(Answer({"--context", "c", "vms"}, context).err, HasSubstr("\"server-list\" of"));
}

TEST(ParseCommandLine, TheEnvironmentNamesTheConfigurationFile) {
  std::string path;
  const auto with = [&path](const Variables& variables) {
    OptionContext context = TestContext(variables);
    context.read_config = [&path](const std::string& asked) {
      path = asked;
      return absl::NotFoundError("cannot read it");
    };
    return context;
  };
  Parsed({"vms"}, with({{"HOME", "/h"}}));
  EXPECT_EQ(path, "/h/.config/vmevents/config.toml");
  Parsed({"vms"}, with({{"HOME", "/h"}, {"XDG_CONFIG_HOME", "/x"}}));
  EXPECT_EQ(path, "/x/vmevents/config.toml");
  EXPECT_THAT(Answer({"vms"}, with({{"VMEVENTS_CONFIG", "/c.toml"}})).err,
              HasSubstr("cannot read it"))
      << "it must exist";
  EXPECT_EQ(path, "/c.toml");
}

}  // namespace
}  // namespace vmeventd::client
