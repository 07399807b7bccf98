#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "absl/strings/str_split.h"
#include "server/config/config.h"
#include "tests/support/status_matchers.h"

namespace vmeventd {
namespace {

TEST(ListenAddress, ParsesValidAddresses) {
  const std::pair<const char*, const char*> rows[] = {
      {"unix:/run/x.sock", "unix:/run/x.sock"},
      {"unix:///run/x.sock", "unix:/run/x.sock"},
      {"unix:/run/../run//x.sock", "unix:/run/x.sock"},
      {"127.0.0.1:7070", "127.0.0.1:7070"},
      {"127.255.0.9:1", "127.255.0.9:1"},
      {"localhost:65535", "127.0.0.1:65535"},
      {"[::1]:80", "[::1]:80"},
      {"127.0.0.1:0", "127.0.0.1:0"},
      {"0.0.0.0:7070", "0.0.0.0:7070"},
      {"[::]:7070", "[::]:7070"},
      {"unix:/run/a,b.sock", "unix:/run/a,b.sock"},
      {"unix:/run/a=b,c.sock,role=reader", "unix:/run/a=b,c.sock"},
  };
  for (const auto& [text, is] : rows) {
    const absl::StatusOr<ListenAddress> address = ParseListenAddress(text);
    ASSERT_TRUE(address.ok()) << text << ": " << address.status();
    EXPECT_EQ(address->ToString(), is);
  }
}

TEST(ListenAddress, RefusesTheRestWithAReason) {
  const std::pair<std::string, const char*> rows[] = {
      {"|/run/x.sock|7070", "neither"},
      {"unix:", "no path"},
      {"unix:/run/", "directory"},
      {"unix:/" + std::string(107, 'x'), "107 bytes; in a path of more than 107 bytes at most 82"},
      {":7070", "no host"},
      {"example.org:7070|*:7070|127.1:80", "not an IP address"},
      {"::1:7070", "write an IPv6 address as [ADDRESS]:PORT"},
      {"[::1:7070", "without a ]"},
      {"127.0.0.1:", "port"},
      {"127.0.0.1:65536|127.0.0.1:-1|127.0.0.1:http|127.0.0.1: 80", "0 to 65535"},
      {"unix:/x,role=operator|unix:/x,role=", "use role=reader, or no role"},
      {"unix:/x,rolle=reader", "the options are role=, mode= and group="},
      {"127.0.0.1:1,mode=0600", "the options are role="},
      {"unix:/x,mode=660u|unix:/x,mode=66|unix:/x,mode=4660", "use one such as 0660"},
      {"unix:/x,mode=0666|unix:/x,mode=0662", "role=reader"},
      {"unix:/x,group=", "has no name after group="},
  };
  for (const auto& [texts, why] : rows) {
    for (const absl::string_view text : absl::StrSplit(texts, '|')) {
      EXPECT_THAT(ParseListenAddress(text), FailsAs(absl::IsInvalidArgument, why)) << text;
    }
  }
  EXPECT_TRUE(ParseListenAddress("unix:/" + std::string(106, 'x')).ok());
  EXPECT_TRUE(
      ParseListenAddress("unix:/" + std::string(200, 'd') + "/" + std::string(82, 'x')).ok());
}

TEST(ListenAddress, ReadsItsOptions) {
  const ListenAddress plain = ParseListenAddress("unix:/x").value();
  EXPECT_EQ(plain.mode, 0660);
  EXPECT_FALSE(plain.readers_only);
  EXPECT_FALSE(plain.gid.has_value());
  EXPECT_EQ(plain.ToFlag(), "unix:/x");

  ListenAddress all = ParseListenAddress("unix:/x,mode=0666,group=root,role=reader").value();
  EXPECT_EQ(all.path, "/x");
  EXPECT_EQ(all.mode, 0666);
  EXPECT_TRUE(all.readers_only);
  EXPECT_FALSE(all.gid.has_value()) << "parsing asks no name service";
  EXPECT_EQ(all.ToString(), "unix:/x");
  EXPECT_EQ(all.ToFlag(), "unix:/x,role=reader,mode=0666,group=root");
  EXPECT_EQ(ParseListenAddress(all.ToFlag()).value().ToFlag(), all.ToFlag());

  EXPECT_TRUE(ParseListenAddress("[::1]:7,role=reader").value().readers_only);
  EXPECT_EQ(ParseListenAddress("unix:/x,group=54321").value().gid, 54321);

  EXPECT_TRUE(ResolveGroup(&all).ok());
  EXPECT_EQ(all.gid, 0);
  ListenAddress unknown = ParseListenAddress("unix:/x,group=no-such-group").value();
  EXPECT_THAT(ResolveGroup(&unknown), Says("does not exist"));
  EXPECT_EQ(unknown.ToFlag(), "unix:/x,group=no-such-group");
}

}  // namespace
}  // namespace vmeventd
