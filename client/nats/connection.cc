#include "client/nats/connection.h"

#include <algorithm>
#include <deque>
#include <initializer_list>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/uuid.h"
#include "client/nats/jetstream_api.h"
#include "client/nats/library.h"

namespace vmeventd {
namespace {

using nats::ErrorText;
using nats::Lib;
using nats::Owned;

// Timeout of a write; then the server counts as lost.
constexpr absl::Duration kWriteTimeout = absl::Seconds(5);
// A connection whose server says nothing to two pings is lost.
constexpr absl::Duration kPingInterval = absl::Seconds(20);
constexpr int kMaxPings = 2;
// The library (3.4.1) signs about one in 256 of the servers' challenges wrongly: 12 of 3,000
// measured. Each connection gets another challenge.
constexpr int kSignatures = 3;
// Interval in which a wait for a message checks for a lost connection.
constexpr absl::Duration kClosedCheck = absl::Milliseconds(100);
constexpr absl::string_view kTls = "tls://";

// The library prints what it is not asked for; each call's error is looked at.
void IgnoreError(natsConnection*, natsSubscription*, natsStatus, void*) {}

natsStatus FirstError(std::initializer_list<natsStatus> results) {
  const auto* const found = std::find_if(results.begin(), results.end(),
                                         [](natsStatus result) { return result != NATS_OK; });
  return found == results.end() ? NATS_OK : *found;
}

absl::string_view OrEmpty(const char* text) {
  return text == nullptr ? absl::string_view() : absl::string_view(text);
}

class Message : public NatsMessage {
 public:
  explicit Message(natsMsg* message) : message_(message) {}

  absl::string_view subject() const override {
    return OrEmpty(Lib().natsMsg_GetSubject(message_.get()));
  }
  absl::string_view reply() const override {
    return OrEmpty(Lib().natsMsg_GetReply(message_.get()));
  }
  absl::string_view data() const override {
    const char* const data = Lib().natsMsg_GetData(message_.get());
    if (data == nullptr) return {};
    return {data, static_cast<size_t>(Lib().natsMsg_GetDataLength(message_.get()))};
  }
  std::string header(const char* name) const override {
    const char* value = nullptr;
    if (Lib().natsMsgHeader_Get(message_.get(), name, &value) != NATS_OK) return "";
    return std::string(OrEmpty(value));
  }
  bool no_responders() const override { return Lib().natsMsg_IsNoResponders(message_.get()); }

 private:
  const Owned<natsMsg> message_;
};

// Messages that the library delivers on a thread of its own, which all connections share. Its
// functions that wait for a message take a message's status 503 for the server's, with which any
// publisher can stop a reader, and do not say what has no responders.
struct Inbox {
  explicit Inbox(size_t max_messages) : limit(max_messages) {}

  const size_t limit;
  Mutex mutex;
  CondVar changed;
  std::deque<NatsMessagePtr> messages ABSL_GUARDED_BY(mutex);
  bool dropped ABSL_GUARDED_BY(mutex) = false;  // messages after these are missing
};
using InboxPtr = std::shared_ptr<Inbox>;

void TakeMessage(natsConnection*, natsSubscription*, natsMsg* received, void* closure) {
  auto message = std::make_unique<Message>(received);
  Inbox& inbox = **static_cast<InboxPtr*>(closure);
  {
    const MutexLock lock(&inbox.mutex);
    if (inbox.messages.size() < inbox.limit) {
      inbox.messages.push_back(std::move(message));
    } else {
      inbox.dropped = true;
    }
  }
  inbox.changed.NotifyOne();
}

// The library calls TakeMessage no more.
void EndInbox(void* closure) { delete static_cast<InboxPtr*>(closure); }

class Subscription : public NatsSubscription {
 public:
  Subscription(natsConnection* connection, natsSubscription* subscription, InboxPtr inbox)
      : connection_(connection), inbox_(std::move(inbox)), subscription_(subscription) {}

  absl::StatusOr<NatsMessagePtr> Next(absl::Duration timeout) override {
    const absl::Time deadline = SteadyNow() + timeout;
    while (true) {
      const bool closed = Lib().natsConnection_IsClosed(connection_);
      const absl::Duration left = deadline - SteadyNow();
      const MutexLock lock(&inbox_->mutex);
      const auto came = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(inbox_->mutex) {
        return inbox_->dropped || !inbox_->messages.empty();
      };
      if (!closed) WaitUntil(&inbox_->changed, &inbox_->mutex, std::min(left, kClosedCheck), came);
      if (std::exchange(inbox_->dropped, false)) {
        return absl::ResourceExhaustedError(
            "messages came faster than they were read, and some were dropped");
      }
      if (!inbox_->messages.empty()) {
        NatsMessagePtr message = std::move(inbox_->messages.front());
        inbox_->messages.pop_front();
        return message;
      }
      if (closed) {
        const char* why = nullptr;
        (void)Lib().natsConnection_GetLastError(connection_, &why);
        return absl::UnavailableError(absl::StrCat("the connection is lost: ", OrEmpty(why)));
      }
      if (left <= absl::ZeroDuration()) return nullptr;
    }
  }

