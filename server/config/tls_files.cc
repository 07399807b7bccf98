#include "server/config/tls_files.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/openssl_ptr.h"
#include "base/system.h"
#include "spdlog/spdlog.h"

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

absl::Time ToTime(const ASN1_TIME* time, absl::Time unreadable) {
  tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return unreadable;
  return absl::FromTM(parts, absl::UTCTimeZone());
}

// Ciphers of gRPC: forward secrecy and authenticated encryption. TLS 1.3 has no others.
constexpr char kCiphers12[] =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384";
constexpr int kSecurityLevel = 2;  // 112 bits: RSA from 2,048 bits on, no SHA-1
constexpr int kSecurityBits = 112;
constexpr long kMaxClientChain = 32 << 10;  // bytes of a client's certificates

// The last error of OpenSSL.
std::string Reason() {
  const char* const reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return reason == nullptr ? "unknown error" : reason;
}

absl::Status Refused(const char* flag, const std::string& path) {
  return absl::InvalidArgumentError(
      absl::StrCat(flag, ": ", path, ": OpenSSL refuses it: ", Reason(),
                   "; keys need at least 2048 bits (RSA) or 224 (EC), and signatures SHA-256 or "
                   "better"));
}

// Selects HTTP/2, which every client of gRPC offers.
int SelectHttp2(SSL*, const unsigned char** selected, unsigned char* selected_size,
                const unsigned char* offered, unsigned int offered_size, void*) {
  static constexpr unsigned char kHttp2[] = {2, 'h', '2'};
  unsigned char* found = nullptr;
  if (SSL_select_next_proto(&found, selected_size, kHttp2, sizeof(kHttp2), offered, offered_size) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *selected = found;
  return SSL_TLSEXT_ERR_OK;
}

absl::Status UseAuthorities(const TlsPaths& paths, const std::vector<X509Ptr>& authorities,
                            SSL_CTX* context) {
  for (const X509Ptr& authority : authorities) {
    if (EVP_PKEY_get_security_bits(X509_get0_pubkey(authority.get())) < kSecurityBits) {
      return absl::InvalidArgumentError(
          absl::StrCat("--tls-client-ca: ", paths.client_ca,
                       ": OpenSSL refuses it: ca key too small; keys need at least 2048 bits "
                       "(RSA) or 224 (EC)"));
    }
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(context), authority.get()) != 1 ||
        SSL_CTX_add_client_CA(context, authority.get()) != 1) {
      return Refused("--tls-client-ca", paths.client_ca);
    }
  }
  // An authority that is no root is trusted as it stands, without its root.
  X509_STORE_set_flags(SSL_CTX_get_cert_store(context), X509_V_FLAG_PARTIAL_CHAIN);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return absl::OkStatus();
}

// Context of the server's handshakes: HTTP/2 over TLS 1.2 or newer, with the certificates of
// `chain` (its own first) and its key. With `authorities`, a client must show a certificate of one
// of them. There is no session resumption and no renegotiation.
absl::StatusOr<std::shared_ptr<SSL_CTX>> MakeTlsContext(const TlsPaths& paths,
                                                        const std::vector<X509Ptr>& chain,
                                                        EVP_PKEY* key,
                                                        const std::vector<X509Ptr>& authorities) {
  ERR_clear_error();
  const std::shared_ptr<SSL_CTX> out(SSL_CTX_new(TLS_server_method()), &SSL_CTX_free);
  SSL_CTX* const context = out.get();
  if (context == nullptr || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
      SSL_CTX_set_cipher_list(context, kCiphers12) != 1) {
    return absl::InternalError(absl::StrCat("OpenSSL cannot be set up: ", Reason()));
  }
  SSL_CTX_set_security_level(context, kSecurityLevel);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
                                   SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_max_cert_list(context, kMaxClientChain);
  SSL_CTX_set_alpn_select_cb(context, &SelectHttp2, nullptr);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);  // a flood of TLS's own messages ends a read
  for (const X509Ptr& certificate : chain) {
    const bool used = certificate == chain.front()
                          ? SSL_CTX_use_certificate(context, certificate.get()) == 1
                          : SSL_CTX_add1_chain_cert(context, certificate.get()) == 1;
    if (!used) return Refused("--tls-cert", paths.cert);
  }
  if (SSL_CTX_use_PrivateKey(context, key) != 1) return Refused("--tls-key", paths.key);
  if (authorities.empty()) return out;
  if (absl::Status status = UseAuthorities(paths, authorities, context); !status.ok()) {
    return status;
  }
  return out;
}

constexpr absl::Duration kLookInterval = absl::Seconds(1);

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
  char subject[256] = {};
  X509_NAME_oneline(X509_get_subject_name(own), subject, sizeof(subject));
  return TlsMaterial{.context = *std::move(context),
                     .subject = subject,
                     .not_before = ToTime(X509_get0_notBefore(own), absl::InfinitePast()),
                     .not_after = ToTime(X509_get0_notAfter(own), absl::InfiniteFuture())};
}

absl::StatusOr<std::unique_ptr<TlsFiles>> TlsFiles::Open(const TlsPaths& paths,
                                                         const Clock* clock) {
  std::unique_ptr<TlsFiles> out(new TlsFiles(paths, clock));
  const MutexLock lock(&out->mutex_);
  if (absl::Status status = out->ReadLocked(); !status.ok()) return status;
  return out;
}

std::string TlsFiles::Fingerprint() const {
  std::string out;
  for (const std::string* path : {&paths_.cert, &paths_.key, &paths_.client_ca}) {
    struct stat info {};
    if (stat(path->c_str(), &info) != 0) info = {};
    absl::StrAppend(&out, info.st_dev, " ", info.st_ino, " ", info.st_size, " ",
                    info.st_mtim.tv_sec, " ", info.st_mtim.tv_nsec, " ", info.st_ctim.tv_sec, " ",
                    info.st_ctim.tv_nsec, "\n");
  }
  return out;
}

absl::Status TlsFiles::ReadLocked() {
  fingerprint_ = Fingerprint();  // taken first, so that changes during the read cause another one
  absl::StatusOr<TlsMaterial> read = LoadTlsMaterial(paths_);
  if (!read.ok()) return read.status();
  material_ = std::make_shared<const TlsMaterial>(*std::move(read));
  const bool expired = material_->not_after <= clock_->Now().wall;
  spdlog::log(expired ? spdlog::level::err : spdlog::level::info, "TLS certificate {} of {} {} {}",
              material_->subject, paths_.cert,
              expired ? "has expired, and clients refuse it: replace it; it was valid until"
                      : "is in use; valid until",
              absl::FormatTime(absl::RFC3339_sec, material_->not_after, absl::UTCTimeZone()));
  return absl::OkStatus();
}

absl::Status TlsFiles::ReadAgainLocked() {
  absl::Status status = ReadLocked();
  usable_ = status.ok();
  if (!status.ok()) {
    reload_failures_.Add();
    spdlog::error("{}; the previous certificate stays in use", std::string(status.message()));
  }
  return status;
}

std::shared_ptr<const TlsMaterial> TlsFiles::Current() {
  const MutexLock lock(&mutex_);
  const absl::Duration now = clock_->Now().monotonic;
  if (now - looked_at_ >= kLookInterval) {
    looked_at_ = now;
    if (Fingerprint() != fingerprint_) ReadAgainLocked().IgnoreError();  // it has been logged
  }
  return material_;
}

}  // namespace vmeventd
