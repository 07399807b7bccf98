#include "client/connect/tls_files.h"

#include <sys/stat.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/files.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_certificates.h"

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
  // Made by `openssl genpkey -algorithm ED25519 -aes256 -pass pass:secret`.
  options_.key_file = Write(R"(-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjMsesLgONoogICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEE83eDvy59vKJOel9eP+Md0EQOTW
dg63czn6jIZD8USjj6RrK8bPv9F5gB1/v0WT0VN0gXho+gpvOtpLI2zb5IT6vV7d
MVJ87OAwcSmhWnKF4Ck=
-----END ENCRYPTED PRIVATE KEY-----
)");
  EXPECT_THAT(Fault(), HasSubstr("passphrase"));
}

}  // namespace
}  // namespace vmeventd::client
