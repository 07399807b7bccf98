#pragma once

#include <netdb.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/connect/server_address.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// Stops a watch from outside: ends every wait, and calls what listens to its token. Any thread.
class StopSource {
 public:
  // Stops permanently. A second call does nothing.
  void Stop() { source_.request_stop(); }
  bool stopped() const { return token().stop_requested(); }
  std::stop_token token() const { return source_.get_token(); }

  // Waits for `duration`, or until stopped. Returns whether it was stopped.
  bool WaitFor(absl::Duration duration);

 private:
  std::stop_source source_;
  std::mutex mutex_;
  std::condition_variable_any stopping_;
};

// The addresses, in digits, of the host of a TCP address, the preferred first; at least one.
// UNAVAILABLE: the host is not known now; the message is the resolver's reason.
using Resolver = std::function<absl::StatusOr<std::vector<std::string>>(const ServerAddress&)>;

// Asks the system's resolver; errors as of Resolver.
using HostAddresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;
absl::StatusOr<HostAddresses> FindHost(const std::string& host, const std::string& port);

// The system's resolver. Blocks as long as the system does.
absl::StatusOr<std::vector<std::string>> ResolveHost(const ServerAddress& address);

// Follows one node if a name has several, such as that of a headless Service of Kubernetes: each
// node has its own events and sequences, and a client that switched nodes would mix them. Follows
// the first address that answers; accepts another only if the same node answers there. One thread;
// calls only the resolver.
class NodePin {
 public:
  NodePin(ServerAddress address, Resolver resolver)
      : address_(std::move(address)), resolver_(std::move(resolver)) {}

  // The address of the next attempt: the followed one first, then the name's present addresses.
  // UNAVAILABLE: the name cannot be resolved.
  absl::StatusOr<ServerAddress> Next();
  // True if more addresses remain before the name is resolved again.
  bool has_more() const { return !untried_.empty(); }

  // A node answered at the address of the last Next(). False: it is not the followed node.
  bool OnAnswer(const v1::GetServerInfoResponse& info);

  // True if the name had several addresses of one family, so that they may be several nodes.
  bool is_ambiguous() const { return ambiguous_; }
  // The last answer of the followed node; unset before the first.
  const std::optional<v1::GetServerInfoResponse>& node() const { return node_; }

 private:
  const ServerAddress address_;
  const Resolver resolver_;
  std::deque<std::string> untried_;
  std::string current_;   // of the last Next()
  std::string followed_;  // empty before the first answer
  bool ambiguous_ = false;
  std::optional<v1::GetServerInfoResponse> node_;
};

// The deadline of a unary request.
constexpr absl::Duration kRequestTimeout = absl::Seconds(30);

// The contents of the files of TlsOptions, in PEM.
struct TlsMaterial {
  std::string ca;
  std::string certificate;  // includes its intermediates; empty: none
  std::string key;          // empty: none
};

// Reads and checks the files, so that faults which gRPC reports only as a failed handshake are
// found here. FAILED_PRECONDITION: a sentence, safe for a terminal, with the option, the file, the
// fault and the fix. Does not check validity dates or trust; the handshake does.
absl::StatusOr<TlsMaterial> LoadTlsFiles(const TlsOptions& options);

// Opens a new connection. It connects with its first request, which fails with UNAVAILABLE if that
// does not succeed at once: the caller decides whether to wait. A silent connection is detected
// within 40 s. Reads the TLS files now; a new connection uses their new contents.
// FAILED_PRECONDITION: a TLS file is unusable; the sentence of LoadTlsFiles(). UNAVAILABLE: the
// directory of a Unix socket cannot be opened now.
absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const ServerAddress& address);

// A connection to one address of a host.
struct PinnedChannel {
  ServerAddress address;  // with the chosen address
  std::shared_ptr<grpc::Channel> channel;
  bool ambiguous = false;  // the host has several addresses, which may be several nodes
};

// Connects to the first reachable address of the host, or to the last one if none is reachable.
absl::StatusOr<PinnedChannel> ConnectToOne(const ServerAddress& address, const Resolver& resolve);

// Sets a request's deadline to `timeout` from now.
void SetRequestDeadline(grpc::ClientContext* context, absl::Duration timeout = kRequestTimeout);

}  // namespace vmeventd::client
