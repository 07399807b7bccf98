#include "client/doctor/tls_probe.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/openssl_ptr.h"
#include "base/system.h"
#include "client/connect/connection.h"
#include "client/connect/failure.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

// The result of a TLS handshake with a server.
struct TlsFinding {
  enum class Kind {
    kNone,       // no fault was found
    kBadFiles,   // `detail` is the sentence of LoadTlsFiles()
    kNoTls,      // the server speaks something else
    kUntrusted,  // its certificate failed verification: `error` is an X509_V_ERR_*, `detail` has
                 // details
    kRefused,    // the server refuses the client: `error` is its TLS alert, or the
                 // likely one if it sent none
    kNotHttp2,   // TLS, but not gRPC's protocol inside it
    kSilent,     // it did not answer in time
    kClosed,     // it closed the connection
    kFailed,     // `detail` is OpenSSL's error
  };
  Kind kind = Kind::kNone;
  int error = 0;
  int depth = 0;  // for kUntrusted: 0: the server's own certificate; more: an authority's
  std::string detail;
};

bool IsOfUnknownIssuer(int error) {
  static constexpr std::array kErrors = {
      X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT,     X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
      X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT,       X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
      X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_CERT_SIGNATURE_FAILURE};
  return absl::c_linear_search(kErrors, error);
}

std::string ExplainUntrusted(const ServerAddress& address, const TlsFinding& finding) {
  const std::string where = ToText(address);
  const std::string name =
      address.tls->server_name.empty() ? address.host : address.tls->server_name;
  const std::string whose = finding.depth == 0
                                ? absl::StrCat("the certificate of ", where)
                                : absl::StrCat("an authority above the certificate of ", where);
  if (IsOfUnknownIssuer(finding.error)) {
    // The cure is the same for whichever certificate of the chain is unknown.
    return absl::StrCat("the certificate of ", where, " was issued by ", finding.detail,
                        ", which --tls-ca ", EscapeForTerminal(address.tls->ca_file),
                        " does not contain: name the CA file of that server");
  }
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

// Returns one sentence without a full stop, safe for a terminal. Not for kNone.
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

using Kind = TlsFinding::Kind;

constexpr unsigned char kHttp2[] = {2, 'h', '2'};  // ALPN's encoding
constexpr size_t kMaxNames = 8;                    // the most names shown of a certificate

std::string TextOf(const ASN1_STRING* text) {
  return EscapeForTerminal(
      absl::string_view(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                        static_cast<size_t>(ASN1_STRING_length(text))));
}

std::string AddressOf(const ASN1_STRING* octets) {
  char text[INET6_ADDRSTRLEN] = "";
  const int family = ASN1_STRING_length(octets) == sizeof(in_addr) ? AF_INET : AF_INET6;
  const bool whole = family == AF_INET || ASN1_STRING_length(octets) == sizeof(in6_addr);
  if (!whole || inet_ntop(family, ASN1_STRING_get0_data(octets), text, sizeof(text)) == nullptr) {
    return "an unreadable address";
  }
  return text;
}

// The hosts named in a certificate.
std::string NamesOf(X509* certificate) {
  std::vector<std::string> texts;
  const GeneralNamesPtr names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    int type = 0;
    void* const value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), i), &type);
    if (type == GEN_DNS) texts.push_back(TextOf(static_cast<ASN1_STRING*>(value)));
    if (type == GEN_IPADD) texts.push_back(AddressOf(static_cast<ASN1_STRING*>(value)));
  }
  if (texts.empty()) return "no host at all";
  const size_t left_out = texts.size() - std::min(texts.size(), kMaxNames);
  texts.resize(texts.size() - left_out);
  return absl::StrCat(absl::StrJoin(texts, ", "),
                      left_out == 0 ? "" : absl::StrCat(" and ", left_out, " more"));
}

std::string DateOf(const ASN1_TIME* time) {
  tm fields{};
  if (ASN1_TIME_to_tm(time, &fields) != 1) return "an unknown time";
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", absl::FromTM(fields, absl::UTCTimeZone()),
                          absl::UTCTimeZone());
}

std::string CommonName(const X509_NAME* name) {
  const int index = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
  if (index < 0) return "an unnamed authority";
  return absl::StrCat("\"", TextOf(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, index))),
                      "\"");
}

// The details about a certificate that failed verification.
std::string DetailOf(int error, X509* certificate) {
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return DateOf(X509_get0_notAfter(certificate));
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return DateOf(X509_get0_notBefore(certificate));
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return NamesOf(certificate);
    default:
      return IsOfUnknownIssuer(error) ? CommonName(X509_get_issuer_name(certificate))
                                      : X509_verify_cert_error_string(error);
  }
}

