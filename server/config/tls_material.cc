#include "server/config/tls_material.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/do_within.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"

namespace vmeventd {
namespace {

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

// The flag of a file, its path, and what it must be.
struct PemFile {
  const char* flag;
  const std::string& path;
  std::string rule;
};

// Checks that the file can be read without waiting, which OpenSSL's own functions do at a FIFO.
absl::Status CheckFile(const PemFile& file) {
  struct stat info {};
  const UniqueFd fd(open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid() || fstat(fd.get(), &info) != 0) {
    const absl::Status status = ErrnoStatus(file.path, "cannot be read", errno);
    return absl::Status(status.code(), absl::StrCat(file.flag, ": ", status.message()));
  }
  if (S_ISREG(info.st_mode)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(file.flag, ": ", file.path, ": is not a regular file"));
}

// The file with the first error of OpenSSL: later ones repeat it in general terms.
absl::Status Refused(const PemFile& file) {
  const char* const reason = ERR_reason_error_string(ERR_peek_error());
  ERR_clear_error();
  return absl::InvalidArgumentError(absl::StrCat(file.flag, ": ", file.path, ": cannot be used: ",
                                                 reason == nullptr ? "unknown error" : reason,
                                                 "; it must hold ", file.rule));
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

// Makes the context require a certificate of one of the file's authorities.
absl::Status UseAuthorities(const PemFile& file, SSL_CTX* context) {
  if (absl::Status status = CheckFile(file); !status.ok()) return status;
  X509_STORE* const store = SSL_CTX_get_cert_store(context);
  if (X509_STORE_load_file(store, file.path.c_str()) != 1) return Refused(file);
  const STACK_OF(X509_OBJECT)* const authorities = X509_STORE_get0_objects(store);
  bool has_authority = false;
  for (int i = 0; i < sk_X509_OBJECT_num(authorities); ++i) {
    X509* const authority = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(authorities, i));
    if (authority == nullptr) continue;  // a revocation list
    if (EVP_PKEY_get_security_bits(X509_get0_pubkey(authority)) < kSecurityBits) {
      ERR_raise(ERR_LIB_SSL, SSL_R_CA_KEY_TOO_SMALL);
      return Refused(file);
    }
    if (SSL_CTX_add_client_CA(context, authority) != 1) return Refused(file);
    has_authority = true;
  }
  if (!has_authority) {
    ERR_raise(ERR_LIB_X509, X509_R_NO_CERTIFICATE_FOUND);
    return Refused(file);
  }
  // An authority that is no root is trusted by itself, without its root.
  X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return absl::OkStatus();
}

}  // namespace

// The context of the server's handshakes: HTTP/2 over TLS 1.2 or newer. There is no session
// resumption and no renegotiation.
absl::StatusOr<TlsMaterial> ReadTlsMaterial(const TlsPaths& paths) {
  const PemFile cert = {"--tls-cert", paths.cert,
                        "a certificate in PEM, beginning with -----BEGIN CERTIFICATE-----, with a "
                        "key of at least 2048 bits (RSA) or 224 (EC), and signed with SHA-256 or "
                        "better"};
  const PemFile key = {"--tls-key", paths.key,
                       absl::StrCat("the private key of the certificate in ", paths.cert,
                                    ", in PEM and without a password")};
  const PemFile client_ca = {"--tls-client-ca", paths.client_ca,
                             "the certificates in PEM of the authorities that clients' "
                             "certificates come from, with keys of at least 2048 bits (RSA) or 224 "
                             "(EC)"};
  ERR_clear_error();
  const std::shared_ptr<SSL_CTX> out(SSL_CTX_new(TLS_server_method()), &SSL_CTX_free);
  SSL_CTX* const context = out.get();
  if (context == nullptr || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
      SSL_CTX_set_cipher_list(context, kCiphers12) != 1) {
    return absl::InternalError("OpenSSL cannot be set up");
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
  // An encrypted key must not ask for its password on the terminal.
  SSL_CTX_set_default_passwd_cb(context, [](char*, int, int, void*) { return -1; });
  absl::Status status = CheckFile(cert);
  if (status.ok()) status = CheckFile(key);
  if (!status.ok()) return status;
  if (SSL_CTX_use_certificate_chain_file(context, paths.cert.c_str()) != 1) return Refused(cert);
  // A key of another type than the certificate's is taken without a comparison.
  if (SSL_CTX_use_PrivateKey_file(context, paths.key.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context) != 1) {
    return Refused(key);
  }
  if (!paths.client_ca.empty()) status = UseAuthorities(client_ca, context);
  if (!status.ok()) return status;
  const X509* const own = SSL_CTX_get0_certificate(context);
  char subject[256] = {};
  X509_NAME_oneline(X509_get_subject_name(own), subject, sizeof(subject));
  return TlsMaterial{.context = out,
                     .subject = subject,
                     .not_before = ToTime(X509_get0_notBefore(own), absl::InfinitePast()),
                     .not_after = ToTime(X509_get0_notAfter(own), absl::InfiniteFuture())};
}

absl::StatusOr<TlsMaterial> LoadTlsMaterial(const TlsPaths& paths) {
  const auto read = std::make_shared<absl::StatusOr<TlsMaterial>>();
  const bool answers =
      DoWithin(kFileSystemPatience, [paths, read] { *read = ReadTlsMaterial(paths); });
  return answers ? std::move(*read) : TlsFilesHang(paths);
}

absl::Status TlsFilesHang(const TlsPaths& paths) {
  return absl::DeadlineExceededError(absl::StrCat("--tls-cert, --tls-key: the file system of ",
                                                  paths.cert, " and ", paths.key,
                                                  " does not answer"));
}

}  // namespace vmeventd
