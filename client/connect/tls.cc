#include "client/connect/tls.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/openssl_ptr.h"
#include "base/system.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

constexpr size_t kMaxFileBytes = 4 << 20;  // a distribution's authorities take 250 KiB

// The PEM file of one option.
struct PemFile {
  const char* option;
  const std::string& path;
};

absl::Status Wrong(const PemFile& file, absl::string_view what) {
  return absl::FailedPreconditionError(
      absl::StrCat(file.option, ": ", EscapeForTerminal(file.path), " ", what));
}

std::string OpenFault(int error) {
  if (error == ENOENT || error == ENOTDIR) return "does not exist: check the path";
  if (error == EACCES || error == EPERM) {
    return "may not be read (permission denied): let the user who runs vmevents read it";
  }
  return absl::StrCat("cannot be read (", strerror(error), ")");
}

absl::StatusOr<std::string> ReadPem(const PemFile& file) {
  // Non-blocking: a FIFO in the file's place is reported instead of waited for.
  const UniqueFd opened(open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!opened.valid()) return Wrong(file, OpenFault(errno));
  struct stat info {};
  if (fstat(opened.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return Wrong(file, "is not a regular file: name the PEM file itself");
  }
  absl::StatusOr<std::string> text = ReadSmallFile(opened.get(), file.path, kMaxFileBytes + 1);
  if (!text.ok()) {
    return Wrong(file, absl::StrCat("cannot be read (", text.status().message(), ")"));
  }
  if (text->size() > kMaxFileBytes) {
    return Wrong(file, "is too large for a PEM file of certificates: check the path");
  }
  if (text->empty()) return Wrong(file, "is empty: it must contain PEM text");
  return text;
}

BioPtr Reader(const std::string& text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// The text's first certificate; null: there is none.
X509Ptr FirstCertificate(const std::string& text) {
  const BioPtr reader = Reader(text);
  X509Ptr certificate(PEM_read_bio_X509(reader.get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  return certificate;
}

bool HoldsKey(const std::string& text) { return absl::StrContains(text, "PRIVATE KEY-----"); }

absl::Status NoCertificate(const PemFile& file, const std::string& text) {
  if (HoldsKey(text)) {
    return Wrong(file, "holds a private key and no certificate: swap the two files");
  }
  if (absl::StrContains(text, "-----BEGIN CERTIFICATE-----")) {
    return Wrong(file, "holds a damaged certificate: copy the file again");
  }
  return Wrong(file,
               "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----): `openssl x509 "
               "-inform der -in FILE` makes PEM of DER");
}

// Refuses to ask for a passphrase: programs that run vmevents could not answer.
int RefusePassphrase(char* /*buffer*/, int /*size*/, int /*writing*/, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

absl::StatusOr<KeyPtr> ParseKey(const PemFile& file, const std::string& text) {
  bool encrypted = false;
  const BioPtr reader = Reader(text);
  KeyPtr key(PEM_read_bio_PrivateKey(reader.get(), nullptr, RefusePassphrase, &encrypted));
  ERR_clear_error();
  if (key != nullptr) return key;
  if (encrypted) {
    return Wrong(file,
                 "holds a key with a passphrase, which vmevents does not ask for: `openssl pkey "
                 "-in FILE` writes it without one");
  }
  if (HoldsKey(text)) return Wrong(file, "holds a damaged private key: copy the file again");
  if (FirstCertificate(text) != nullptr) {
    return Wrong(file, "holds a certificate and no private key: swap the two files");
  }
  return Wrong(file, "holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)");
}

}  // namespace

absl::StatusOr<TlsMaterial> LoadTlsFiles(const TlsOptions& options) {
  const PemFile ca_file = {"--tls-ca", options.ca_file};
  const absl::StatusOr<std::string> ca = ReadPem(ca_file);
  if (!ca.ok()) return ca.status();
  if (FirstCertificate(*ca) == nullptr) return NoCertificate(ca_file, *ca);
  if (options.cert_file.empty()) return TlsMaterial{*ca, "", ""};

  const PemFile cert_file = {"--tls-cert", options.cert_file};
  const absl::StatusOr<std::string> certificate_text = ReadPem(cert_file);
  if (!certificate_text.ok()) return certificate_text.status();
  const X509Ptr certificate = FirstCertificate(*certificate_text);
  if (certificate == nullptr) return NoCertificate(cert_file, *certificate_text);

  const PemFile key_file = {"--tls-key", options.key_file};
  const absl::StatusOr<std::string> key_text = ReadPem(key_file);
  if (!key_text.ok()) return key_text.status();
  const absl::StatusOr<KeyPtr> key = ParseKey(key_file, *key_text);
  if (!key.ok()) return key.status();
  const bool match = X509_check_private_key(certificate.get(), key->get()) == 1;
  ERR_clear_error();
  if (!match) {
    return Wrong(key_file, absl::StrCat("does not belong to the certificate ",
                                        EscapeForTerminal(options.cert_file),
                                        ": name the key that the certificate was made for"));
  }
  return TlsMaterial{*ca, *certificate_text, *key_text};
}

}  // namespace vmeventd::client