// Stores the first fault of the server's chain in the finding attached to the SSL_CTX.
int NoteFault(int passed, X509_STORE_CTX* store) {
  if (passed == 1) return 1;
  const auto* ssl =
      static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto* finding = static_cast<TlsFinding*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  finding->kind = Kind::kUntrusted;
  finding->error = X509_STORE_CTX_get_error(store);
  finding->depth = X509_STORE_CTX_get_error_depth(store);
  if (X509* const certificate = X509_STORE_CTX_get_current_cert(store)) {
    finding->detail = DetailOf(finding->error, certificate);
  } else {
    finding->detail = X509_verify_cert_error_string(finding->error);
  }
  return 0;
}

// Called when the server requests a certificate; `asked` points to a bool.
int NoteQuestion(SSL* /*ssl*/, void* asked) {
  *static_cast<bool*>(asked) = true;
  return 1;
}

bool IsInDate(const X509* certificate) {
  return X509_cmp_current_time(X509_get0_notBefore(certificate)) < 0 &&
         X509_cmp_current_time(X509_get0_notAfter(certificate)) > 0;
}

// Returns whether the server's list of authorities, which may be empty, contains our certificate's
// issuer.
bool IsOfferedAuthority(SSL* ssl) {
  const STACK_OF(X509_NAME)* const offered = SSL_get0_peer_CA_list(ssl);
  if (sk_X509_NAME_num(offered) <= 0) return true;
  std::vector<const X509_NAME*> issuers = {X509_get_issuer_name(SSL_get_certificate(ssl))};
  STACK_OF(X509)* chain = nullptr;
  SSL_CTX_get0_chain_certs(SSL_get_SSL_CTX(ssl), &chain);
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    issuers.push_back(X509_get_issuer_name(sk_X509_value(chain, i)));
  }
  for (int i = 0; i < sk_X509_NAME_num(offered); ++i) {
    const X509_NAME* const one = sk_X509_NAME_value(offered, i);
    const auto is_one = [one](const X509_NAME* name) { return X509_NAME_cmp(name, one) == 0; };
    if (absl::c_any_of(issuers, is_one)) return true;
  }
  return false;
}

// Guesses why a server that requested a certificate closed the connection: gRPC's server sends no
// alert.
int LikelyAlert(SSL* ssl) {
  const X509* const own = SSL_get_certificate(ssl);
  if (own == nullptr) return SSL_AD_CERTIFICATE_REQUIRED;
  if (!IsInDate(own)) return SSL_AD_CERTIFICATE_EXPIRED;
  return IsOfferedAuthority(ssl) ? SSL_AD_CLOSE_NOTIFY : SSL_AD_UNKNOWN_CA;
}

