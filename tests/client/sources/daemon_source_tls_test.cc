#include <filesystem>
#include <string>
#include <vector>

#include "client/connect/stop_source.h"
#include "client/sinks/delivery.h"
#include "client/sinks/print.h"
#include "client/sources/daemon_source.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/connect/tls_fixture.h"
#include "tests/support/server_messages.h"
#include "tests/support/test_certificates.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

class TlsWatchTest : public TlsFixture {
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

TEST_F(TlsWatchTest, ReportsOnceAFaultThatPreventsReconnecting) {
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
