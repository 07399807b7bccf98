#include "server/config/tls_material.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/openssl_ptr.h"
#include "base/unique_fd.h"
#include "server/config/tls_context.h"

namespace vmeventd {
namespace {

constexpr off_t kMaxFileBytes = 1 << 20;

absl::Status Unusable(const std::string& flag, const std::string& path, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(flag, ": ", path, ": ", what));
}

absl::StatusOr<std::string> ReadFile(const std::string& flag, const std::string& path) {
  const auto failed = [&](int error) {
    const absl::Status status = ErrnoStatus(path, "cannot be read", error);
    return absl::Status(status.code(), absl::StrCat(flag, ": ", status.message()));
  };
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat info {};
  if (!fd.valid() || fstat(fd.get(), &info) != 0) return failed(errno);
  if (!S_ISREG(info.st_mode)) return Unusable(flag, path, "is not a regular file");
  if (info.st_size > kMaxFileBytes) {
    return Unusable(flag, path, absl::StrCat("has more than ", kMaxFileBytes, " bytes"));
  }
  std::string out(static_cast<size_t>(info.st_size), '\0');
  const ssize_t size = pread(fd.get(), out.data(), out.size(), 0);
  if (size < 0) return failed(errno);
  out.resize(static_cast<size_t>(size));
  return out;
}

// Reads every certificate in a PEM text; empty if there is none or one is unreadable.
std::vector<X509Ptr> ReadCertificates(const std::string& pem) {
  const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  std::vector<X509Ptr> out;
  while (X509Ptr next{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)}) {
    out.push_back(std::move(next));
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (!at_end) out.clear();
  return out;
}

KeyPtr ReadKey(const std::string& pem) {
  const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  // An encrypted key must not ask for its password on the terminal.
  const auto no_password = [](char*, int, int, void*) { return -1; };
  KeyPtr out(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr));
  ERR_clear_error();
  return out;
}

std::string SubjectOf(X509* certificate) {
  char text[256] = {};
  X509_NAME_oneline(X509_get_subject_name(certificate), text, sizeof(text));
  return text;
}

absl::Time ToTime(const ASN1_TIME* time, absl::Time unreadable) {
  tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return unreadable;
  return absl::FromTM(parts, absl::UTCTimeZone());
}

absl::Time NotBefore(X509* certificate) {
  return ToTime(X509_get0_notBefore(certificate), absl::InfinitePast());
}

absl::Time NotAfter(X509* certificate) {
  return ToTime(X509_get0_notAfter(certificate), absl::InfiniteFuture());
}

}  // namespace

absl::StatusOr<TlsMaterial> LoadTlsMaterial(const TlsPaths& paths) {
  absl::StatusOr<std::string> cert = ReadFile("--tls-cert", paths.cert);
  if (!cert.ok()) return cert.status();
  absl::StatusOr<std::string> key = ReadFile("--tls-key", paths.key);
  if (!key.ok()) return key.status();
  const std::vector<X509Ptr> chain = ReadCertificates(*cert);
  if (chain.empty()) {
    return Unusable("--tls-cert", paths.cert,
                    "holds no readable certificate; it must be PEM, beginning with -----BEGIN "
                    "CERTIFICATE-----");
  }
  const KeyPtr private_key = ReadKey(*key);
  if (private_key == nullptr) {
    return Unusable("--tls-key", paths.key,
                    "holds no readable private key; it must be PEM and without a password");
  }
  if (X509_check_private_key(chain.front().get(), private_key.get()) != 1) {
    ERR_clear_error();
    return Unusable("--tls-key", paths.key,
                    absl::StrCat("is not the key of the certificate in ", paths.cert));
  }
  std::vector<X509Ptr> authorities;
  if (!paths.client_ca.empty()) {
    absl::StatusOr<std::string> client_ca = ReadFile("--tls-client-ca", paths.client_ca);
    if (!client_ca.ok()) return client_ca.status();
    authorities = ReadCertificates(*client_ca);
    if (authorities.empty()) {
      return Unusable("--tls-client-ca", paths.client_ca,
                      "holds no readable certificate; it must be the PEM of the authorities that "
                      "clients' certificates come from");
    }
  }
  absl::StatusOr<std::shared_ptr<SSL_CTX>> context =
      MakeTlsContext(paths, chain, private_key.get(), authorities);
  if (!context.ok()) return context.status();
  X509* const own = chain.front().get();
  return TlsMaterial{.context = *std::move(context),
                     .subject = SubjectOf(own),
                     .not_before = NotBefore(own),
                     .not_after = NotAfter(own)};
}

}  // namespace vmeventd