 private:
  natsConnection* const connection_;
  const InboxPtr inbox_;
  const Owned<natsSubscription> subscription_;
};

class Connection : public NatsConnection {
 public:
  Connection(natsConnection* connection, std::string inbox_prefix, std::string domain)
      : connection_(connection),
        inbox_prefix_(std::move(inbox_prefix)),
        domain_(std::move(domain)) {}

  absl::StatusOr<NatsMessagePtr> Request(const std::string& subject, absl::string_view data,
                                         absl::Duration timeout) override;
  absl::Status Publish(const NatsOutgoing& message) override;
  absl::StatusOr<std::unique_ptr<NatsSubscription>> Subscribe(const std::string& subject,
                                                              size_t max_messages) override;
  absl::StatusOr<std::string> NewInbox() override;
  absl::Status Flush(absl::Duration timeout) override;
  bool closed() const override { return Lib().natsConnection_IsClosed(connection_.get()); }
  std::string complaint() const override {
    const char* text = nullptr;
    if (Lib().natsConnection_GetLastError(connection_.get(), &text) == NATS_OK) return "";
    return std::string(OrEmpty(text));
  }

 private:
  // A call's error, with what the server complained of.
  absl::Status Failed(absl::string_view what, natsStatus status) const {
    const std::string said = complaint();
    const std::string why = ErrorText(status);
    return absl::UnavailableError(absl::StrCat(
        what, ": ", why,
        said.empty() || absl::StrContains(why, said) ? "" : "; the server says: " + said));
  }

