// TLS of a listener, using the programs as operators do.

#include <csignal>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/programs.h"
#include "tests/support/test_certificates.h"
#include "tests/support/wait.h"
#include "tests/system/e2e_test.h"
#include "tests/system/vmevents_command.h"

namespace vmeventd::e2e {
namespace {

using testing::HasSubstr;
using testing::Not;

class AccessTest : public E2eTest {
 protected:
  // A daemon that serves mutual TLS on a port as well as its socket.
  void StartTlsDaemon() {
    StartDaemon(Options({"--listen", "127.0.0.1:0", "--tls-cert", server_.certificate, "--tls-key",
                         server_.key, "--tls-client-ca", authority_->certificate()}));
    tcp_ = LoopbackAddress();
  }

  std::vector<std::string> TlsCommand(const CertificateFiles& own,
                                      std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"--tls-ca", authority_->certificate(), "--tls-cert",
                                         own.certificate, "--tls-key", own.key});
    return VmeventsCommand(tcp_, arguments);
  }
  static CommandResult Run(const std::vector<std::string>& arguments) {
    return RunCommand({.arguments = arguments});
  }

  const std::unique_ptr<CertificateAuthority> authority_ = MakeCertificateAuthority(dir().path());
  const CertificateFiles server_ = authority_->Issue(ServerCertificate());
  const CertificateFiles reader_ = authority_->Issue(ClientCertificate("spiffe://site/reader"));
  std::string tcp_;
};

TEST_F(AccessTest, TlsIs12OrNewer) {
  StartTlsDaemon();
  const auto handshake = [this](const std::string& version) {
    return Run({"sh", "-c",
                absl::StrCat("openssl s_client -connect ", tcp_, " ", version,
                             " -alpn h2 -cipher ALL:@SECLEVEL=0 -cert ", reader_.certificate,
                             " -key ", reader_.key, " </dev/null")});
  };
  for (const char* version : {"-tls1", "-tls1_1"}) {
    const CommandResult refused = handshake(version);
    EXPECT_NE(refused.exit_code, 0) << version;
    EXPECT_THAT(refused.error, Not(HasSubstr("no protocols"))) << "the client supports it";
  }
  for (const char* version : {"-tls1_2", "-tls1_3"}) {
    EXPECT_EQ(handshake(version).exit_code, 0) << version;
  }
}

TEST_F(AccessTest, CertificatesAreReplacedUnderAStream) {
  StartTlsDaemon();
  ChildProcess watching({.arguments = TlsCommand(reader_, {"-o", "json", "watch"})});
  WaitUntil("the stream is open", [&] { return daemon().GetServerInfo().streams() == 1; });

  // At first only half of the pair is replaced: the old pair stays in use.
  CertificateOptions next = ServerCertificate();
  next.common_name = "next";
  const CertificateFiles replacement = authority_->Issue(next);
  ReplaceCertificate({replacement.certificate, server_.key}, server_);
  daemon().Signal(SIGHUP);
  daemon().WaitLog("must hold the private key of the certificate");
  EXPECT_EQ(Run(TlsCommand(reader_, {"info"})).exit_code, 0);

  ReplaceCertificate(replacement, server_);
  daemon().Signal(SIGHUP);
  daemon().WaitLog("/CN=next of");
  EXPECT_EQ(Run(TlsCommand(reader_, {"info"})).exit_code, 0);
  FakeQemu qemu(TestProgramPath("fake_qemu"));
  qemu.AddMonitor(watch_dir() + "/vm1.kvmd");
  watching.ReadUntil("EVENT_TYPE_STARTED");
  EXPECT_EQ(daemon().GetServerInfo().streams(), 1) << "the stream is still the first";
}

}  // namespace
}  // namespace vmeventd::e2e
