#include "client/nats/url.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::vector<std::string> UrlsOf(const std::string& text) {
  std::vector<std::string> urls;
  const auto servers = ParseNatsServers(text);
  EXPECT_TRUE(servers.ok()) << servers.status();
  for (const auto& server : *servers) urls.push_back(NatsUrl(server));
  return urls;
}

std::string ErrorOf(const std::string& text) {
  return std::string(ParseNatsServers(text).status().message());
}

TEST(NatsServerAddress, TheSchemeAndThePortMayBeLeftOut) {
  EXPECT_THAT(UrlsOf("nats://a"), ElementsAre("nats://a:4222"));
  EXPECT_THAT(UrlsOf("nats://a:1,b:2,c"), ElementsAre("nats://a:1", "nats://b:2", "nats://c:4222"));
  EXPECT_THAT(UrlsOf("tls://a.example,[::1]:5"),
              ElementsAre("tls://a.example:4222", "tls://[::1]:5"));
}

TEST(NatsServerAddress, AMalformedServerIsAnError) {
  for (const char* const text :
       {"", "a", "nats://", "nats://a:", "nats://a:0", "nats://a:65536", "nats://a:x",
        "nats://[::1", "nats://a b", "nats://a,", "http://a", "nats://a,http://b", "nats://::1",
        "nats://a/b", "nats:///a", "nats://[::1]x"}) {
    EXPECT_NE(ErrorOf(text), "") << text;
  }
  EXPECT_THAT(ErrorOf("nats://a:1,a:1"), HasSubstr("twice"));
}

TEST(NatsServerAddress, APasswordIsRefusedAndNotRepeated) {
  const std::string error = ErrorOf("nats://user:secret@a:4222");
  EXPECT_THAT(error, HasSubstr("file of credentials"));
  EXPECT_THAT(error, Not(HasSubstr("secret")));
}

}  // namespace
}  // namespace vmeventd::client
