#include "server/config/tls_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <fstream>
#include <string>
#include <utility>

#include "base/openssl_ptr.h"
#include "tests/support/manual_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_certificates.h"

namespace vmeventd {
namespace {

using ::testing::HasSubstr;

class TlsFilesTest : public ::testing::Test {
 protected:
  CertificateFiles Issue(const std::string& name, absl::Time not_after) {
    CertificateOptions options = ServerCertificate();
    options.common_name = name;
    options.not_before = begin_;
    options.not_after = not_after;
    return authority_->Issue(options);
  }
  std::unique_ptr<TlsFiles> Open() {
    return TlsFiles::Open({in_use_.certificate, in_use_.key, authority_->certificate()}, &clock_,
                          absl::Minutes(1))
        .value();
  }
  // The certificate's subject that a handshake would get a while later.
  std::string Subject(TlsFiles* files) {
    clock_.Advance(absl::Seconds(2));
    return files->Current()->subject;
  }

  const TemporaryDirectory directory_;
  ManualClock clock_;
  const std::unique_ptr<CertificateAuthority> authority_ =
      MakeCertificateAuthority(directory_.path());
  const absl::Time begin_ = absl::FromUnixSeconds(1'700'000'000);
  const absl::Time end_ = absl::FromUnixSeconds(4'000'000'000);
  const CertificateFiles in_use_ = Issue("first", end_);
};

TEST_F(TlsFilesTest, ServesTheContentsOfTheFiles) {
  const auto files = Open();
  const auto material = files->Current();
  EXPECT_THAT(material->subject, HasSubstr("first"));
  EXPECT_EQ(material->not_after, end_);
  EXPECT_EQ(material->not_before, begin_);
  EXPECT_TRUE(files->usable());
  EXPECT_NE(material->context, nullptr);
  EXPECT_EQ(Subject(files.get()), material->subject);
  EXPECT_EQ(files->Current(), material) << "unchanged files are not read again";
}

TEST_F(TlsFilesTest, LoadsAReplacementAfterAWhileOrAtOnce) {
  const auto files = Open();
  ReplaceCertificate(Issue("second", end_ + absl::Hours(1)), in_use_);
  EXPECT_THAT(Subject(files.get()), HasSubstr("second"));
  EXPECT_EQ(files->Current()->not_after, end_ + absl::Hours(1));
  ReplaceCertificate(Issue("third", end_), in_use_);
  EXPECT_TRUE(files->Reload().ok());
  EXPECT_THAT(files->Current()->subject, HasSubstr("third"));
  EXPECT_EQ(files->reload_failures(), 0);
}

TEST_F(TlsFilesTest, HalfAReplacementIsNotLoaded) {
  const auto files = Open();
  const CertificateFiles second = Issue("second", end_);
  ReplaceCertificate({second.certificate, in_use_.key}, in_use_);
  EXPECT_THAT(Subject(files.get()), HasSubstr("first"));
  EXPECT_EQ(files->reload_failures(), 1);
  EXPECT_FALSE(files->usable());
  EXPECT_THAT(Subject(files.get()), HasSubstr("first"));
  EXPECT_EQ(files->reload_failures(), 1) << "the same files are not retried forever";
  EXPECT_THAT(files->Reload(), Says("key values mismatch"));
  ReplaceCertificate(second, in_use_);
  EXPECT_THAT(Subject(files.get()), HasSubstr("second"));
  EXPECT_TRUE(files->usable());
}

TEST_F(TlsFilesTest, MissingAndBrokenFilesChangeNothing) {
  const auto files = Open();
  ASSERT_EQ(std::remove(in_use_.key.c_str()), 0);
  EXPECT_THAT(Subject(files.get()), HasSubstr("first"));
  std::ofstream(in_use_.certificate) << "not PEM";
  EXPECT_THAT(Subject(files.get()), HasSubstr("first"));
  EXPECT_EQ(files->reload_failures(), 2);
  EXPECT_THAT(TlsFiles::Open({in_use_.certificate, in_use_.key, ""}, &clock_), Says(in_use_.key));
}

TEST_F(TlsFilesTest, AnExpiredCertificateIsLoadedAndReported) {
  ReplaceCertificate(Issue("old", absl::FromUnixSeconds(1'000'000)), in_use_);
  EXPECT_EQ(Open()->Current()->not_after, absl::FromUnixSeconds(1'000'000));
}

// A certificate that it signed itself.
std::pair<std::string, std::string> SelfSigned(EVP_PKEY* key, const EVP_MD* digest) {
  const X509Ptr certificate(X509_new());
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
  X509_set_pubkey(certificate.get(), key);
  X509_NAME* const name = X509_get_subject_name(certificate.get());
  const auto* const text = reinterpret_cast<const unsigned char*>("weak");
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, text, -1, -1, 0);
  X509_NAME* const issuer = X509_get_issuer_name(certificate.get());
  X509_NAME_add_entry_by_txt(issuer, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("other"), -1, -1, 0);
  X509_sign(certificate.get(), key, digest);
  const BioPtr out(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(out.get(), certificate.get());
  const BioPtr key_out(BIO_new(BIO_s_mem()));
  PEM_write_bio_PrivateKey(key_out.get(), key, nullptr, nullptr, 0, nullptr, nullptr);
  const auto text_of = [](BIO* bio) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    return std::string(data, static_cast<size_t>(size));
  };
  return {text_of(out.get()), text_of(key_out.get())};
}

TEST_F(TlsFilesTest, ACertificateThatOpensslRefusesIsNotLoaded) {
  const auto files = Open();
  const KeyPtr rsa_1024(EVP_RSA_gen(1024));
  const auto [certificate, key] = SelfSigned(rsa_1024.get(), EVP_sha256());
  std::ofstream(in_use_.certificate) << certificate;
  std::ofstream(in_use_.key) << key;
  EXPECT_THAT(files->Reload(), testing::AllOf(Says("--tls-cert"), Says(in_use_.certificate),
                                              Says("ee key too small"), Says("2048 bits")));
  EXPECT_EQ(files->reload_failures(), 1u);
  EXPECT_THAT(files->Current()->subject, HasSubstr("first")) << "the old one stays in use";
  EXPECT_FALSE(
      TlsFiles::Open({in_use_.certificate, in_use_.key, authority_->certificate()}, &clock_).ok());
}

TEST_F(TlsFilesTest, AWeakAuthorityIsNotLoaded) {
  const KeyPtr rsa_1024(EVP_RSA_gen(1024));
  const std::string path = directory_ / "weak-ca.pem";
  std::ofstream(path) << SelfSigned(rsa_1024.get(), EVP_sha256()).first;
  EXPECT_THAT(TlsFiles::Open({in_use_.certificate, in_use_.key, path}, &clock_),
              testing::AllOf(Says("--tls-client-ca"), Says(path), Says("ca key too small")));
}

}  // namespace
}  // namespace vmeventd
