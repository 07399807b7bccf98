#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "client/connect/tls.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_server.h"
#include "tests/support/test_certificates.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class TlsFilesTest : public testing::Test {
 protected:
  TlsFilesTest()
      : authority_(MakeCertificateAuthority(directory_.path())),
        own_(authority_->Issue(ClientCertificate("spiffe://test/client"))),
        options_{authority_->certificate(), own_.certificate, own_.key, ""} {}

  std::string Write(const std::string& text) {
    std::string path = directory_.path() + "/written.pem";
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
};

TEST_F(TlsFilesTest, GoodFilesAreReadWhole) {
  const auto loaded = LoadTlsFiles(options_);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->ca, ReadAll(options_.ca_file));
  EXPECT_EQ(loaded->certificate, ReadAll(own_.certificate));
  EXPECT_EQ(loaded->key, ReadAll(own_.key));
}

TEST_F(TlsFilesTest, WithoutAClientCertificateTheAuthorityIsEnough) {
  const auto loaded = LoadTlsFiles({options_.ca_file, "", "", ""});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->key, "");
}

TEST_F(TlsFilesTest, CertificateAndKeyMayShareAFile) {
  options_.cert_file = Write(ReadAll(own_.key) + ReadAll(own_.certificate));
  options_.key_file = options_.cert_file;
  EXPECT_TRUE(LoadTlsFiles(options_).ok());
}

TEST_F(TlsFilesTest, ExplainsAMissingFile) {
  options_.ca_file = directory_.path() + "/none.pem";
  EXPECT_EQ(Fault(), "--tls-ca: " + options_.ca_file + " does not exist: check the path");
  options_.ca_file = authority_->certificate();
  options_.key_file = directory_.path() + "/none.key";
  EXPECT_EQ(Fault(), "--tls-key: " + options_.key_file + " does not exist: check the path");
}

TEST_F(TlsFilesTest, ExplainsWhatIsNotARegularFile) {
  options_.ca_file = directory_.path();
  EXPECT_THAT(Fault(), HasSubstr("is not a regular file"));
  options_.ca_file = directory_.path() + "/fifo";
  ASSERT_EQ(mkfifo(options_.ca_file.c_str(), 0600), 0);
  EXPECT_THAT(Fault(), HasSubstr("is not a regular file"));
}

TEST_F(TlsFilesTest, ExplainsAnEmptyFile) {
  options_.cert_file = Write("");
  EXPECT_THAT(Fault(), AllOf(HasSubstr("--tls-cert"), HasSubstr("is empty")));
}

TEST_F(TlsFilesTest, ExplainsAFileThatIsNotPem) {
  options_.ca_file = Write("\x30\x82\x01\x0a");
  EXPECT_THAT(Fault(), AllOf(HasSubstr("--tls-ca"), HasSubstr("no certificate in PEM form"),
                             HasSubstr("openssl x509 -inform der")));
  options_.ca_file = authority_->certificate();
  options_.key_file = Write("not a key");
  EXPECT_THAT(Fault(), AllOf(HasSubstr("--tls-key"), HasSubstr("no private key in PEM form")));
}

TEST_F(TlsFilesTest, ExplainsADamagedFile) {
  std::string text = ReadAll(own_.certificate);
  text.replace(text.find('\n') + 10, 20, "AAAAAAAAAAAAAAAAAAAA");
  options_.cert_file = Write(text);
  EXPECT_THAT(Fault(), HasSubstr("damaged certificate"));
}

TEST_F(TlsFilesTest, ExplainsSwappedFiles) {
  std::swap(options_.cert_file, options_.key_file);
  EXPECT_THAT(Fault(), AllOf(HasSubstr("--tls-cert"), HasSubstr("private key and no certificate"),
                             HasSubstr("swap the two files")));
  options_.cert_file = own_.certificate;
  options_.key_file = own_.certificate;
  EXPECT_THAT(Fault(), AllOf(HasSubstr("--tls-key"), HasSubstr("certificate and no private key")));
}

TEST_F(TlsFilesTest, ExplainsAKeyOfAnotherCertificate) {
  const CertificateFiles other = authority_->Issue(ClientCertificate("spiffe://test/other"));
  options_.key_file = other.key;
  EXPECT_THAT(Fault(), AllOf(HasSubstr("--tls-key: " + other.key),
                             HasSubstr("does not belong to the certificate " + own_.certificate)));
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

TEST_F(TlsFilesTest, APathCannotControlTheTerminal) {
  options_.ca_file = "/none\x1b[2J";
  EXPECT_THAT(Fault(), HasSubstr("/none\\x1b[2J"));
}

}  // namespace
}  // namespace vmeventd::client
