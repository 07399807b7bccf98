#include "client/settings/contexts.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace vmeventd::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kFile[] = R"(# mine
current = "prod"

[contexts.prod]
servers = ["node1", "node2.example:9555"]
tls-ca = "/etc/ca of us.pem"
tls-cert = "me.pem"  # beside this file
tls-key = "me.key"
tls-server-name = "vmeventd"

[contexts."lab.example"]
servers = "unix:/run/lab.sock"
)";

std::string FileComplaint(const std::string& content) {
  const auto contexts = ParseContexts(content, "/home/a/config.toml");
  EXPECT_TRUE(absl::IsInvalidArgument(contexts.status())) << content;
  return std::string(contexts.status().message());
}

TEST(Contexts, HaveServersAndTlsFiles) {
  const auto contexts = ParseContexts(kFile, "/home/a/config.toml");
  ASSERT_TRUE(contexts.ok()) << contexts.status();
  EXPECT_EQ(contexts->current, "prod");
  ASSERT_EQ(contexts->list.size(), 2U);
  const Context* prod = contexts->Find("prod");
  ASSERT_NE(prod, nullptr);
  EXPECT_THAT(prod->servers, ElementsAre("node1", "node2.example:9555"));
  EXPECT_EQ(prod->tls.ca_file, "/etc/ca of us.pem");
  EXPECT_EQ(prod->tls.cert_file, "/home/a/me.pem");
  EXPECT_EQ(prod->tls.key_file, "/home/a/me.key");
  EXPECT_EQ(prod->tls.server_name, "vmeventd");
  const Context* lab = contexts->Find("lab.example");
  ASSERT_NE(lab, nullptr);
  EXPECT_THAT(lab->servers, ElementsAre("unix:/run/lab.sock"));
  EXPECT_EQ(contexts->Find("other"), nullptr);
}

TEST(Contexts, MayBeNone) {
  const auto contexts = ParseContexts("", "config.toml");
  ASSERT_TRUE(contexts.ok());
  EXPECT_TRUE(contexts->list.empty());
}

TEST(Contexts, NameTheFileAndTheFault) {
  EXPECT_THAT(FileComplaint("[contexts.a]\nserver-list = \"x\"\n"),
              HasSubstr("/home/a/config.toml: \"server-list\" of the context \"a\" is not known; "
                        "the keys are servers, tls-ca"));
  EXPECT_THAT(FileComplaint("[servers.a]\nservers = \"x\"\n"),
              HasSubstr("\"servers\" is not a known setting; use current"));
  EXPECT_THAT(FileComplaint("default = \"x\"\n"), HasSubstr("use current = \"NAME\""));
  EXPECT_THAT(FileComplaint("[contexts.a]\ntls-ca = \"x\"\n"), HasSubstr("\"a\" has no servers"));
  EXPECT_THAT(FileComplaint("[contexts.a]\nservers = \"x\"\ntls-ca = [\"a\", \"b\"]\n"),
              HasSubstr("\"tls-ca\" needs one text"));
  EXPECT_THAT(FileComplaint("this is no toml\n"),
              HasSubstr("/home/a/config.toml: line 1: not TOML: "));
  EXPECT_THAT(FileComplaint("[contexts.a]\nservers = 1\n"),
              HasSubstr("\"servers\" needs one text"));
}

TEST(Contexts, AreToml) {
  const auto contexts = ParseContexts(
      "[contexts.a] # home\nservers = [\"node#1\", # a comment\n 'node2']\n"
      "[contexts.node1.example]\nservers = \"node1.example\"\n",
      "config.toml");
  ASSERT_TRUE(contexts.ok()) << contexts.status();
  ASSERT_NE(contexts->Find("a"), nullptr);
  EXPECT_THAT(contexts->Find("a")->servers, ElementsAre("node#1", "node2"));
  EXPECT_NE(contexts->Find("node1.example"), nullptr);
}

TEST(ConfigPath, FollowsTheEnvironment) {
  EXPECT_EQ(ConfigPath("/c.toml", "/x", "/h"), "/c.toml");
  EXPECT_EQ(ConfigPath("", "/x", "/h"), "/x/vmevents/config.toml");
  EXPECT_EQ(ConfigPath("", "", "/h"), "/h/.config/vmevents/config.toml");
  EXPECT_EQ(ConfigPath("", "", ""), "");
}

}  // namespace
}  // namespace vmeventd::client