  const Owned<natsConnection> connection_;
  const std::string inbox_prefix_;
  const std::string domain_;
};

absl::StatusOr<NatsMessagePtr> Connection::Request(const std::string& subject,
                                                   absl::string_view data, absl::Duration timeout) {
  const std::string to = InDomain(domain_, subject);
  natsMsg* answer = nullptr;
  const natsStatus status = Lib().natsConnection_Request(&answer, connection_.get(), to.c_str(),
                                                         data.data(), static_cast<int>(data.size()),
                                                         absl::ToInt64Milliseconds(timeout));
  if (status == NATS_NO_RESPONDERS) {
    return absl::NotFoundError(absl::StrCat("nobody answers ", to));
  }
  if (status != NATS_OK) return Failed(absl::StrCat("no answer from ", to), status);
  return std::make_unique<Message>(answer);
}

absl::Status Connection::Publish(const NatsOutgoing& message) {
  natsMsg* created = nullptr;
  const std::string subject = InDomain(domain_, message.subject);
  const std::string reply(message.reply);
  natsStatus status =
      Lib().natsMsg_Create(&created, subject.c_str(), reply.empty() ? nullptr : reply.c_str(),
                           message.data.data(), static_cast<int>(message.data.size()));
  const Owned<natsMsg> owned(created);
  if (message.headers != nullptr) {
    for (const auto& [name, value] : *message.headers) {
      if (status == NATS_OK) {
        status = Lib().natsMsgHeader_Set(created, name.c_str(), value.c_str());
      }
    }
  }
  if (status == NATS_OK) status = Lib().natsConnection_PublishMsg(connection_.get(), created);
  if (status == NATS_OK) return absl::OkStatus();
  if (status == NATS_MAX_PAYLOAD) {
    return absl::InvalidArgumentError(
        absl::StrCat(subject,
                     ": with its headers the message is larger than the server's "
                     "max_payload of ",
                     Lib().natsConnection_GetMaxPayload(connection_.get()), " bytes"));
  }
  return Failed(absl::StrCat(subject, " cannot be sent"), status);
}

absl::StatusOr<std::unique_ptr<NatsSubscription>> Connection::Subscribe(const std::string& subject,
                                                                        size_t max_messages) {
  const auto inbox = std::make_shared<Inbox>(max_messages);
  auto closure = std::make_unique<InboxPtr>(inbox);
  natsSubscription* created = nullptr;
  natsStatus status = Lib().natsConnection_Subscribe(&created, connection_.get(), subject.c_str(),
                                                     TakeMessage, closure.get());
  if (status != NATS_OK) return Failed(absl::StrCat(subject, " cannot be subscribed to"), status);
  auto subscription = std::make_unique<Subscription>(connection_.get(), created, inbox);
  // The library has it from now on.
  status = Lib().natsSubscription_SetOnCompleteCB(created, EndInbox, closure.release());
  // The inbox has the limit; a message has one of its own, by the server.
  if (status == NATS_OK) status = Lib().natsSubscription_SetPendingLimits(created, -1, -1);
  if (status != NATS_OK) return Failed(absl::StrCat(subject, " cannot be subscribed to"), status);
  return subscription;
}

absl::StatusOr<std::string> Connection::NewInbox() {
  return absl::StrCat(inbox_prefix_, ".", RandomUuid());
}

absl::Status Connection::Flush(absl::Duration timeout) {
  const natsStatus status =
      Lib().natsConnection_FlushTimeout(connection_.get(), absl::ToInt64Milliseconds(timeout));
  return status == NATS_OK ? absl::OkStatus() : Failed("the server does not answer", status);
}

absl::StatusOr<Owned<natsOptions>> LibraryOptions(const NatsOptions& options) {
  natsOptions* created = nullptr;
  if (const natsStatus status = Lib().natsOptions_Create(&created); status != NATS_OK) {
    return absl::InternalError(ErrorText(status));
  }
  Owned<natsOptions> owned(created);
  std::vector<const char*> servers;
  for (const std::string& server : options.servers) servers.push_back(server.c_str());
  // The library's own reconnecting would send what waits before anybody asked what is stored.
  natsStatus status = FirstError({
      Lib().natsOptions_SetServers(created, servers.data(), static_cast<int>(servers.size())),
      Lib().natsOptions_SetAllowReconnect(created, false),
      Lib().natsOptions_SetTimeout(created,
                                   absl::ToInt64Milliseconds(NatsConnection::kConnectTimeout)),
      Lib().natsOptions_SetWriteDeadline(created, absl::ToInt64Milliseconds(kWriteTimeout)),
      Lib().natsOptions_SetPingInterval(created, absl::ToInt64Milliseconds(kPingInterval)),
      Lib().natsOptions_SetMaxPingsOut(created, kMaxPings),
      Lib().natsOptions_SetErrorHandler(created, IgnoreError, nullptr),
      Lib().natsOptions_SetName(created, options.name.c_str()),
      Lib().natsOptions_SetCustomInboxPrefix(created, options.inbox_prefix.c_str()),
      Lib().natsOptions_UseGlobalMessageDelivery(created, true),
  });
  if (status != NATS_OK) return absl::InternalError(ErrorText(status));
  // The library does not look at the scheme of an address.
  const bool tls = !options.tls_ca.empty() || !options.tls_cert.empty() ||
                   std::any_of(options.servers.begin(), options.servers.end(),
                               [](const std::string& url) { return absl::StartsWith(url, kTls); });
  if (tls) status = Lib().natsOptions_SetSecure(created, true);
  if (status != NATS_OK) return absl::InternalError(ErrorText(status));
  if (!options.tls_ca.empty()) {
    status = Lib().natsOptions_LoadCATrustedCertificates(created, options.tls_ca.c_str());
    if (status != NATS_OK) {
      return absl::UnavailableError(absl::StrCat("the TLS authorities in ", options.tls_ca,
                                                 " cannot be used: ", ErrorText(status)));
    }
  }
  if (!options.tls_cert.empty()) {
    status = Lib().natsOptions_LoadCertificatesChain(created, options.tls_cert.c_str(),
                                                     options.tls_key.c_str());
    if (status != NATS_OK) {
      return absl::UnavailableError(absl::StrCat("the TLS certificate ", options.tls_cert,
                                                 " cannot be used: ", ErrorText(status)));
    }
  }
  if (!options.tls_server_name.empty()) {
    status = Lib().natsOptions_SetExpectedHostname(created, options.tls_server_name.c_str());
    if (status != NATS_OK) return absl::InternalError(ErrorText(status));
  }
  if (!options.credentials.empty()) {
    status = Lib().natsOptions_SetUserCredentialsFromFiles(created, options.credentials.c_str(),
                                                           nullptr);
    if (status != NATS_OK) return absl::UnavailableError(ErrorText(status));
  }
  return owned;
}

}  // namespace

absl::Status LoadNatsLibrary() { return nats::Load(); }

absl::StatusOr<std::unique_ptr<NatsConnection>> ConnectNats(const NatsOptions& options) {
  if (absl::Status status = nats::Load(); !status.ok()) return status;
  const absl::StatusOr<Owned<natsOptions>> library_options = LibraryOptions(options);
  if (!library_options.ok()) return library_options.status();
  natsConnection* connection = nullptr;
  natsStatus status = NATS_OK;
  int left = options.credentials.empty() ? 1 : kSignatures;
  do {
    status = Lib().natsConnection_Connect(&connection, library_options->get());
  } while (status == NATS_CONNECTION_AUTH_FAILED && --left > 0);
  if (status != NATS_OK) {
    const std::string why = ErrorText(status);
    // The library has finished its handshake as the server refuses the client's certificate.
    const bool ended = absl::StrContains(why, "Expected 'PONG', got ''");
    return absl::UnavailableError(absl::StrCat(
        "no connection to ", absl::StrJoin(options.servers, ","), ": ",
        ended ? "the server closed it" : why,
        !ended                     ? ""
        : options.tls_cert.empty() ? ": the server may require a certificate of the client; give "
                                     "one (--tls-cert, of a push --push-cert)"
                                   : ": it may not accept the client's certificate; compare its "
                                     "authority with the server's ca_file"));
  }
  return std::make_unique<Connection>(connection, options.inbox_prefix, options.domain);
}

}  // namespace vmeventd
