#include "server/listen_address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vmeventd {
namespace {

using ::testing::HasSubstr;

TEST(ListenAddress, ReadsWhatItMay) {
  const struct {
    std::string text;
    std::string is;
  } rows[] = {
      {"unix:/run/x.sock", "unix:/run/x.sock"},
      {"unix:///run/x.sock", "unix:/run/x.sock"},
      {"unix:/run/../run//x.sock", "unix:/run/x.sock"},
      {"127.0.0.1:7070", "127.0.0.1:7070"},
      {"127.255.0.9:1", "127.255.0.9:1"},
      {"localhost:65535", "127.0.0.1:65535"},
      {"[::1]:80", "[::1]:80"},
      {"127.0.0.1:0", "127.0.0.1:0"},
  };
  for (const auto& row : rows) {
    const absl::StatusOr<ListenAddress> address = ParseListenAddress(row.text);
    ASSERT_TRUE(address.ok()) << row.text << ": " << address.status();
    EXPECT_EQ(address->ToString(), row.is);
  }
}

TEST(ListenAddress, RefusesTheRestAndSaysWhy) {
  const struct {
    std::string text;
    std::string why;
  } rows[] = {
      {"", "neither"},
      {"/run/x.sock", "neither"},
      {"7070", "neither"},
      {"unix:", "no path"},
      {"unix:/run/", "directory"},
      {"unix:/" + std::string(107, 'x'), "at most 107"},
      {":7070", "no host"},
      {"0.0.0.0:7070", "TLS is not available yet"},
      {"10.0.0.1:7070", "not a loopback address"},
      {"[::]:7070", "not a loopback address"},
      {"example.org:7070", "not a loopback address"},
      {"::1:7070", "write an IPv6 address as [ADDRESS]:PORT"},
      {"[::1:7070", "without its ]"},
      {"127.0.0.1:", "port"},
      {"127.0.0.1:65536", "0 to 65535"},
      {"127.0.0.1:-1", "0 to 65535"},
      {"127.0.0.1:http", "0 to 65535"},
      {"127.0.0.1: 80", "0 to 65535"},
      {"127.1:80", "not a loopback address"},
  };
  for (const auto& row : rows) {
    const absl::Status status = ParseListenAddress(row.text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << row.text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.why)) << row.text;
  }
  EXPECT_TRUE(ParseListenAddress("unix:/" + std::string(106, 'x')).ok());
}

TEST(ListenAddress, EscapesWhatAUriWouldRead) {
  EXPECT_EQ(ParseListenAddress("unix:/run/a%41").value().GrpcTarget(), "unix:/run/a%2541");
}

}  // namespace
}  // namespace vmeventd
