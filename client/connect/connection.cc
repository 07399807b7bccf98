#include "client/connect/connection.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/system.h"
#include "base/unix_address.h"
#include "client/output/terminal_text.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/create_channel_posix.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"

namespace vmeventd::client {

bool StopSource::WaitFor(absl::Duration duration) {
  std::unique_lock<std::mutex> lock(mutex_);
  stopping_.wait_for(lock, token(), absl::ToChronoNanoseconds(duration), [] { return false; });
  return stopped();
}

absl::StatusOr<HostAddresses> FindHost(const std::string& host, const std::string& port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* first = nullptr;
  const int failure = getaddrinfo(host.c_str(), port.c_str(), &hints, &first);
  if (failure != 0) return absl::UnavailableError(gai_strerror(failure));
  return HostAddresses(first, &freeaddrinfo);
}

constexpr size_t kMaxFileBytes = 4 << 20;  // a distribution's authorities take 250 KiB

absl::StatusOr<SslContextPtr> LoadTlsFiles(const TlsOptions& options) {
  SslContextPtr context(SSL_CTX_new(TLS_client_method()));
  SSL_CTX* const tls = context.get();
  // Programs that run vmevents could not answer a question for a passphrase.
  SSL_CTX_set_default_passwd_cb(tls, [](char*, int, int, void*) { return -1; });
  const struct {
    const char* option;
    const std::string& path;
    const char* content;
    std::function<int(const char* path)> load;
  } files[] = {
      {"--tls-ca", options.ca_file, "the certificate of a CA",
       [tls](const char* path) { return SSL_CTX_load_verify_locations(tls, path, nullptr); }},
      {"--tls-cert", options.cert_file, "a certificate",
       [tls](const char* path) { return SSL_CTX_use_certificate_chain_file(tls, path); }},
      {"--tls-key", options.key_file, "the key of the certificate without a passphrase",
       [tls](const char* path) {
         return SSL_CTX_use_PrivateKey_file(tls, path, SSL_FILETYPE_PEM);
       }}};
  for (const auto& [option, path, content, load] : files) {
    if (path.empty()) continue;
    ERR_clear_error();
    std::error_code error;
    const bool is_regular = std::filesystem::is_regular_file(path, error);
    if (is_regular && load(path.c_str()) == 1) continue;
    const unsigned long fault = ERR_get_error();
    ERR_clear_error();
    const char* const reason = ERR_reason_error_string(fault);
    return absl::FailedPreconditionError(absl::StrCat(
        option, ": ", EscapeForTerminal(path), " cannot be used (",
        error         ? error.message()
        : !is_regular ? "no regular file"
        : reason      ? reason
                      : ErrnoText(ERR_GET_REASON(fault)),
        "): name a PEM file that the user who runs vmevents may read, with ", content));
  }
  return context;
}

// A page waits while the server limits the rate of pages, for 1.5 s at most.
constexpr char kServiceConfig[] = R"({"methodConfig": [{
    "name": [{"service": "vmeventd.v1.VmEventService", "method": "ListEvents"},
             {"service": "vmeventd.v1.VmEventService", "method": "CountEvents"},
             {"service": "vmeventd.v1.VmEventService", "method": "ListVms"}],
    "retryPolicy": {"maxAttempts": 5, "initialBackoff": "0.1s", "maxBackoff": "1s",
                    "backoffMultiplier": 2, "retryableStatusCodes": ["RESOURCE_EXHAUSTED"]}}]})";

absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const ServerAddress& address) {
  grpc::ChannelArguments arguments;
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (address.tls) {
    const auto checked = LoadTlsFiles(*address.tls);
    if (!checked.ok()) return checked.status();
    grpc::SslCredentialsOptions options;
    for (const auto& [path, text] : {std::pair(&address.tls->ca_file, &options.pem_root_certs),
                                     std::pair(&address.tls->cert_file, &options.pem_cert_chain),
                                     std::pair(&address.tls->key_file, &options.pem_private_key)}) {
      if (path->empty()) continue;
      auto read = ReadSmallFile(*path, kMaxFileBytes);
      if (!read.ok()) return absl::FailedPreconditionError(read.status().message());
      *text = *std::move(read);
    }
    credentials = grpc::SslCredentials(options);
    const std::string& name = address.tls_name();
    if (name != address.host) arguments.SetSslTargetNameOverride(name);
  }
  // A page of events with their evidence may be larger than gRPC's default of 4 MiB.
  arguments.SetMaxReceiveMessageSize(-1);
  // Each attempt uses its own connection, so that gRPC's backoff does not add to the caller's.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);  // the connect timeout, in effect
  // The daemon is local to a node: ignore proxies that the environment sets for the web.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetServiceConfigJSON(kServiceConfig);
  if (address.is_ssh()) {
    absl::StatusOr<UniqueFd> socket = StartSsh(address);
    if (!socket.ok()) return socket.status();
    return grpc::CreateCustomInsecureChannelFromFd("ssh", socket->Release(), arguments);
  }
  if (!address.is_unix()) {
    return grpc::CreateCustomChannel(ToGrpcTarget(address), credentials, arguments);
  }
  absl::StatusOr<UnixAddress> opened = UnixAddress::Open(address.path);
  if (!opened.ok()) return absl::UnavailableError(opened.status().message());
  ServerAddress reached = address;
  reached.path = opened->text();
  // gRPC connects whenever it needs to: the address lives as long as the channel.
  struct Owner {
    UnixAddress address;
    std::shared_ptr<grpc::Channel> channel;
  };
  const auto owner = std::make_shared<Owner>(
      Owner{*std::move(opened),
            grpc::CreateCustomChannel(ToGrpcTarget(reached), credentials, arguments)});
  return std::shared_ptr<grpc::Channel>(owner, owner->channel.get());
}

void SetRequestDeadline(grpc::ClientContext* context, absl::Duration timeout) {
  context->set_deadline(std::chrono::system_clock::now() + absl::ToChronoNanoseconds(timeout));
}

}  // namespace vmeventd::client
