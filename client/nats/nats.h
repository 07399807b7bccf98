#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/connect/server_address.h"

// Connections to NATS servers, by NATS's client library, which is loaded when it is first needed,
// and streams of JetStream. No call blocks without a limit. Errors are for people and contain no
// secrets.
//
// JetStream's API is JSON on NATS subjects. NATS's library has functions for it, which do not fit:
// as they update a stream they drop the settings of later servers, and as they read one they take a
// publisher's header for the server's status.

namespace vmeventd {

// Returns whether a text means NATS servers: it begins with nats:// or tls://.
bool IsNatsUrl(absl::string_view text);
// Parses nats://HOST[:PORT][,nats://HOST[:PORT]...], or tls://, whose addresses have `tls`; one
// that follows may leave the scheme out. INVALID_ARGUMENT names the text and the rule; never a
// password that stands in it.
absl::StatusOr<std::vector<client::ServerAddress>> ParseNatsServers(absl::string_view text);
// nats://HOST:PORT or tls://HOST:PORT.
std::string NatsUrl(const client::ServerAddress& server);

struct NatsOptions {
  std::vector<std::string> servers;  // nats://HOST:PORT or tls://HOST:PORT, any of which is used
  std::string name = "vmevents";     // the client's, which the server shows
  std::string credentials;           // a file of NATS's form; empty: none
  // Without a CA the system's authorities count; a server_name is expected instead of the host.
  std::optional<client::TlsOptions> tls;
  std::string domain;  // domain of the JetStream; see InDomain(). Empty: the servers' own
  // Prefix of the subjects to which answers come. A client that may subscribe to another's prefix
  // sees its answers: each has one of its own (docs/many-nodes.md).
  std::string inbox_prefix = "_INBOX.vmevents";
};

// A message, to send or received.
struct NatsMessage {
  std::string subject = {};
  std::string reply = {};  // subject of an answer; empty: none is wanted
  std::string data = {};
  std::vector<std::pair<std::string, std::string>> headers = {};

  // Empty: it has no such header. The server's own messages have "Status", as "404", and
  // "Description". Upper and lower case are the same.
  std::string header(absl::string_view name) const {
    for (const auto& [known, value] : headers) {
      if (absl::EqualsIgnoreCase(known, name)) return value;
    }
    return "";
  }
};

// A subscription to a subject. One thread.
class NatsSubscription {
 public:
  virtual ~NatsSubscription() = default;
  // The next message; nullopt: none came within `timeout`. UNAVAILABLE: the connection is lost.
  virtual absl::StatusOr<std::optional<NatsMessage>> Next(absl::Duration timeout) = 0;
};

// One connection to one of the servers. Never reconnects. Any thread.
class NatsConnection {
 public:
  // Time limit to connect to one server, and to get an answer to a request.
  static constexpr absl::Duration kConnectTimeout = absl::Seconds(2);
  static constexpr absl::Duration kRequestTimeout = absl::Seconds(5);
  static constexpr size_t kMaxWaiting = 4096;

  virtual ~NatsConnection() = default;

