#include "client/connect/tls_probe.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "absl/strings/str_cat.h"
#include "base/openssl_ptr.h"
#include "base/unique_fd.h"
#include "client/connect/probe_socket.h"
#include "client/connect/tls_files.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

constexpr unsigned char kHttp2[] = {2, 'h', '2'};  // ALPN's encoding

std::string ExplainUntrusted(const ServerAddress& address, long error) {
  std::string fix = absl::StrCat("name the CA file of that server; --tls-ca ",
                                 EscapeForTerminal(address.tls->ca_file), " has no such CA");
  if (error == X509_V_ERR_CERT_HAS_EXPIRED || error == X509_V_ERR_CERT_NOT_YET_VALID) {
    fix = "renew it, or the authority above it, or set the clock of this machine";
  } else if (error == X509_V_ERR_HOSTNAME_MISMATCH || error == X509_V_ERR_IP_ADDRESS_MISMATCH) {
    fix =
        absl::StrCat("use its host in --server, or give it with --tls-server-name; it is not for ",
                     EscapeForTerminal(address.tls_name()));
  } else if (error == X509_V_ERR_INVALID_PURPOSE) {
    fix = "issue one for servers (extended key usage serverAuth)";
  }
  return absl::StrCat("the certificate of ", ToText(address),
                      " is not trusted: ", X509_verify_cert_error_string(error), ": ", fix);
}

// The server's certificate is judged after the handshake, so that a fault of the client's is found
// as well. Sets `asked` once the server asks for a certificate of the client.
SslPtr MakeClient(const ServerAddress& address, SSL_CTX* context, int socket, bool* asked) {
  SSL_CTX_set_alpn_protos(context, kHttp2, sizeof(kHttp2));
  const auto note_question = [](SSL* /*ssl*/, void* out) {
    *static_cast<bool*>(out) = true;
    return 1;
  };
  SSL_CTX_set_cert_cb(context, note_question, asked);
  SslPtr ssl(SSL_new(context));
  SSL_set_fd(ssl.get(), socket);
  if (!address.tls) return ssl;
  // The name that the certificate must have, which the server is also asked for (SNI).
  const std::string& name = address.tls_name();
  X509_VERIFY_PARAM* const parameters = SSL_get0_param(ssl.get());
  if (X509_VERIFY_PARAM_set1_ip_asc(parameters, name.c_str()) != 1) {
    X509_VERIFY_PARAM_set1_host(parameters, name.data(), name.size());
    SSL_set_tlsext_host_name(ssl.get(), name.c_str());
  }
  return ssl;
}

}  // namespace

std::string ExplainTlsFault(const ServerAddress& address) {
  const auto context = LoadTlsFiles(address.tls.value_or(TlsOptions()));
  if (!context.ok()) return std::string(context.status().message());
  const absl::StatusOr<UniqueFd> socket = ConnectTcp(address);
  if (!socket.ok()) return "";  // TLS is not the fault
  bool asked = false;
  const SslPtr ssl = MakeClient(address, context->get(), socket->get(), &asked);
  ERR_clear_error();
  int result = SSL_connect(ssl.get());
  const bool connected = result == 1;
  // A TLS 1.3 server refuses the client after the client's handshake; one that accepts sends its
  // HTTP/2 settings.
  char byte = 0;
  if (connected) result = SSL_read(ssl.get(), &byte, 1);
  const bool silent = SSL_get_error(ssl.get(), result) == SSL_ERROR_WANT_READ;
  const unsigned long error = ERR_peek_error();
  ERR_clear_error();
  const int reason = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
  const bool is_alert = reason >= SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256;
  const char* const words = ERR_reason_error_string(error);
  // gRPC's server sends no alert: it closes the connection.
  const absl::string_view how = silent             ? "no answer in time"
                                : words == nullptr ? "it closed the connection"
                                                   : words;
  const std::string where = ToText(address);
  if (!address.tls) {
    if (!connected && !is_alert) return "";
    return absl::StrCat(where, " speaks TLS: name the CA of its certificate with --tls-ca FILE");
  }
  const long verified = SSL_get_verify_result(ssl.get());
  const X509Ptr certificate(SSL_get1_peer_certificate(ssl.get()));
  if (certificate != nullptr && verified != X509_V_OK) {
    return ExplainUntrusted(address, verified);
  }
  const unsigned char* protocol = nullptr;
  unsigned protocol_size = 0;
  SSL_get0_alpn_selected(ssl.get(), &protocol, &protocol_size);
  if (connected && protocol_size == 0) {
    return absl::StrCat("another program speaks TLS on ", where, ", but not gRPC as vmeventd does");
  }
  if (result > 0) return "";
  if (asked && SSL_get_certificate(ssl.get()) == nullptr) {
    return absl::StrCat(where,
                        " asks for a certificate of the client: give --tls-cert and --tls-key");
  }
  if (asked && !silent) {
    return absl::StrCat(
        where, " refuses the certificate of --tls-cert ", EscapeForTerminal(address.tls->cert_file),
        " (", how, "): give a valid client certificate from the CA in vmeventd's --tls-client-ca");
  }
  if (reason != 0 && !is_alert && reason != SSL_R_UNEXPECTED_EOF_WHILE_READING) {
    return absl::StrCat(where,
                        " does not speak TLS: remove --tls-ca, or start vmeventd with "
                        "--tls-cert and --tls-key");
  }
  return absl::StrCat("the TLS handshake with ", where, " failed (", how,
                      "): it may be stopping, at its limit of connections, or not speak TLS");
}

}  // namespace vmeventd::client
