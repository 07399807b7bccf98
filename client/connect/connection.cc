#include "client/connect/connection.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>

#include "absl/algorithm/container.h"
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
namespace {

// Returns whether the server at an address continues the events of `known`. At the same address it
// does so with the same journal, or as the same node with a new journal; at another address only
// with the same journal, because one node may run several servers. If nothing can be compared, it
// does.
bool GoesOn(const NodeIdentity& known, const NodeIdentity& found, bool same_address) {
  const bool journals = !known.journal_id.empty() && !found.journal_id.empty();
  if (journals && known.journal_id == found.journal_id) return true;
  if (journals && !same_address) return false;
  if (!known.node_id.empty() && known.node_id == found.node_id) return true;
  return known.node.empty() || found.node.empty() || known.node == found.node;
}

constexpr std::chrono::seconds kConnectTimeout(5);

// Connects. False: the first attempt failed.
bool Connects(grpc::Channel* channel) {
  const auto deadline = std::chrono::system_clock::now() + kConnectTimeout;
  while (true) {
    const grpc_connectivity_state state = channel->GetState(/*try_to_connect=*/true);
    if (state == GRPC_CHANNEL_READY) return true;
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE || state == GRPC_CHANNEL_SHUTDOWN) return false;
    if (!channel->WaitForStateChange(state, deadline)) return false;
  }
}

}  // namespace

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

absl::StatusOr<std::vector<std::string>> ResolveHost(const ServerAddress& address) {
  const absl::StatusOr<HostAddresses> all = FindHost(address.host, address.port);
  if (!all.ok()) return all.status();
  std::vector<std::string> out;
  for (const addrinfo* one = all->get(); one != nullptr; one = one->ai_next) {
    char digits[NI_MAXHOST] = "";
    const int bad = getnameinfo(one->ai_addr, one->ai_addrlen, digits, sizeof(digits), nullptr, 0,
                                NI_NUMERICHOST);
    if (bad != 0) return absl::UnavailableError(gai_strerror(bad));
    if (!absl::c_linear_search(out, digits)) out.emplace_back(digits);
  }
  return out;
}

absl::StatusOr<ServerAddress> NodePin::Next() {
  if (address_.is_unix()) return address_;
  if (untried_.empty()) {
    const absl::StatusOr<std::vector<std::string>> resolved = resolver_(address_);
    // A followed node may return before its name does.
    if (!resolved.ok() && kept_.empty()) return resolved.status();
    if (!kept_.empty()) untried_.push_back(kept_);
    if (resolved.ok()) {
      const auto ipv6 = static_cast<size_t>(absl::c_count_if(
          *resolved, [](const std::string& one) { return absl::StrContains(one, ':'); }));
      ambiguous_ = ipv6 > 1 || resolved->size() - ipv6 > 1;
      for (const std::string& numeric : *resolved) {
        if (numeric != kept_) untried_.push_back(numeric);
      }
    }
  }
  ServerAddress next = address_;
  next.numeric = current_ = untried_.front();
  untried_.pop_front();
  return next;
}

bool NodePin::OnAnswer(const NodeIdentity& identity) {
  if (node_ && !GoesOn(*node_, identity, current_ == kept_)) return false;
  node_ = identity;
  kept_ = current_;
  untried_.clear();
  return true;
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

absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const ServerAddress& address) {
  grpc::ChannelArguments arguments;
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (address.tls) {
    const absl::StatusOr<TlsMaterial> material = LoadTlsFiles(*address.tls);
    if (!material.ok()) return material.status();
    credentials = grpc::SslCredentials({material->ca, material->key, material->certificate});
    // The certificate must match the host that the user named, whichever address is used.
    const std::string& name = address.tls_name();
    if (name != address.host || !address.numeric.empty()) arguments.SetSslTargetNameOverride(name);
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

absl::StatusOr<PinnedChannel> ConnectToOne(const ServerAddress& address, const Resolver& resolve) {
  NodePin pin(address, resolve);
  while (true) {
    const absl::StatusOr<ServerAddress> next = pin.Next();
    // The first request reports a name that is unknown.
    PinnedChannel out{next.ok() ? *next : address, nullptr, pin.is_ambiguous()};
    absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = Connect(out.address);
    if (!channel.ok()) return channel.status();
    out.channel = *std::move(channel);
    if (!pin.has_more() || Connects(out.channel.get())) return out;
  }
}

void SetRequestDeadline(grpc::ClientContext* context, absl::Duration timeout) {
  context->set_deadline(std::chrono::system_clock::now() + absl::ToChronoNanoseconds(timeout));
}

}  // namespace vmeventd::client
