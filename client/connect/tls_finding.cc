#include "client/connect/tls_finding.h"

#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "absl/strings/str_cat.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

std::string ExplainUntrusted(const ServerAddress& address, const TlsFinding& finding) {
  const std::string where = ToText(address);
  const std::string name =
      address.tls->server_name.empty() ? address.host : address.tls->server_name;
  const std::string whose = finding.depth == 0
                                ? absl::StrCat("the certificate of ", where)
                                : absl::StrCat("an authority above the certificate of ", where);
  switch (finding.error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return absl::StrCat(whose, " expired at ", finding.detail,
                          ": renew it there, or set this machine's clock");
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return absl::StrCat(whose, " is not valid before ", finding.detail,
                          ": set the clock of this machine or of the server");
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return absl::StrCat(whose, " is for ", finding.detail, " and not for ",
                          EscapeForTerminal(name),
                          ": use that name in --server, or give the server's name with "
                          "--tls-server-name");
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      // The cure is the same for whichever certificate of the chain is unknown.
      return absl::StrCat("the certificate of ", where, " was issued by ", finding.detail,
                          ", which --tls-ca ", EscapeForTerminal(address.tls->ca_file),
                          " does not contain: name the CA file of that server");
    case X509_V_ERR_INVALID_PURPOSE:
      return absl::StrCat(whose,
                          " is not one for servers (its extended key usage): issue one "
                          "with serverAuth");
    default:
      return absl::StrCat(whose, " is not trusted (", finding.detail, ")");
  }
}

std::string ExplainRefused(const ServerAddress& address, int alert) {
  const std::string where = ToText(address);
  const bool shown = !address.tls->cert_file.empty();
  const std::string own = absl::StrCat("--tls-cert ", EscapeForTerminal(address.tls->cert_file));
  switch (alert) {
    case SSL_AD_CERTIFICATE_EXPIRED:
      return absl::StrCat(where, " refuses the certificate of ", own,
                          ": it has expired, or is not valid yet; renew it");
    case SSL_AD_UNKNOWN_CA:
      return absl::StrCat(where, " does not know the issuer of ", own,
                          ": name a certificate of the CA that vmeventd has as --tls-client-ca");
    case SSL_AD_PROTOCOL_VERSION:
    case SSL_AD_INSUFFICIENT_SECURITY:
      return absl::StrCat(where, " speaks no version of TLS that vmevents accepts (1.2 or later)");
    case SSL_AD_UNRECOGNIZED_NAME:
      return absl::StrCat(where,
                          " does not know the requested name: give the server's name with "
                          "--tls-server-name");
    case SSL_AD_CLOSE_NOTIFY:
      return absl::StrCat(
          where, " closed the connection after asking for the certificate of ", own,
          ": it is stopping, or the certificate is not a client certificate of the CA "
          "that vmeventd has as --tls-client-ca");
    case SSL_AD_CERTIFICATE_REQUIRED:
    case SSL_AD_HANDSHAKE_FAILURE:
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_ACCESS_DENIED:
      if (!shown) {
        return absl::StrCat(where,
                            " asks for a certificate of the client: give --tls-cert and "
                            "--tls-key");
      }
      return absl::StrCat(where, " refuses the certificate of ", own, " (",
                          SSL_alert_desc_string_long(alert),
                          "): name a client certificate of the CA that vmeventd has as "
                          "--tls-client-ca");
    default:
      return absl::StrCat(where, " refuses the TLS handshake (", SSL_alert_desc_string_long(alert),
                          ")");
  }
}

}  // namespace

std::string ExplainTls(const ServerAddress& address, const TlsFinding& finding) {
  const std::string where = ToText(address);
  switch (finding.kind) {
    case TlsFinding::Kind::kBadFiles:
      return finding.detail;
    case TlsFinding::Kind::kNoTls:
      return absl::StrCat(where,
                          " does not speak TLS: leave --tls-ca out, or start vmeventd with "
                          "--tls-cert and --tls-key");
    case TlsFinding::Kind::kUntrusted:
      return ExplainUntrusted(address, finding);
    case TlsFinding::Kind::kRefused:
      return ExplainRefused(address, finding.error);
    case TlsFinding::Kind::kNotHttp2:
      return absl::StrCat("another program speaks TLS on ", where,
                          ", but not gRPC as vmeventd does");
    case TlsFinding::Kind::kSilent:
      return absl::StrCat(where, " did not answer the TLS handshake in time: try again");
    case TlsFinding::Kind::kClosed:
      return absl::StrCat(where,
                          " closed the connection during the TLS handshake: it is "
                          "stopping, is at its limit of connections, or does not speak TLS");
    default:
      return absl::StrCat("the TLS handshake with ", where, " failed (",
                          EscapeForTerminal(finding.detail), ")");
  }
}

}  // namespace vmeventd::client