SslContextPtr MakeContext() {
  SslContextPtr context(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_alpn_protos(context.get(), kHttp2, sizeof(kHttp2));
  return context;
}

// Sets the name that the certificate must have, and requests it from the server (SNI).
void ExpectName(SSL* ssl, const std::string& name) {
  X509_VERIFY_PARAM* const parameters = SSL_get0_param(ssl);
  if (X509_VERIFY_PARAM_set1_ip_asc(parameters, name.c_str()) == 1) return;
  ERR_clear_error();
  X509_VERIFY_PARAM_set1_host(parameters, name.data(), name.size());
  SSL_set_tlsext_host_name(ssl, name.c_str());
}

// Repeats an OpenSSL call until it completes. Empty: done.
template <typename Step>
std::optional<Kind> Drive(SSL* ssl, absl::Time deadline, Step step, unsigned long* error) {
  while (true) {
    ERR_clear_error();
    errno = 0;
    const int result = step();
    if (result > 0) return std::nullopt;
    const int wanted = SSL_get_error(ssl, result);
    *error = ERR_peek_error();
    if (wanted != SSL_ERROR_WANT_READ && wanted != SSL_ERROR_WANT_WRITE) {
      const bool closed = wanted == SSL_ERROR_ZERO_RETURN || wanted == SSL_ERROR_SYSCALL ||
                          ERR_GET_REASON(*error) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
      return closed ? Kind::kClosed : Kind::kFailed;
    }
    const auto left = absl::ToInt64Milliseconds(deadline - absl::Now());
    pollfd waiting = {SSL_get_fd(ssl),
                      static_cast<short>(wanted == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT), 0};
    if (left <= 0 || poll(&waiting, 1, static_cast<int>(left)) == 0) return Kind::kSilent;
  }
}

// The reason code of an alert that the peer sent is this plus the alert's number.
constexpr int kAlertOffset = SSL_AD_REASON_OFFSET;

bool IsNotTls(unsigned long error) {
  static constexpr std::array kReasons = {SSL_R_WRONG_VERSION_NUMBER, SSL_R_HTTP_REQUEST,
                                          SSL_R_HTTPS_PROXY_REQUEST, SSL_R_PACKET_LENGTH_TOO_LONG};
  return ERR_GET_LIB(error) == ERR_LIB_SSL &&
         absl::c_linear_search(kReasons, ERR_GET_REASON(error));
}

void Classify(Kind kind, unsigned long error, TlsFinding* finding) {
  if (finding->kind != Kind::kNone) return;  // the certificate's fault caused this
  finding->kind = kind;
  if (kind != Kind::kFailed) return;
  const int reason = ERR_GET_REASON(error);
  if (IsNotTls(error)) {
    finding->kind = Kind::kNoTls;
  } else if (ERR_GET_LIB(error) == ERR_LIB_SSL && reason >= kAlertOffset &&
             reason < kAlertOffset + 256) {
    finding->kind = Kind::kRefused;
    finding->error = reason - kAlertOffset;
  } else {
    const char* const words = ERR_reason_error_string(error);
    finding->detail = words == nullptr ? absl::StrCat("error ", error) : words;
  }
}

// Does the client's handshake on a connected non-blocking socket.
TlsFinding ProbeTls(int socket, const ServerAddress& address, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  TlsFinding finding;
  const absl::StatusOr<TlsMaterial> material = LoadTlsFiles(*address.tls);
  if (!material.ok()) {
    finding.kind = Kind::kBadFiles;
    finding.detail = std::string(material.status().message());
    return finding;
  }
  const SslContextPtr context = MakeContext();
  SSL_CTX_set_app_data(context.get(), &finding);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, NoteFault);
  // The files were checked already; what fails here fails again in the handshake.
  const TlsOptions& files = *address.tls;
  SSL_CTX_load_verify_locations(context.get(), files.ca_file.c_str(), nullptr);
  if (!files.cert_file.empty()) {
    SSL_CTX_use_certificate_chain_file(context.get(), files.cert_file.c_str());
    SSL_CTX_use_PrivateKey_file(context.get(), files.key_file.c_str(), SSL_FILETYPE_PEM);
  }
  bool asked = false;
  SSL_CTX_set_cert_cb(context.get(), NoteQuestion, &asked);
  const SslPtr ssl(SSL_new(context.get()));
  SSL_set_fd(ssl.get(), socket);
  ExpectName(ssl.get(), address.tls->server_name.empty() ? address.host : address.tls->server_name);
  unsigned long error = 0;
  std::optional<Kind> fault = Drive(
      ssl.get(), deadline, [&] { return SSL_connect(ssl.get()); }, &error);
  if (!fault) {
    // A TLS 1.3 server refuses the client after the client's handshake is complete; a server that
    // accepts sends its HTTP/2 settings.
    char byte = 0;
    fault = Drive(
        ssl.get(), deadline, [&] { return SSL_read(ssl.get(), &byte, 1); }, &error);
    const unsigned char* protocol = nullptr;
    unsigned protocol_size = 0;
    SSL_get0_alpn_selected(ssl.get(), &protocol, &protocol_size);
    if (protocol_size == 0 && fault != Kind::kFailed && !asked) fault = Kind::kNotHttp2;
  }
  if (fault) Classify(*fault, error, &finding);
  if (finding.kind == Kind::kClosed && asked) {
    finding.kind = Kind::kRefused;
    finding.error = LikelyAlert(ssl.get());
  }
  ERR_clear_error();
  return finding;
}

// Returns whether a server that was contacted without TLS speaks it.
bool SpeaksTls(int socket, absl::Duration timeout) {
  const SslContextPtr context = MakeContext();
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
  const SslPtr ssl(SSL_new(context.get()));
  SSL_set_fd(ssl.get(), socket);
  unsigned long error = 0;
  const auto fault = Drive(
      ssl.get(), absl::Now() + timeout, [&] { return SSL_connect(ssl.get()); }, &error);
  TlsFinding finding;
  if (fault) Classify(*fault, error, &finding);
  ERR_clear_error();
  // An alert is TLS as well.
  return !fault || finding.kind == Kind::kRefused;
}

}  // namespace

std::string ExplainTlsFault(const ServerAddress& address) {
  constexpr absl::Duration kTimeout = absl::Seconds(2);
  int error = 0;
  const UniqueFd socket = ConnectTcp(address, &error);
  if (error != 0) return "";
  if (!address.tls) {
    if (!SpeaksTls(socket.get(), kTimeout)) return "";
    return absl::StrCat(ToText(address),
                        " speaks TLS: name the CA of its certificate with --tls-ca FILE");
  }
  const TlsFinding finding = ProbeTls(socket.get(), address, kTimeout);
  return finding.kind == Kind::kNone ? "" : ExplainTls(address, finding);
}

}  // namespace vmeventd::client
