// TLS between the client and a server: what works, and how each fault is explained.

#include "client/connect/tls_probe.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/connect/tls_fixture.h"
#include "tests/support/test_certificates.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class TlsTest : public TlsFixture {};

TEST_F(TlsTest, TheServersNameMayBeGiven) {
  CertificateOptions options = ServerCertificate();
  options.dns_names = {"node1.example"};
  options.ip_addresses = {};
  Serve(authority_->Issue(options));
  EXPECT_THAT(Fault(), AllOf(HasSubstr("not for 127.0.0.1"), HasSubstr("--tls-server-name")));
  tls_.server_name = "node1.example";
  EXPECT_FALSE(Ask(Address()).has_value());
  tls_.server_name = "node2.example";
  EXPECT_THAT(Fault(), HasSubstr("it is not for node2.example"));
}

TEST_F(TlsTest, ExplainsAServerOfAnotherAuthority) {
  Serve(others_->Issue(ServerCertificate()));
  EXPECT_THAT(Fault(), HasSubstr("--tls-ca " + tls_.ca_file + " has no such CA"));
}

TEST_F(TlsTest, ExplainsACertificateOfTheServerThatIsNotValid) {
  CertificateOptions expired = ServerCertificate();
  expired.not_before = absl::FromUnixSeconds(1577836800);
  expired.not_after = absl::FromUnixSeconds(1609459200);
  CertificateOptions early = ServerCertificate();
  early.not_before = absl::Now() + absl::Hours(10);
  CertificateOptions for_clients = ServerCertificate();
  for_clients.server = false;
  for_clients.client = true;
  const std::pair<CertificateOptions, const char*> rows[] = {
      {expired, "certificate has expired: renew it"},
      {early, "certificate is not yet valid: renew it"},
      {for_clients, "serverAuth"}};
  for (const auto& [options, why] : rows) {
    Serve(authority_->Issue(options));
    EXPECT_THAT(Fault(), HasSubstr(why));
  }
}

TEST_F(TlsTest, ExplainsThatTheServerRequiresACertificate) {
  Serve(authority_->Issue(ServerCertificate()), authority_->certificate());
  EXPECT_THAT(Fault(), AllOf(HasSubstr("asks for a certificate of the client"),
                             HasSubstr("--tls-cert and --tls-key")));
}

TEST_F(TlsTest, ExplainsThatTheServerRefusesTheCertificate) {
  Serve(authority_->Issue(ServerCertificate()), authority_->certificate());
  Show(others_->Issue(ClientCertificate("spiffe://test/client")));
  EXPECT_THAT(Fault(), AllOf(HasSubstr("refuses the certificate of --tls-cert " + tls_.cert_file),
                             HasSubstr("--tls-client-ca")));
}

TEST_F(TlsTest, ExplainsThatOnlyOneSideUsesTls) {
  server_.UseTcp(grpc::InsecureServerCredentials());
  server_.Start();
  EXPECT_THAT(Fault(), AllOf(HasSubstr("does not speak TLS"), HasSubstr("--tls-ca")));
  Serve(authority_->Issue(ServerCertificate()));
  EXPECT_THAT(Fault(server_.address()), AllOf(HasSubstr("speaks TLS"), HasSubstr("--tls-ca FILE")));
  Serve(authority_->Issue(ServerCertificate()), authority_->certificate());
  EXPECT_THAT(Fault(server_.address()), AllOf(HasSubstr("speaks TLS"), HasSubstr("--tls-ca FILE")));
}

TEST_F(TlsTest, ARequestThatFailsForTlsPointsAtTheDoctor) {
  Serve(others_->Issue(ServerCertificate()));
  const ServerAddress address = Address();
  const auto failure = Ask(address);
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->code, ExitCode::kUnreachable);
  const std::string server = absl::StrCat("`vmevents --server 127.0.0.1:", server_.address().port);
  EXPECT_THAT(failure->sentence,
              AllOf(HasSubstr("TLS with "), HasSubstr(server + " --tls-ca "),
                    HasSubstr(address.tls->ca_file), HasSubstr(" doctor` shows why")));
  EXPECT_THAT(Ask(server_.address())->sentence,
              AllOf(HasSubstr("or speaks TLS"), HasSubstr(server + " doctor` shows why")));
}

TEST_F(TlsTest, ARefusedConnectionIsExplainedTheSameWayAsWithoutTls) {
  Serve(authority_->Issue(ServerCertificate()));
  server_.Stop();
  EXPECT_THAT(Ask(Address())->sentence, HasSubstr("(Connection refused)"));
}

}  // namespace
}  // namespace vmeventd::client
