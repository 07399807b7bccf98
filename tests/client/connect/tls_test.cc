#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/commands/info.h"
#include "client/connect/stop_source.h"
#include "client/connect/tls_files.h"
#include "client/connect/tls_probe.h"
#include "client/doctor/diagnosis.h"
#include "client/output/formatter.h"
#include "client/sinks/delivery.h"
#include "client/sinks/print.h"
#include "client/sources/daemon_source.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_server.h"
#include "tests/support/files.h"
#include "tests/support/test_certificates.h"
#include "tests/support/wait.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class TlsFilesTest : public testing::Test {
 protected:
  TlsFilesTest()
      : authority_(MakeCertificateAuthority(directory_.path())),
        own_(authority_->Issue(ClientCertificate("spiffe://test/client"))),
        options_{authority_->certificate(), own_.certificate, own_.key, ""} {}

  std::string Write(const std::string& text) {
    std::string path = directory_ / absl::StrCat("written", ++written_);
    std::ofstream(path) << text;
    return path;
  }
  std::string Fault() {
    const auto loaded = LoadTlsFiles(options_);
    EXPECT_FALSE(loaded.ok());
    EXPECT_TRUE(absl::IsFailedPrecondition(loaded.status()));
    return std::string(loaded.status().message());
  }

  TemporaryDirectory directory_;
  std::unique_ptr<CertificateAuthority> authority_;
  CertificateFiles own_;
  TlsOptions options_;
  int written_ = 0;
};

TEST_F(TlsFilesTest, GoodFilesCanBeUsed) {
  EXPECT_TRUE(LoadTlsFiles(options_).ok());
  options_.cert_file = options_.key_file = "";
  EXPECT_TRUE(LoadTlsFiles(options_).ok());
}

TEST_F(TlsFilesTest, CertificateAndKeyMayShareAFile) {
  options_.cert_file = Write(e2e::ReadFile(own_.key) + e2e::ReadFile(own_.certificate));
  options_.key_file = options_.cert_file;
  EXPECT_TRUE(LoadTlsFiles(options_).ok());
}

TEST_F(TlsFilesTest, ExplainsAFileThatCannotBeUsed) {
  std::string damaged = e2e::ReadFile(own_.certificate);
  damaged.replace(damaged.find('\n') + 10, 20, "AAAAAAAAAAAAAAAAAAAA");
  const std::string fifo = directory_ / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const std::string none = directory_ / "none";
  struct Row {
    std::string TlsOptions::*file;
    std::string path;
    std::string fault;
  };
  const TlsOptions good = options_;
  for (const auto& [file, path, fault] : std::vector<Row>{
           {&TlsOptions::ca_file, none, "--tls-ca: " + none + " cannot be used (No such file"},
           {&TlsOptions::key_file, none, "--tls-key: " + none + " cannot be used (No such file"},
           {&TlsOptions::ca_file, directory_.path(), "(no regular file)"},
           {&TlsOptions::ca_file, fifo, "(no regular file)"},
           {&TlsOptions::cert_file, Write(""), "name a PEM file"},
           {&TlsOptions::ca_file, Write("\x30\x82\x01\x0a"), "with the certificate of a CA"},
           {&TlsOptions::key_file, Write("not a key"), "with the key of the certificate"},
           {&TlsOptions::cert_file, Write(damaged), "with a certificate"},
           {&TlsOptions::cert_file, own_.key, "with a certificate"},
           {&TlsOptions::key_file, own_.certificate, "with the key of the certificate"},
           {&TlsOptions::ca_file, "/none\x1b[2J", "/none\\x1b[2J"}}) {
    options_ = good;
    options_.*file = path;
    EXPECT_THAT(Fault(), HasSubstr(fault));
  }
}

TEST_F(TlsFilesTest, ExplainsAKeyOfAnotherCertificate) {
  const CertificateFiles other = authority_->Issue(ClientCertificate("spiffe://test/other"));
  options_.key_file = other.key;
  EXPECT_THAT(Fault(),
              AllOf(HasSubstr("--tls-key: " + other.key), HasSubstr("(key values mismatch)")));
}

TEST_F(TlsFilesTest, ExplainsAKeyWithAPassphrase) {
  // Of `openssl genpkey -algorithm ED25519 -aes256 -pass pass:secret`.
  options_.key_file = Write(R"(-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjMsesLgONoogICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEE83eDvy59vKJOel9eP+Md0EQOTW
dg63czn6jIZD8USjj6RrK8bPv9F5gB1/v0WT0VN0gXho+gpvOtpLI2zb5IT6vV7d
MVJ87OAwcSmhWnKF4Ck=
-----END ENCRYPTED PRIVATE KEY-----
)");
  EXPECT_THAT(Fault(), HasSubstr("passphrase"));
}

// TLS between the client and a server: what works, and how each fault is explained.

using testing::ElementsAre;
using testing::Not;