  // Sends a message without a reply, and returns the data of the answer. Nobody else can send one.
  // UNAVAILABLE: none came, or the connection is lost. NOT_FOUND: nobody serves the subject.
  // INVALID_ARGUMENT: see Publish().
  virtual absl::StatusOr<std::string> Request(const NatsMessage& message,
                                              absl::Duration timeout = kRequestTimeout) = 0;
  // Sends a message at once, without confirmation of its arrival. INVALID_ARGUMENT: it is larger
  // than the server permits, and the connection stands; UNAVAILABLE: any other error.
  virtual absl::Status Publish(const NatsMessage& message) = 0;
  // Receives from now on. Up to kMaxWaiting messages wait to be read; further ones are dropped. The
  // connection outlives the subscription.
  virtual absl::StatusOr<std::unique_ptr<NatsSubscription>> Subscribe(
      const std::string& subject) = 0;
  // A subject that nobody else knows, for answers.
  virtual std::string NewInbox() = 0;
  // Returns whether the connection is lost. Does not block.
  virtual bool closed() const = 0;
  // Last error of the server on this connection, such as that the client may not publish a
  // subject; empty if there was none. The server refuses such messages without an answer.
  virtual std::string complaint() const = 0;
};

// Connects to one of the servers. UNAVAILABLE: none is there, or it refuses the client.
// FAILED_PRECONDITION: NATS's client library is missing; names the package to install.
absl::StatusOr<std::unique_ptr<NatsConnection>> ConnectNats(const NatsOptions& options);

// Subject of a request of JetStream's API: "$JS.API.STREAM.INFO.VMEVENTS".
std::string ApiSubject(absl::string_view request, absl::string_view stream);

// Maps `subject` to the JetStream of another domain, as behind a leaf node:
// "$JS.DOMAIN.API.STREAM.INFO.VMEVENTS", "$JS.DOMAIN.API.$KV.BUCKET.KEY". Other subjects, and all
// of them without a domain, are returned unchanged.
std::string InDomain(absl::string_view domain, absl::string_view subject);
// OK: it can be part of a subject. The error defines a domain.
absl::Status CheckDomain(absl::string_view domain);

// Creates a stream with these settings, which are JSON, or turns off the unsafe settings of the one
// that is there and sets the number of its replicas; 0: as it is, and 1 of what is made. Returns a
// line on that, for people. FAILED_PRECONDITION: the server refuses it. Other errors: see
// ReadStreamState().
absl::StatusOr<std::string> MakeStream(NatsConnection* connection, const std::string& stream,
                                       const std::string& settings, int replicas);

// State of a stream.
struct StreamState {
  std::string created;    // creation time as text; distinguishes streams of one name
  uint64_t first = 0;     // its oldest message; `last` + 1: it is empty
  uint64_t last = 0;      // the newest message that it ever had
  absl::Time first_time;  // storage time of `first`
  absl::Time last_time;   // storage time of `last`
  // Settings that let nodes change what others have published, for people. Empty: there are none.
  std::string unsafe;
};
// NOT_FOUND: there is no such stream. UNAVAILABLE: the server has no JetStream, or as
// NatsConnection::Request.
absl::StatusOr<StreamState> ReadStreamState(NatsConnection* connection, absl::string_view stream);

// A message that a stream has.
struct StoredMessage {
  NatsMessage message;
  uint64_t stream_sequence = 0;
  absl::Time time = absl::InfinitePast();  // storage time; the infinite past: not known
};
// The message at a position, or the last one that matches `subjects`. NOT_FOUND: there is none, or
// no such stream.
absl::StatusOr<StoredMessage> ReadMessage(NatsConnection* connection, absl::string_view stream,
                                          uint64_t stream_sequence);
absl::StatusOr<StoredMessage> ReadLastMessage(NatsConnection* connection, absl::string_view stream,
                                              absl::string_view subjects);

// Stores a message in the stream, and returns its sequence there. INVALID_ARGUMENT: the stream
// never takes this message. After another error it may be stored.
absl::StatusOr<uint64_t> Store(NatsConnection* connection, absl::string_view stream,
                               const NatsMessage& message, absl::Duration timeout);

// Start of reading: at a sequence of the stream, at the first message stored at or after a time,
// or with the last message of each subject.
struct LastOfEachSubject {};
using ReadStart = std::variant<uint64_t, absl::Time, LastOfEachSubject>;

// Contents of the reply subject of a consumer's message.
struct Delivery {
  uint64_t stream_sequence = 0;
  uint64_t number = 0;   // number among the consumer's messages: 1, 2, ...
  uint64_t pending = 0;  // matching messages after it
  absl::Time time;       // storage time in the stream
};
// nullopt: it is no such subject.
std::optional<Delivery> ParseDelivery(absl::string_view reply);

// Reads a stream in order, each message once, by a pull consumer of its own that acknowledges
// nothing and goes away by itself. It asks for kMessages at a time, so that no more wait here.
// After an error a new reader continues behind the last message. One thread.
class StreamReader {
 public:
  static constexpr int kMessages = 1000;
  // Size limit of a pull, doubled for a larger message: a server ends a connection with a backlog
  // of more than 64 MiB.
  static constexpr int64_t kBytes = int64_t{8} << 20;

  // `subjects` must not overlap; none: all of the stream's. A server before 2.10 knows one subject
  // only, and sends all messages if there are more. `clock` is one that is never set. `connection`
  // must outlive the reader. Errors: see ReadStreamState().
  static absl::StatusOr<std::unique_ptr<StreamReader>> Open(
      NatsConnection* connection, std::string stream, const std::vector<std::string>& subjects,
      const ReadStart& start, std::function<absl::Time()> clock);
  // Deletes the consumer, without waiting for it.
  ~StreamReader();
  StreamReader(const StreamReader&) = delete;
  StreamReader& operator=(const StreamReader&) = delete;

  // The next message; nullopt: none came within `timeout`. UNAVAILABLE: the connection or the
  // consumer is lost, or messages are.
  absl::StatusOr<std::optional<StoredMessage>> Next(absl::Duration timeout);
  // Returns the number of the stream's messages that it has still to read, as far as it knows.
  uint64_t pending() const { return pending_; }
  // Asks the server whether everything was read that the stream has of these subjects.
  absl::StatusOr<bool> AskWhetherAllIsRead();

 private:
  StreamReader(NatsConnection* connection, std::string stream, std::function<absl::Time()> clock)
      : connection_(connection), stream_(std::move(stream)), clock_(std::move(clock)) {}

  NatsConnection* const connection_;
  const std::string stream_;
  const std::function<absl::Time()> clock_;
  std::string consumer_;
  std::string inbox_;
  std::unique_ptr<NatsSubscription> subscription_;
  int wanted_ = 0;  // messages of the pull that is under way; 0: there is none
  int64_t bytes_ = kBytes;
  uint64_t read_ = 0;
  uint64_t pending_ = 0;
  absl::Time received_;  // time of the consumer's last message
};

}  // namespace vmeventd
