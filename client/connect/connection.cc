#include "client/connect/connection.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <sys/socket.h>

#include <chrono>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/openssl_ptr.h"
#include "base/system.h"
#include "base/unix_address.h"
#include "client/output/terminal_text.h"
#include "grpcpp/create_channel.h"
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

absl::Status ReadPem(const PemFile& file, std::string* text) {
  auto read = ReadSmallFile(file.path, kMaxFileBytes + 1);
  if (!read.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat(file.option, ": ", EscapeForTerminal(read.status().message()),
                     "; check the path, and that the user who runs vmevents may read it"));
  }
  if (read->empty() || read->size() > kMaxFileBytes) {
    return Wrong(file, "is empty, or larger than 4 MiB: name the PEM file itself");
  }
  *text = *std::move(read);
  return absl::OkStatus();
}

BioPtr Reader(const std::string& text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// The fault of a file in which OpenSSL found no `what`, but perhaps what has the mark `other`.
absl::Status NotPem(const PemFile& file, const std::string& text, absl::string_view what,
                    absl::string_view other, absl::string_view fix) {
  const char* const reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return Wrong(file,
               absl::StrCat("holds no usable ", what,
                            " in PEM form (OpenSSL: ", reason == nullptr ? "unknown error" : reason,
                            "): ", absl::StrContains(text, other) ? "swap the two files" : fix));
}

absl::StatusOr<X509Ptr> LoadCertificate(const PemFile& file, std::string* text) {
  if (absl::Status read = ReadPem(file, text); !read.ok()) return read;
  X509Ptr certificate(PEM_read_bio_X509(Reader(*text).get(), nullptr, nullptr, nullptr));
  if (certificate != nullptr) return certificate;
  return NotPem(file, *text, "certificate", "PRIVATE KEY-----",
                "`openssl x509 -inform der -in FILE` makes PEM of DER");
}

absl::StatusOr<KeyPtr> LoadKey(const PemFile& file, std::string* text) {
  if (absl::Status read = ReadPem(file, text); !read.ok()) return read;
  // Programs that run vmevents could not answer a question for a passphrase.
  const auto refuse = [](char*, int, int, void*) { return -1; };
  KeyPtr key(PEM_read_bio_PrivateKey(Reader(*text).get(), nullptr, refuse, nullptr));
  if (key != nullptr) return key;
  return NotPem(file, *text, "private key", "-----BEGIN CERTIFICATE",
                "`openssl pkey -in FILE` writes it without a passphrase");
}

}  // namespace

absl::StatusOr<TlsMaterial> LoadTlsFiles(const TlsOptions& options) {
  TlsMaterial material;
  const auto authority = LoadCertificate({"--tls-ca", options.ca_file}, &material.ca);
  if (!authority.ok()) return authority.status();
  if (options.cert_file.empty()) return material;
  const auto certificate =
      LoadCertificate({"--tls-cert", options.cert_file}, &material.certificate);
  if (!certificate.ok()) return certificate.status();
  const PemFile key_file = {"--tls-key", options.key_file};
  const auto key = LoadKey(key_file, &material.key);
  if (!key.ok()) return key.status();
  const bool match = X509_check_private_key(certificate->get(), key->get()) == 1;
  ERR_clear_error();
  if (match) return material;
  return Wrong(key_file, absl::StrCat("does not belong to the certificate ",
                                      EscapeForTerminal(options.cert_file),
                                      ": name the key that the certificate was made for"));
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const ServerAddress& address) {
  grpc::ChannelArguments arguments;
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (address.tls) {
    const absl::StatusOr<TlsMaterial> material = LoadTlsFiles(*address.tls);
    if (!material.ok()) return material.status();
    credentials = grpc::SslCredentials({material->ca, material->key, material->certificate});
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