class TlsTest : public testing::Test {
 protected:
  TlsTest()
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
  // Why a request fails to reach the server.
  std::string Fault() { return Fault(Address()); }
  std::string Fault(const ServerAddress& address) {
    // The explanation of a failure waits two seconds for the server. On a busy machine the server's
    // threads may get no turn for as long: it was silent then, and is asked again.
    const absl::Time end = absl::Now() + e2e::Patience();
    std::string fault = ExplainTlsFault(address);
    while (IsOfSilence(fault) && absl::Now() < end) fault = ExplainTlsFault(address);
    EXPECT_THAT(fault, HasSubstr(server_.address().port)) << "the address";
    return fault;
  }
  // With TLS and without.
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

TEST_F(TlsTest, ExplainsThatOnlyOneSideSpeaksTls) {
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

TEST_F(TlsTest, ARefusedConnectionIsExplainedAsWithoutTls) {
  Serve(authority_->Issue(ServerCertificate()));
  server_.Stop();
  EXPECT_THAT(Ask(Address())->sentence, HasSubstr("(Connection refused)"));
}

class TlsWatchTest : public TlsTest {
 protected:
  ExitCode Watch(uint64_t count) {
    Printer printer(&formatter_, &output_);
    Delivery delivery({.consumer = &printer, .count = count});
    const auto note = [this](const std::string& sentence) { notes_.push_back(sentence); };
    const auto wait = [this](absl::Duration /*duration*/) { return on_wait_(++waits_); };
    const auto source = WatchDaemon({}, Address(), {&stop_, note, wait});
    return delivery.Run(source.get(), note);
  }
  void ServeEvents(std::vector<uint64_t> sequences, bool hold_open) {
    server_.service().streams.push_back(
        {{ProgressMessage(sequences.front() - 1), EventsMessage(sequences)},
         {grpc::StatusCode::UNAVAILABLE, "going down"},
         hold_open});
  }

  StopSource stop_;
  std::vector<std::string> notes_;
  int waits_ = 0;
  std::function<bool(int)> on_wait_ = [](int) { return false; };
};

TEST_F(TlsWatchTest, ContinuesWithReplacedCertificates) {
  const CertificateFiles server_files = authority_->Issue(ServerCertificate());
  const CertificateFiles own = authority_->Issue(ClientCertificate("spiffe://test/client"));
  Show(own);
  Serve(server_files, authority_->certificate());
  ServeEvents({11}, false);
  ServeEvents({12}, true);
  on_wait_ = [&](int) {
    // Server and client move to another authority, the server first.
    Serve(others_->Issue(ServerCertificate()), others_->certificate());
    ReplaceCertificate(others_->Issue(ClientCertificate("spiffe://test/client")), own);
    ReplaceCertificate({others_->certificate(), own.key}, {tls_.ca_file, own.key});
    return false;
  };
  EXPECT_EQ(Watch(2), ExitCode::kOk);
  EXPECT_THAT(output_.text, HasSubstr("\"sequence\":\"12\""));
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("lost the stream"), HasSubstr("again")));
}

TEST_F(TlsWatchTest, ReportsAFaultThatPreventsReconnectingOnce) {
  Serve(authority_->Issue(ServerCertificate()));
  ServeEvents({11}, false);
  ServeEvents({12}, true);
  on_wait_ = [&](int wait) {
    if (wait == 1) Serve(others_->Issue(ServerCertificate()));
    if (wait == 4) Serve(authority_->Issue(ServerCertificate()));
    return false;
  };
  EXPECT_EQ(Watch(2), ExitCode::kOk);
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("lost the stream"),
                                  AllOf(HasSubstr("is not trusted"), HasSubstr("(trying again)")),
                                  HasSubstr("again")));
}

TEST_F(TlsWatchTest, SurvivesHalfReplacedFiles) {
  const CertificateFiles own = authority_->Issue(ClientCertificate("spiffe://test/client"));
  const CertificateFiles next = authority_->Issue(ClientCertificate("spiffe://test/client"));
  const CertificateFiles kept = {own.certificate, directory_.path() + "/kept.key"};
  std::filesystem::copy_file(own.key, kept.key);
  Show(own);
  Serve(authority_->Issue(ServerCertificate()), authority_->certificate());
  ServeEvents({11}, false);
  ServeEvents({12}, true);
  on_wait_ = [&](int wait) {
    // First only the certificate.
    if (wait == 1) ReplaceCertificate({next.certificate, kept.key}, own);
    if (wait == 2) ReplaceCertificate(next, own);
    return false;
  };
  EXPECT_EQ(Watch(2), ExitCode::kOk);
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("lost the stream"), HasSubstr("--tls-key"),
                                  HasSubstr("again")));
}

TEST_F(TlsWatchTest, BadFilesAtTheStartEndTheWatch) {
  Serve(authority_->Issue(ServerCertificate()));
  tls_.ca_file += "-none";
  EXPECT_EQ(Watch(1), ExitCode::kFailed);
  EXPECT_THAT(notes_, ElementsAre(Not(HasSubstr("again"))));
}

}  // namespace
}  // namespace vmeventd::client
