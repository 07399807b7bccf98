#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <microhttpd.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/errno_status.h"
#include "base/loopback.h"
#include "base/openssl_ptr.h"
#include "base/shared_library.h"
#include "base/unique_fd.h"
#include "client/cli/option_file.h"
#include "client/connect/host_addresses.h"
#include "client/connect/stop_source.h"
#include "client/run/console.h"
#include "client/run/run.h"
#include "client/run/stop_signals.h"
#include "client/web/api.h"

// `vmevents web`: serves the API by HTTP, a thread for each connection.

namespace vmeventd::client {
namespace {

constexpr unsigned kMaxConnections = WebApi::kMaxStreams + 64;
constexpr size_t kConnectionBytes = 32 << 10;  // memory of a connection, with its headers
constexpr unsigned kIdleSeconds = 10;
constexpr unsigned kStreamSeconds = 60;  // time-out of a stream that is not read
constexpr size_t kBlock = 16 << 10;      // limit of what is sent at once
constexpr size_t kMinToken = 16;

// Libraries that are loaded by this command alone: libmicrohttpd, and GnuTLS, which it uses.
void* libmicrohttpd = nullptr;
void* libgnutls = nullptr;
#define MHD(name) VMEVENTD_FUNCTION_OF(libmicrohttpd, MHD_##name)

absl::Status LoadHttp() {
  for (const auto& [library, file] : {std::pair(&libmicrohttpd, "libmicrohttpd.so.12"),
                                      std::pair(&libgnutls, "libgnutls.so.30")}) {
    const absl::StatusOr<void*> loaded =
        LoadSharedLibrary(file, "install the Debian package libmicrohttpd12 or libmicrohttpd12t64");
    if (!loaded.ok()) return loaded.status();
    *library = *loaded;
  }
  return absl::OkStatus();
}

// Headers of every answer. The page loads nothing from elsewhere and runs no script but its file.
constexpr std::pair<const char*, const char*> kHeaders[] = {
    {"Allow", "GET, HEAD"},
    {"Cache-Control", "no-store"},
    {"Content-Security-Policy",
     "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
     "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
    {"Referrer-Policy", "no-referrer"},
    {"X-Accel-Buffering", "no"},  // nginx would hold the event stream back
    {"X-Content-Type-Options", "nosniff"},
    {"X-Frame-Options", "DENY"},
};

MHD_Result Send(MHD_Connection* connection, WebAnswer answer) {
  MHD_Response* response = nullptr;
  // The time that the list took does not count as the client's: 0 restarts the count.
  MHD(set_connection_option)(connection, MHD_CONNECTION_OPTION_TIMEOUT, 0U);
  MHD(set_connection_option)
  (connection, MHD_CONNECTION_OPTION_TIMEOUT,
   answer.stream != nullptr ? kStreamSeconds : kIdleSeconds);
  if (answer.stream != nullptr) {
    answer.stream->set_socket(
        MHD(get_connection_info)(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd);
    response = MHD(create_response_from_callback)(
        MHD_SIZE_UNKNOWN, kBlock,
        [](void* stream, uint64_t /*position*/, char* buffer, size_t size) -> ssize_t {
          return static_cast<EventStream*>(stream)->Read(buffer, size);  // -1 is the end here too
        },
        answer.stream.release(), [](void* stream) { delete static_cast<EventStream*>(stream); });
  } else {
    auto* const body = new std::string(std::move(answer.body));
    response = MHD(create_response_from_buffer_with_free_callback_cls)(
        body->size(), body->data(), [](void* held) { delete static_cast<std::string*>(held); },
        body);
  }
  if (response == nullptr) return MHD_NO;
  const absl::Cleanup destroy = [response] { MHD(destroy_response)(response); };
  for (const auto& [name, value] : kHeaders) MHD(add_response_header)(response, name, value);
  MHD(add_response_header)(response, "Content-Type", answer.type);
  if (answer.status == MHD_HTTP_UNAUTHORIZED) {
    MHD(add_response_header)
    (response, "WWW-Authenticate", "Basic realm=\"vmevents: any user name, the token\"");
  }
  return MHD(queue_response)(connection, static_cast<unsigned>(answer.status), response);
}

std::string HeaderOf(MHD_Connection* connection, const char* name) {
  const char* const value = MHD(lookup_connection_value)(connection, MHD_HEADER_KIND, name);
  return value == nullptr ? "" : value;
}

// Returns whether the Host header names this server: by an address in digits, as localhost, or by a
// name of the certificate, in PEM; empty: there is none. A page of another site that has its own
// name resolve to this server (DNS rebinding) has that name there.
bool IsOwnHost(absl::string_view host, const std::string& certificate) {
  const size_t colon = host.rfind(':');
  if (colon != absl::string_view::npos && !absl::EndsWith(host, "]")) host = host.substr(0, colon);
  const bool bracketed = absl::ConsumePrefix(&host, "[") && absl::ConsumeSuffix(&host, "]");
  const std::string name(host);
  in6_addr address;
  if (bracketed) return inet_pton(AF_INET6, name.c_str(), &address) == 1;
  if (inet_pton(AF_INET, name.c_str(), &address) == 1) return true;
  if (absl::EqualsIgnoreCase(name, "localhost")) return true;
  if (certificate.empty() || name.empty()) return false;
  const BioPtr pem(BIO_new_mem_buf(certificate.data(), static_cast<int>(certificate.size())));
  const X509Ptr read(PEM_read_bio_X509(pem.get(), nullptr, nullptr, nullptr));
  return read != nullptr && X509_check_host(read.get(), name.data(), name.size(), 0, nullptr) == 1;
}

// Returns whether the Authorization header has the token, as "Bearer TOKEN" or as the password of
// Returns whether the Authorization header has the token, as "Bearer TOKEN" or as the password of
// "Basic", with any user name. Its time depends only on the token's length.
bool HasToken(absl::string_view authorization, absl::string_view token) {
  const auto [scheme, rest] = std::pair<absl::string_view, absl::string_view>(
      absl::StrSplit(authorization, absl::MaxSplits(' ', 1)));
  std::string given(absl::StripAsciiWhitespace(rest));
  if (absl::EqualsIgnoreCase(scheme, "Basic")) {
    std::string decoded;
    if (!absl::Base64Unescape(given, &decoded)) return false;
    given = decoded.substr(decoded.find(':') + 1);  // all of it where there is no user name
  } else if (!absl::EqualsIgnoreCase(scheme, "Bearer")) {
    return false;
  }
  return given.size() == token.size() &&
         CRYPTO_memcmp(given.data(), token.data(), token.size()) == 0;
}

// Returns whether the client showed a certificate for clients, of the authorities of the options.
bool HasCertificate(MHD_Connection* connection) {
  const auto* info = MHD(get_connection_info)(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
  std::string purpose = GNUTLS_KP_TLS_WWW_CLIENT;
  gnutls_typed_vdata_st wanted = {};
  wanted.type = GNUTLS_DT_KEY_PURPOSE_OID;
  wanted.data = reinterpret_cast<unsigned char*>(purpose.data());
  unsigned faults = 1;
  return info != nullptr &&
         VMEVENTD_FUNCTION_OF(libgnutls, gnutls_certificate_verify_peers)(
             static_cast<gnutls_session_t>(info->tls_session), &wanted, 1, &faults) ==
             GNUTLS_E_SUCCESS &&
         faults == 0;
}

struct WebServer {
  WebApi api;
  // Contents; empty: there is none.
  std::string certificate{}, key{}, client_ca{}, token{};

  WebAnswer Answer(MHD_Connection* connection, const char* path, bool reads) {
    // A probe knows no token, and learns nothing.
    if (reads && strcmp(path, "/healthz") == 0) return api.Answer(path, {}, "");
    if (!client_ca.empty() && !HasCertificate(connection)) {
      return ErrorAnswer(403, "no certificate of the authorities of --web-client-ca was shown");
    }
    if (!IsOwnHost(HeaderOf(connection, "Host"), certificate)) {
      return ErrorAnswer(421,
                         "the Host header names another server; use an address in digits, "
                         "localhost or a name of the certificate");
    }
    if (!token.empty() && !HasToken(HeaderOf(connection, "Authorization"), token)) {
      return ErrorAnswer(401, "the token is missing or wrong");
    }
    if (!reads) return ErrorAnswer(405, "the API is read-only; use GET or HEAD");
    WebQuery query;
    MHD(get_connection_values)
    (
        connection, MHD_GET_ARGUMENT_KIND,
        [](void* list, MHD_ValueKind /*kind*/, const char* name, const char* value) {
          static_cast<WebQuery*>(list)->emplace_back(name, value == nullptr ? "" : value);
          return MHD_YES;
        },
        &query);
    return api.Answer(path, query, HeaderOf(connection, "Last-Event-ID"));
  }

  static MHD_Result Handle(void* server, MHD_Connection* connection, const char* path,
                           const char* method, const char* /*version*/, const char* /*upload*/,
                           size_t* /*upload_size*/, void** seen) {
    const bool reads = strcmp(method, "HEAD") == 0 || strcmp(method, "GET") == 0;
    // Answering in the first call closes the connection, and no body is read.
    const bool plain = reads && HeaderOf(connection, "Content-Length").empty() &&
                       HeaderOf(connection, "Transfer-Encoding").empty();
    if (plain && std::exchange(*seen, server) == nullptr) return MHD_YES;
    return Send(connection, static_cast<WebServer*>(server)->Answer(connection, path, reads));
  }
};

absl::Status ReadFiles(const WebCommand& command, WebServer* server) {
  const std::tuple<const char*, const std::string*, std::string*, bool> files[] = {
      {"--web-cert", &command.tls.cert_file, &server->certificate, false},
      {"--web-key", &command.tls.key_file, &server->key, true},
      {"--web-client-ca", &command.tls.ca_file, &server->client_ca, false},
      {"--token-file", &command.token_file, &server->token, true}};
  for (const auto& [option, path, content, secret] : files) {
    if (path->empty()) continue;
    auto read = ReadOption(option, *path, secret);
    if (!read.ok()) return read.status();
    *content = std::string(absl::StripAsciiWhitespace(*read));
  }
  if (command.token_file.empty() || server->token.size() >= kMinToken) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--token-file: has fewer than ", kMinToken,
                                                 " characters; write 24 random bytes in base64"));
}

absl::StatusOr<UniqueFd> ListenAt(const addrinfo& address, const std::string& text) {
  UniqueFd socket(::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (socket.valid() && setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
      bind(socket.get(), address.ai_addr, address.ai_addrlen) == 0 &&
      listen(socket.get(), SOMAXCONN) == 0) {
    return socket;
  }
  return ErrnoStatus("--listen", absl::StrCat("cannot listen at ", text), errno);
}

// Takes the socket. Null: TLS cannot be started with the files.
MHD_Daemon* StartDaemon(WebServer* server, UniqueFd socket) {
  std::vector<MHD_OptionItem> options = {
      {MHD_OPTION_LISTEN_SOCKET, socket.get(), nullptr},
      {MHD_OPTION_CONNECTION_LIMIT, kMaxConnections, nullptr},
      {MHD_OPTION_CONNECTION_MEMORY_LIMIT, kConnectionBytes, nullptr},
      {MHD_OPTION_CONNECTION_TIMEOUT, kIdleSeconds, nullptr}};
  unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL;
  if (!server->certificate.empty()) {
    flags |= MHD_USE_TLS;
    options.push_back({MHD_OPTION_HTTPS_MEM_CERT, 0, server->certificate.data()});
    options.push_back({MHD_OPTION_HTTPS_MEM_KEY, 0, server->key.data()});
  }
  if (!server->client_ca.empty()) {
    options.push_back({MHD_OPTION_HTTPS_MEM_TRUST, 0, server->client_ca.data()});
  }
  options.push_back({MHD_OPTION_END, 0, nullptr});
  MHD_Daemon* const daemon =
      MHD(start_daemon)(flags, 0, nullptr, nullptr, &WebServer::Handle, server, MHD_OPTION_ARRAY,
                        options.data(), MHD_OPTION_END);
  if (daemon != nullptr) socket.Release();
  return daemon;
}

}  // namespace

ExitCode RunWeb(const WebCommand& command, const CommandLine& line) {
  // Runs before anything that may start a thread. Nothing is printed on standard output.
  StopSource& stop = StopBySignals(/*output=*/-1);
  if (const absl::Status loaded = LoadHttp(); !loaded.ok()) return Fail(loaded);
  const auto wrong = [](absl::string_view sentence) {
    return Fail(Failure{ExitCode::kUsage, std::string(sentence)});
  };
  WebServer server{{line, stop.token()}};
  if (const absl::Status read = ReadFiles(command, &server); !read.ok()) {
    return wrong(read.message());
  }
  const std::string address = ToText(command.listen);
  const auto found = FindHost(command.listen.host, command.listen.port);
  if (!found.ok()) {
    return wrong(absl::StrCat("--listen: no address of this host is ", address, ": ",
                              found.status().message(), "; give one, such as 127.0.0.1:9557"));
  }
  const bool tls = !server.certificate.empty();
  const bool open = server.token.empty() && server.client_ca.empty();
  if (!IsLoopback(command.listen.host) && (!tls || open)) {
    return wrong(absl::StrCat("--listen: other machines can connect to ", address,
                              "; give --web-cert and --web-key, and --token-file or "
                              "--web-client-ca, or listen at 127.0.0.1"));
  }
  auto socket = ListenAt(**found, address);
  if (!socket.ok()) return Fail(socket.status());
  MHD_Daemon* const daemon = StartDaemon(&server, *std::move(socket));
  if (daemon == nullptr) {
    return wrong(
        "--web-cert: TLS cannot be started; the files of --web-cert, --web-key and "
        "--web-client-ca must be PEM, and the key that of the certificate");
  }
  PrintNote(
      absl::StrCat("the page is at ", tls ? "https://" : "http://", address, "/",
                   open ? ", for every user of this host; --token-file asks for a token" : ""));
  while (!stop.WaitFor(absl::Hours(1))) {
  }
  MHD(stop_daemon)(daemon);
  return ExitCode::kOk;
}

}  // namespace vmeventd::client
