#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpcpp/security/credentials.h"
#include "server/config/listen_address.h"
#include "server/config/parse_config.h"
#include "server/config/tls_files.h"
#include "tests/support/files.h"
#include "tests/support/loopback.h"
#include "tests/support/own_channel.h"
#include "tests/support/proto_text.h"
#include "tests/support/raw_call.h"
#include "tests/support/test_certificates.h"
#include "tests/support/test_server.h"
#include "tests/support/test_stream.h"

// Who may call which methods, and how often, over live connections.

namespace vmeventd {
namespace {

using ::testing::HasSubstr;

// Calls a method with an encoded request; empty: one without a field.
grpc::Status CallMethod(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                        const std::string& request = "") {
  std::string response;
  return RawCall(channel, "/vmeventd.v1.VmEventService/" + method, request, &response);
}

grpc::Status Declare(const std::shared_ptr<grpc::Channel>& channel) {
  const auto request =
      FromText<v1::DeclareIntentRequest>("vm_name: 'web1' actor: 'alice' reason: 'maintenance'");
  return CallMethod(channel, "DeclareIntent", request.SerializeAsString());
}

grpc::Status Withdraw(const std::shared_ptr<grpc::Channel>& channel) {
  const auto request = FromText<v1::WithdrawIntentRequest>("intent_id: '4711'");
  return CallMethod(channel, "WithdrawIntent", request.SerializeAsString());
}

grpc::Status Info(const std::shared_ptr<grpc::Channel>& channel) {
  return CallMethod(channel, "GetServerInfo");
}

// TestServer has no watcher: an operator's intent is answered with UNAVAILABLE.
void ExpectOperator(const std::shared_ptr<grpc::Channel>& channel) {
  EXPECT_EQ(Declare(channel).error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(Withdraw(channel).error_code(), grpc::UNAVAILABLE);
}

void ExpectReader(const std::shared_ptr<grpc::Channel>& channel, const std::string& hint) {
  for (const grpc::Status& status : {Declare(channel), Withdraw(channel)}) {
    EXPECT_EQ(status.error_code(), grpc::PERMISSION_DENIED);
    EXPECT_THAT(status.error_message(), HasSubstr(hint));
  }
  EXPECT_TRUE(Info(channel).ok());
}

ListenAddress Address(const std::string& text) { return ParseListenAddress(text).value(); }

TEST(Roles, AClientHasTheRoleOfItsListener) {
  const TemporaryDirectory directory;
  TestServer server({.addresses = {Address("unix:" + (directory / "all")),
                                   Address("unix:" + (directory / "readers") + ",role=reader"),
                                   Address("127.0.0.1:0")}});
  const auto listeners = server.server().listeners();
  ExpectOperator(ChannelOfItsOwn(listeners[0].address.ToString()));
  ExpectReader(ChannelOfItsOwn(listeners[1].address.ToString()), "without role=reader");
  ExpectReader(ChannelOfItsOwn(listeners[2].address.ToString()), "without role=reader");
  EXPECT_EQ(server.refusals().value(Refusal::kRole), 4);
}

// A server with mutual TLS.
class Tls : public ::testing::Test {
 protected:
  std::shared_ptr<grpc::ChannelCredentials> Credentials(const CertificateFiles* own) const {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = e2e::ReadFile(authority_->certificate());
    if (own != nullptr) {
      options.pem_private_key = e2e::ReadFile(own->key);
      options.pem_cert_chain = e2e::ReadFile(own->certificate);
    }
    return grpc::SslCredentials(options);
  }
  std::shared_ptr<grpc::Channel> Channel(const CertificateFiles* own) {
    return ChannelOfItsOwn(server_.address(), Credentials(own));
  }
  std::shared_ptr<grpc::Channel> Channel(const CertificateOptions& options) {
    const CertificateFiles own = authority_->Issue(options);
    return Channel(&own);
  }

  const TemporaryDirectory directory_;
  const std::unique_ptr<CertificateAuthority> authority_ =
      MakeCertificateAuthority(directory_.path());
  const CertificateFiles files_ = authority_->Issue(ServerCertificate());
  ManualClock clock_;
  const std::unique_ptr<TlsFiles> tls_ =
      TlsFiles::Open({files_.certificate, files_.key, authority_->certificate()}, &clock_).value();
  TestServer server_{GrpcServerOptions{.addresses = {Address("127.0.0.1:0")},
                                       .tls = tls_.get(),
                                       .operators = {"spiffe://site/Mover", "mover.example"}}};
};

TEST_F(Tls, AnOperatorIsNamedByItsCertificate) {
  ExpectOperator(Channel(ClientCertificate("spiffe://site/Mover")));
  ExpectOperator(Channel(
      {.common_name = "someone", .dns_names = {"other.example", "MOVER.example"}, .client = true}));
}

TEST_F(Tls, AStreamIsListedWithItsCertificatesNames) {
  const auto channel = Channel({.common_name = "someone",
                                .dns_names = {"mover.example"},
                                .uris = {"spiffe://site/Mover"},
                                .client = true});
  const auto stub = v1::VmEventService::NewStub(channel);
  TestStream stream(stub.get(), {});
  ASSERT_TRUE(stream.Next().has_progress());
  std::string answer;
  const std::string path = "/vmeventd.v1.VmEventService/ListStreams";
  ASSERT_TRUE(RawCall(channel, path, "", &answer).ok());
  v1::ListStreamsResponse listed;
  ASSERT_TRUE(listed.ParseFromString(answer));
  ASSERT_EQ(listed.streams_size(), 1);
  EXPECT_THAT(listed.streams(0).certificate_names(),
              testing::UnorderedElementsAre("URI spiffe://site/Mover", "DNS mover.example"));
  EXPECT_EQ(listed.streams(0).peer(), "127.0.0.1");
}

TEST_F(Tls, EveryOtherClientIsAReader) {
  const auto named = [](std::vector<std::string> dns_names) {
    return CertificateOptions{
        .common_name = "mover.example", .dns_names = std::move(dns_names), .client = true};
  };
  ExpectReader(Channel(named({})), "no DNS name, no URI");
  ExpectReader(Channel(named({"spiffe://site/Mover"})), "DNS spiffe://site/mover");
  ExpectReader(Channel(ClientCertificate("mover.example")), "URI mover.example");
  ExpectReader(Channel(ClientCertificate("spiffe://site/mover")), "--tls-operator");
}

TEST_F(Tls, WithoutAClientAuthorityEveryClientIsAReader) {
  const auto tls = TlsFiles::Open({files_.certificate, files_.key, ""}, &clock_).value();
  const TestServer server({.addresses = {Address("127.0.0.1:0")}, .tls = tls.get()});
  ExpectReader(ChannelOfItsOwn(server.address(), Credentials(nullptr)), "every caller is a reader");
  const CertificateFiles own = authority_->Issue(ClientCertificate("spiffe://site/Mover"));
  ExpectReader(ChannelOfItsOwn(server.address(), Credentials(&own)), "every caller is a reader");
}

// The name of a peer that lists too often by this address of the listener.
std::string PeerThatListsTooOften(const std::string& target) {
  const auto channel = ChannelOfItsOwn(target);
  for (int i = 0; i < 100; ++i) {
    const std::string error = CallMethod(channel, "ListVms").error_message();
    if (const size_t from = error.find(" from "); from != std::string::npos) {
      return error.substr(from + 6, error.find(';') - from - 6);
    }
    if (!error.empty()) return error;
  }
  return "nobody is refused";
}

TEST(Ipv6, AListenerOnEveryAddressLimitsIpv6NetworksAndIpv4Hosts) {
  if (!std::filesystem::exists("/proc/net/if_inet6")) GTEST_SKIP() << "the kernel has no IPv6";
  TestServer server({.addresses = {Address("[::1]:0"), Address("[::]:0")}, .list_rate = 1});
  const auto listeners = server.server().listeners();
  ASSERT_TRUE(listeners[0].listening && listeners[1].listening);
  EXPECT_EQ(PeerThatListsTooOften(listeners[0].address.ToString()), "::/64");
  EXPECT_EQ(PeerThatListsTooOften(absl::StrCat("[::1]:", listeners[1].address.port)), "::/64");
  EXPECT_EQ(PeerThatListsTooOften(absl::StrCat("127.0.0.1:", listeners[1].address.port)),
            "127.0.0.1");
}

TEST(Ipv6, Ipv4AndIpv6MayHaveSeparateListenersOnOnePort) {
  if (!std::filesystem::exists("/proc/net/if_inet6")) GTEST_SKIP() << "the kernel has no IPv6";
  for (const bool ipv6_first : {false, true}) {
    uint16_t port = 0;
    const UniqueFd held = e2e::HoldOnLoopback(&port);  // nobody else may get the port
    std::vector<std::string> addresses = {absl::StrCat("0.0.0.0:", port),
                                          absl::StrCat("[::]:", port)};
    if (ipv6_first) std::swap(addresses[0], addresses[1]);
    const ParsedConfig parsed = ParseConfig(
        {"--listen", addresses[0], "--listen", addresses[1], "--insecure-listen"}, Environment());
    ASSERT_TRUE(parsed.config.has_value()) << parsed.text;
    TestServer server({.addresses = parsed.config->listens});
    for (const ListenerState& listener : server.server().listeners()) {
      EXPECT_TRUE(listener.listening) << listener.address.ToString();
    }
    for (const char* host : {"127.0.0.1:", "[::1]:"}) {
      EXPECT_TRUE(CallMethod(ChannelOfItsOwn(absl::StrCat(host, port)), "ListVms").ok()) << host;
    }
  }
}

TEST(Limits, HeadersOfACallBeyond8KiBEndTheConnection) {
  TestServer server;
  const auto call = [&server](size_t bytes) {
    grpc::ClientContext context;
    // Looks like a JSON Web Token, which HPACK compresses a little.
    std::string token = "Bearer ";
    while (token.size() < bytes) token += "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9-_";
    context.AddMetadata("authorization", token);
    v1::ListVmsResponse response;
    return server.stub()->ListVms(&context, {}, &response);
  };
  for (const size_t bytes : {1'000, 4'000, 7'500}) {
    const grpc::Status status = call(bytes);
    EXPECT_TRUE(status.ok()) << bytes << ": " << status.error_message();
  }
  EXPECT_EQ(server.refusals().value(Refusal::kFrames), 0);
  EXPECT_FALSE(call(12'000).ok());
  EXPECT_GE(server.refusals().value(Refusal::kFrames), 1);  // gRPC may try again
  EXPECT_TRUE(Eventually([&] { return call(7'500).ok(); })) << "on a new connection";
}

// A scrape of the metrics may come while the daemon stops.
TEST(Limits, ListenersAreReadableAfterTheShutdown) {
  TestServer server;
  const std::string address = server.address();
  EXPECT_TRUE(Info(server.NewChannel()).ok());
  server.server().Shutdown(absl::ZeroDuration());
  EXPECT_EQ(server.server().listeners()[0].address.ToString(), address);
  EXPECT_EQ(server.server().listeners().size(), 1);
}

}  // namespace
}  // namespace vmeventd
