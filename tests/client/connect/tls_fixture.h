#pragma once

#include <csignal>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "client/commands/info.h"
#include "client/connect/tls_probe.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_server.h"
#include "tests/support/files.h"
#include "tests/support/formatters.h"
#include "tests/support/string_output.h"
#include "tests/support/test_certificates.h"
#include "tests/support/wait.h"

namespace vmeventd::client {

// A server and its client, with certificates of one authority; there is another one.
class TlsFixture : public testing::Test {
 protected:
  TlsFixture()
      : authority_(MakeCertificateAuthority(directory_.path(), "ca")),
        others_(MakeCertificateAuthority(directory_.path(), "others")) {
    signal(SIGPIPE, SIG_IGN);  // as main() does
    tls_.ca_file = authority_->certificate();
  }

  // Serves with this certificate. With `client_ca` the client must show one of that authority.
  void Serve(const CertificateFiles& files, const std::string& client_ca = "") {
    server_.Stop();
    grpc::SslServerCredentialsOptions options(
        client_ca.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                          : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    options.pem_key_cert_pairs.push_back(
        {e2e::ReadFile(files.key), e2e::ReadFile(files.certificate)});
    if (!client_ca.empty()) options.pem_root_certs = e2e::ReadFile(client_ca);
    server_.UseTcp(grpc::SslServerCredentials(options));
    server_.Start();
  }
  void Show(const CertificateFiles& files) {
    tls_.cert_file = files.certificate;
    tls_.key_file = files.key;
  }
  ServerAddress Address() const {
    ServerAddress address = server_.address();
    address.tls = tls_;
    return address;
  }

  std::optional<Failure> Ask(const ServerAddress& address) {
    return RunCommand(InfoCommand{}, CommandContext(address, &formatter_, &output_));
  }
  // The reason why a request fails to reach the server.
  std::string Fault() { return Fault(Address()); }
  std::string Fault(const ServerAddress& address) {
    // The explanation of a failure waits two seconds for the server. On a busy machine the server's
    // threads may get no turn for as long: it was silent then, and is asked again.
    const absl::Time end = absl::Now() + e2e::Patience();
    std::string fault = ExplainTlsFault(address);
    while (IsOfSilence(fault) && absl::Now() < end) fault = ExplainTlsFault(address);
    EXPECT_THAT(fault, testing::HasSubstr(server_.address().port)) << "the address";
    return fault;
  }
  // Returns whether the server was silent: the sentence says so, or there is none.
  static bool IsOfSilence(const std::string& sentence) {
    return sentence.empty() || absl::StrContains(sentence, "no answer in time");
  }

  TemporaryDirectory directory_;
  std::unique_ptr<CertificateAuthority> authority_;
  std::unique_ptr<CertificateAuthority> others_;
  FakeServer server_;
  TlsOptions tls_;
  JsonFormatter formatter_;
  StringOutput output_;
};

}  // namespace vmeventd::client
