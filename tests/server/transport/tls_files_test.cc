#include "server/transport/tls_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temporary_directory.h"
#include "tests/support/test_certificates.h"
#include "tests/support/test_events.h"

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
    return TlsFiles::Open({in_use_.certificate, in_use_.key, authority_->certificate()}, &clock_)
        .value();
  }
  // The certificate's subject that a handshake would get a while later.
  std::string Subject(TlsFiles* files) {
    clock_.Advance(absl::Seconds(2));
    return files->Current()->subject;
  }

  const TemporaryDirectory directory_;
  FakeClock clock_;
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
  EXPECT_THAT(material->key, HasSubstr("PRIVATE KEY"));
  EXPECT_TRUE(files->asks_clients());
  EXPECT_EQ(Subject(files.get()), material->subject);
  EXPECT_EQ(files->Current(), material) << "unchanged files are not read again";
}

TEST_F(TlsFilesTest, LoadsAReplacement) {
  const auto files = Open();
  ReplaceCertificate(Issue("second", end_ + absl::Hours(1)), in_use_);
  EXPECT_THAT(Subject(files.get()), HasSubstr("second"));
  EXPECT_EQ(files->Current()->not_after, end_ + absl::Hours(1));
  EXPECT_EQ(files->reload_failures(), 0);
}

TEST_F(TlsFilesTest, ReloadChecksAtOnce) {
  const auto files = Open();
  files->Current();
  ReplaceCertificate(Issue("second", end_), in_use_);
  EXPECT_TRUE(files->Reload().ok());
  EXPECT_THAT(files->Current()->subject, HasSubstr("second"));
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
  const absl::Status status = files->Reload();
  EXPECT_THAT(std::string(status.message()), HasSubstr("is not the key"));
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
  const absl::Status opened =
      TlsFiles::Open({in_use_.certificate, in_use_.key, ""}, &clock_).status();
  EXPECT_THAT(std::string(opened.message()), HasSubstr(in_use_.key));
}

TEST_F(TlsFilesTest, AnExpiredCertificateIsLoadedAndReported) {
  ReplaceCertificate(Issue("old", absl::FromUnixSeconds(1'000'000)), in_use_);
  EXPECT_EQ(Open()->Current()->not_after, absl::FromUnixSeconds(1'000'000));
}

}  // namespace
}  // namespace vmeventd
