// Who may publish and read, with the TLS of a real NATS server.

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/nats/connection.h"
#include "gmock/gmock.h"
#include "tests/support/nats_server.h"
#include "tests/support/test_certificates.h"
#include "tests/system/chatty_vm.h"
#include "tests/system/fleet_security.h"

namespace vmeventd::e2e {
namespace {

using client::ConnectNats;

using testing::HasSubstr;
using testing::Not;

class FleetTlsTest : public FleetSecurityTest {
 protected:
  // Requires a client's certificate.
  std::string Tls() const {
    return absl::StrCat("tls { cert_file: \"", server_.certificate, "\", key_file: \"", server_.key,
                        "\", ca_file: \"", authority_->certificate(), "\", verify: true }\n");
  }

  CommandResult AskWithCertificate(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--tls-ca", authority_->certificate(), "--tls-cert",
                                         client_.certificate, "--tls-key", client_.key});
    return Vmevents(url_, std::move(arguments));
  }
  void StartNode() {
    const CommandResult created = AskWithCertificate({"fleet", "create"});
    EXPECT_EQ(created.exit_code, 0) << created.error;
    StartPublishing(url_, {"--push-ca", authority_->certificate(), "--push-cert",
                           client_.certificate, "--push-key", client_.key});
  }

  const std::unique_ptr<CertificateAuthority> authority_ = MakeCertificateAuthority(dir() / "");
  const std::unique_ptr<CertificateAuthority> other_ =
      MakeCertificateAuthority(dir() / "", "other");
  const CertificateFiles server_ = authority_->Issue(ServerCertificate());
  const CertificateFiles client_ = authority_->Issue(ClientCertificate("vmevents://node"));
  NatsServer nats_{dir() / "nats", Tls()};
  const std::string url_ = absl::StrCat("tls://127.0.0.1:", nats_.port());
};

TEST_F(FleetTlsTest, ANodePublishesAndAReaderReadsWithTheirCertificates) {
  StartNode();
  ChattyVm vm(watch_dir(), "vm1");
  vm.Send(3);
  const CommandResult read =
      AskWithCertificate({"watch", "--wait", "--from", "oldest", "--count", "4"});
  EXPECT_EQ(read.exit_code, 0) << read.error;
  EXPECT_THAT(read.output, HasSubstr("EVENT_TYPE_STARTED"));
  const auto refused = [&](std::vector<std::string> arguments) {
    arguments.emplace_back("events");
    const CommandResult result = Vmevents(url_, arguments);
    EXPECT_NE(result.exit_code, 0);
    EXPECT_THAT(result.error, HasSubstr(url_ + ": no connection: "));
    EXPECT_THAT(result.error, Not(HasSubstr("PONG")));
  };
  refused({"--tls-ca", other_->certificate()});
  refused({"--tls-ca", authority_->certificate()});  // shows no certificate
  refused({});                                       // not one of the system's authorities
}

TEST_F(FleetTlsTest, AServerWithTheNameOfAnotherHostIsRefused) {
  CertificateOptions options = ServerCertificate();
  options.dns_names = {"nats.example"};
  options.ip_addresses = {};
  const CertificateFiles other = authority_->Issue(options);
  NatsServer server(dir() / "other-nats", absl::StrCat("tls { cert_file: \"", other.certificate,
                                                       "\", key_file: \"", other.key, "\" }\n"));
  const std::string url = absl::StrCat("tls://127.0.0.1:", server.port());
  const auto connect = [&](const std::string& name) {
    return ConnectNats({.servers = {url},
                        .name = "a test",
                        .tls = client::TlsOptions{.ca_file = authority_->certificate(),
                                                  .server_name = name}})
        .status();
  };
  EXPECT_TRUE(connect("nats.example").ok()) << connect("nats.example");
  EXPECT_THAT(std::string(connect("").message()), HasSubstr("SSL Error"));
  EXPECT_THAT(std::string(connect("other.example").message()), HasSubstr("SSL Error"));
}

TEST_F(FleetTlsTest, ANodeWithoutACertificateIsRefused) {
  StartPublishing(url_, {"--push-ca", authority_->certificate()});
  // A server that was too slow at first has another reason.
  push().WaitLog("may require a certificate of the client: give one");
  EXPECT_THAT(push().log(), HasSubstr(url_ + ": no connection: "));
  EXPECT_THAT(push().log(), Not(HasSubstr("PONG")));
}

}  // namespace
}  // namespace vmeventd::e2e
