#include "client/connect/server_address.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd::client {
namespace {

using testing::HasSubstr;

std::string AddressComplaint(const std::string& text) {
  const auto address = ParseServerAddress(text);
  return address.ok() ? "" : std::string(address.status().message());
}

TEST(ParseServerAddress, TakesUnixSockets) {
  EXPECT_EQ(ParseServerAddress("unix:/run/x.sock")->path, "/run/x.sock");
  EXPECT_EQ(ParseServerAddress("unix:///run/x.sock")->path, "/run/x.sock");
  EXPECT_EQ(ParseServerAddress("/run/x.sock")->path, "/run/x.sock");
  EXPECT_EQ(ParseServerAddress("unix:here.sock")->path, "here.sock");
  EXPECT_TRUE(ParseServerAddress("unix:" + std::string(107, 'x')).ok());
  EXPECT_TRUE(ParseServerAddress("unix:/" + std::string(200, 'd') + "/s").ok());
}

TEST(ParseServerAddress, TakesHostAndPort) {
  const auto address = ParseServerAddress("node1.example.org:7443");
  EXPECT_FALSE(address->is_unix());
  EXPECT_EQ(address->host, "node1.example.org");
  EXPECT_EQ(address->port, "7443");
  EXPECT_EQ(ParseServerAddress("[::1]:7443")->host, "::1");
}

TEST(ParseServerAddress, AHostWithoutAPortMeansTheDefaultPort) {
  EXPECT_EQ(ToText(*ParseServerAddress("node7")), "node7:9555");
  EXPECT_EQ(ToText(*ParseServerAddress("192.0.2.7")), "192.0.2.7:9555");
  EXPECT_EQ(ToText(*ParseServerAddress("[2001:db8::7]")), "[2001:db8::7]:9555");
}

TEST(ParseServerAddress, TakesHostsToLogInToBySsh) {
  EXPECT_EQ(ParseServerAddress("ssh://node1")->ssh, "node1");
  EXPECT_EQ(ToText(*ParseServerAddress("ssh://alice@node1:2222")), "ssh://alice@node1:2222");
  EXPECT_EQ(ParseServerAddress("ssh://alice@node1:2222")->port, "2222");
  for (const char* wrong :
       {"ssh://", "ssh://-oProxyCommand=x", "ssh://a@-x", "ssh://a b", "ssh://@a"}) {
    EXPECT_THAT(AddressComplaint(wrong), HasSubstr("names no host")) << wrong;
  }
}

TEST(ParseServerAddress, RefusesAMalformedAddressWithTheReason) {
  EXPECT_THAT(AddressComplaint(""), HasSubstr("is empty"));
  EXPECT_THAT(AddressComplaint("unix:"), HasSubstr("names no path"));
  EXPECT_THAT(AddressComplaint("unix://host/x"), HasSubstr("names a host before the path"));
  EXPECT_THAT(AddressComplaint("unix:" + std::string(108, 'x')),
              HasSubstr("its file name is too long for a Unix socket: 108 bytes"));
  EXPECT_THAT(AddressComplaint("run/x.sock"), HasSubstr("must begin with unix: or /"));
  EXPECT_THAT(AddressComplaint("http://localhost:1"), HasSubstr("is a URL"));
  EXPECT_THAT(AddressComplaint("9555"), HasSubstr("names no host"));
  EXPECT_THAT(AddressComplaint("::1"), HasSubstr("without brackets"));
  EXPECT_THAT(AddressComplaint("::1:80"), HasSubstr("without brackets"));
  EXPECT_THAT(AddressComplaint(":80"), HasSubstr("names no host"));
  EXPECT_THAT(AddressComplaint("[]:80"), HasSubstr("names no host"));
  EXPECT_THAT(AddressComplaint("a b:80"), HasSubstr("host names must not have"));
  EXPECT_THAT(AddressComplaint("host:"), HasSubstr("has no port after its colon"));
  for (const char* port : {"0", "65536", "x", "+1", " 1"}) {
    EXPECT_THAT(
        AddressComplaint(absl::StrCat("host:", port)),
        HasSubstr(absl::StrCat("has the port \"", port, "\", which is not a number from 1")));
  }
}

TEST(ParseListenAddress, TakesTheHostsAndPortsOfAServerAndNoOtherAddress) {
  EXPECT_EQ(ToText(*ParseListenAddress("127.0.0.1", "9557")), "127.0.0.1:9557");
  EXPECT_EQ(ToText(*ParseListenAddress("[::1]:80", "9557")), "[::1]:80");
  for (const char* wrong : {"", ":80", "::1", "host:99999", "unix:/x", "/x", "ssh://x", "a/b"}) {
    const auto address = ParseListenAddress(wrong, "9557");
    ASSERT_FALSE(address.ok()) << wrong;
    EXPECT_THAT(std::string(address.status().message()),
                testing::EndsWith("; write HOST:PORT, such as 127.0.0.1:9557 or [::1]:9557"));
  }
}

TEST(DefaultServerAddress, IsTheSocketOfTheUser) {
  EXPECT_EQ(DefaultServerAddress(0, "/run/user/0").path, "/run/vmeventd/vmeventd.sock");
  EXPECT_EQ(DefaultServerAddress(1000, "/tmp/rt").path, "/tmp/rt/vmeventd/vmeventd.sock");
  EXPECT_EQ(DefaultServerAddress(1000, "").path, "/run/user/1000/vmeventd/vmeventd.sock");
}

TEST(DefaultServerAddress, IsTheSystemsSocketIfTheUserHasNone) {
  const auto only = [](const std::string& there) {
    return [there](const std::string& path) { return path == there; };
  };
  const std::string own = "/tmp/rt/vmeventd/vmeventd.sock";
  const std::string system = "/run/vmeventd/vmeventd.sock";
  EXPECT_EQ(DefaultServerAddress(1000, "/tmp/rt", only(system)).path, system);
  EXPECT_EQ(DefaultServerAddress(1000, "/tmp/rt", only(own)).path, own);
  EXPECT_EQ(DefaultServerAddress(1000, "/tmp/rt", only("")).path, system);
  EXPECT_EQ(DefaultServerAddress(1000, "/tmp/rt", [](const std::string&) { return true; }).path,
            own);
}

TEST(ToGrpcTarget, EncodesCharactersWithAMeaningInUris) {
  EXPECT_EQ(ToGrpcTarget(*ParseServerAddress("unix:/run/a b%?#.sock")),
            "unix:/run/a%20b%25%3F%23.sock");
  EXPECT_EQ(ToGrpcTarget(*ParseServerAddress("localhost:80")), "dns:///localhost:80");
  EXPECT_EQ(ToGrpcTarget(*ParseServerAddress("[fe80::1%eth0]:80")), "dns:///[fe80::1%25eth0]:80");
}

TEST(ToText, ShowsWhatAUserWouldWrite) {
  EXPECT_EQ(ToText(*ParseServerAddress("unix:/run/x\n.sock")), "unix:/run/x\\x0a.sock");
  EXPECT_EQ(ToText(*ParseServerAddress("[::1]:80")), "[::1]:80");
}

}  // namespace
}  // namespace vmeventd::client
