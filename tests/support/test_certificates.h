#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"

// Certificate authorities for tests, and the certificates that they issue: EC P-256 keys, PEM files
// (keys in PKCS #8, with mode 0600). A failure ends the test program.

namespace vmeventd {

struct CertificateFiles {
  std::string certificate;  // path of the certificate
  std::string key;          // path of its private key
};

struct CertificateOptions {
  std::string common_name;
  // The subject alternative names.
  std::vector<std::string> dns_names;
  std::vector<std::string> uris;
  std::vector<std::string> ip_addresses;  // IPv4 or IPv6 addresses, in digits
  absl::Time not_before = absl::Now() - absl::Hours(1);
  absl::Time not_after = absl::Now() + absl::Hours(24);
  // The extended key usages. If both are false, the certificate is not restricted.
  bool server = false;
  bool client = false;
};

// An authority, self-signed or issued by another authority. One thread.
class CertificateAuthority {
 public:
  // Writes into `directory`, which must exist. Authorities in one directory need different common
  // names without a slash.
  CertificateAuthority(const std::string& directory, const std::string& common_name);
  ~CertificateAuthority();
  CertificateAuthority(const CertificateAuthority&) = delete;
  CertificateAuthority& operator=(const CertificateAuthority&) = delete;

  // Returns a new authority that this one has issued. Its users need not trust this one.
  std::unique_ptr<CertificateAuthority> IssueAuthority(const std::string& common_name);

  // Path of its own certificate, which its users trust.
  const std::string& certificate() const { return certificate_; }

  // Issues a certificate for a new key. Writes both to new files in the directory.
  CertificateFiles Issue(const CertificateOptions& options);

 private:
  struct State;
  CertificateAuthority(const std::string& directory, const std::string& common_name,
                       const State* issuer);

  const std::string certificate_;
  std::unique_ptr<State> state_;
};

inline std::unique_ptr<CertificateAuthority> MakeCertificateAuthority(
    const std::string& directory, const std::string& common_name = "test-ca") {
  return std::make_unique<CertificateAuthority>(directory, common_name);
}

// The usual certificates: for a server at localhost, 127.0.0.1 and ::1, and for a client identified
// by one URI.
CertificateOptions ServerCertificate();
CertificateOptions ClientCertificate(const std::string& uri);

// Replaces the files `to` with copies of `from`, each by a rename, so that no reader sees half a
// file.
void ReplaceCertificate(const CertificateFiles& from, const CertificateFiles& to);

}  // namespace vmeventd
