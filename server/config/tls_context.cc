#include "server/config/tls_context.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

// As gRPC has them: forward secrecy and authenticated encryption. TLS 1.3 has no others.
constexpr char kCiphers12[] =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384";
constexpr int kSecurityLevel = 2;  // 112 bits: RSA from 2,048 bits on, no SHA-1
constexpr int kSecurityBits = 112;
constexpr long kMaxClientChain = 32 << 10;  // bytes of a client's certificates

// The error of OpenSSL that came last.
std::string Reason() {
  const char* const reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return reason == nullptr ? "unknown error" : reason;
}

absl::Status Refused(const char* flag, const std::string& path) {
  return absl::InvalidArgumentError(
      absl::StrCat(flag, ": ", path, ": OpenSSL does not use it: ", Reason(),
                   "; keys need at least 2048 bits (RSA) or 224 (EC), and signatures SHA-256 or "
                   "better"));
}

// Takes HTTP/2, which every client of gRPC offers.
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
                       ": OpenSSL does not use it: ca key too small; keys need at least 2048 bits "
                       "(RSA) or 224 (EC)"));
    }
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(context), authority.get()) != 1 ||
        SSL_CTX_add_client_CA(context, authority.get()) != 1) {
      return Refused("--tls-client-ca", paths.client_ca);
    }
  }
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return absl::OkStatus();
}

}  // namespace

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

}  // namespace vmeventd
