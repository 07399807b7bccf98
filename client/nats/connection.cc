#include "client/nats/connection.h"

#include <nats/nats.h>

#include <algorithm>
#include <cstdlib>
#include <deque>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/shared_library.h"
#include "base/uuid.h"
#include "client/nats/domain.h"
#include "client/nats/message.h"
#include "client/nats/options.h"
#include "client/nats/url.h"

namespace vmeventd::client {
namespace {

void* libnats = nullptr;  // set by LoadNatsLibrary(), and constant from then on
#define NATS(function) VMEVENTD_FUNCTION_OF(libnats, function)

// Deleter of the library's objects.
struct Destroyer {
  void operator()(natsConnection* connection) const { NATS(natsConnection_Destroy)(connection); }
  void operator()(natsSubscription* subscription) const {
    NATS(natsSubscription_Destroy)(subscription);
  }
  void operator()(natsMsg* message) const { NATS(natsMsg_Destroy)(message); }
  void operator()(natsOptions* options) const { NATS(natsOptions_Destroy)(options); }
};
template <typename T>
using Owned = std::unique_ptr<T, Destroyer>;

// The library's words for what failed in this thread. They name servers and files, and no contents
// of credentials.
std::string ErrorText(natsStatus status) {
  absl::string_view detail = absl::NullSafeStringView(NATS(nats_GetLastError)(nullptr));
  const absl::string_view text = NATS(natsStatus_GetText)(status);
  // "(conn.c:3264): no connection": the line of its source, and then the reason.
  const size_t end = detail.find("): ");
  if (absl::StartsWith(detail, "(") && end != detail.npos) detail.remove_prefix(end + 3);
  if (detail.empty() || absl::StrContains(text, detail)) return std::string(text);
  if (absl::StartsWithIgnoreCase(detail, text)) return std::string(detail);
  return absl::StrCat(text, " (", detail, ")");
}

// Timeout of a write; then the server counts as lost.
constexpr absl::Duration kWriteTimeout = absl::Seconds(5);
// A connection whose server answers none of two pings is lost.
constexpr absl::Duration kPingInterval = absl::Seconds(20);
constexpr int kMaxPings = 2;
// The library (3.4.1) signs about one in 256 of the servers' challenges wrongly: 12 of 3,000
// measured. Each connection gets another challenge.
constexpr int kSignatures = 3;
// Interval in which a wait for a message checks for a lost connection.
constexpr absl::Duration kClosedCheck = absl::Milliseconds(100);

// The library would print the errors that it gets no handler for; each call's error is checked.
void IgnoreError(natsConnection*, natsSubscription*, natsStatus, void*) {}

NatsMessage MessageOf(natsMsg* received) {
  const Owned<natsMsg> owned(received);
  NatsMessage message = {
      .subject = std::string(absl::NullSafeStringView(NATS(natsMsg_GetSubject)(received))),
      .reply = std::string(absl::NullSafeStringView(NATS(natsMsg_GetReply)(received)))};
  if (const char* const data = NATS(natsMsg_GetData)(received); data != nullptr) {
    message.data.assign(data, static_cast<size_t>(NATS(natsMsg_GetDataLength)(received)));
  }
  const char** names = nullptr;
  int count = 0;
  if (NATS(natsMsgHeader_Keys)(received, &names, &count) != NATS_OK) return message;
  for (int i = 0; i < count; ++i) {
    const char* value = nullptr;
    if (NATS(natsMsgHeader_Get)(received, names[i], &value) != NATS_OK) continue;
    message.headers.emplace_back(names[i], absl::NullSafeStringView(value));
  }
  std::free(names);
  return message;
}

// Messages that the library delivers on a thread of its own, which all connections share. Its
// functions that wait for a message take a message's status 503 for the server's, with which any
// publisher can stop a reader.
struct Inbox {
  Mutex mutex;
  CondVar changed;
  std::deque<NatsMessage> messages ABSL_GUARDED_BY(mutex);
};
using InboxPtr = std::shared_ptr<Inbox>;

void TakeMessage(natsConnection*, natsSubscription*, natsMsg* received, void* closure) {
  NatsMessage message = MessageOf(received);
  Inbox& inbox = **static_cast<InboxPtr*>(closure);
  {
    const MutexLock lock(&inbox.mutex);
    if (inbox.messages.size() < NatsConnection::kMaxWaiting) {
      inbox.messages.push_back(std::move(message));
    }
  }
  inbox.changed.NotifyOne();
}

// The library no longer calls TakeMessage.
void EndInbox(void* closure) { delete static_cast<InboxPtr*>(closure); }

class Subscription : public NatsSubscription {
 public:
  Subscription(natsConnection* connection, natsSubscription* subscription, InboxPtr inbox)
      : connection_(connection), inbox_(std::move(inbox)), subscription_(subscription) {}

  absl::StatusOr<std::optional<NatsMessage>> Next(absl::Duration timeout) override {
    const absl::Time deadline = SteadyNow() + timeout;
    while (true) {
      const bool closed = NATS(natsConnection_IsClosed)(connection_);
      const absl::Duration left = deadline - SteadyNow();
      const MutexLock lock(&inbox_->mutex);
      const auto came = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(inbox_->mutex) {
        return !inbox_->messages.empty();
      };
      if (!closed) WaitUntil(&inbox_->changed, &inbox_->mutex, std::min(left, kClosedCheck), came);
      if (!inbox_->messages.empty()) {
        NatsMessage message = std::move(inbox_->messages.front());
        inbox_->messages.pop_front();
        return message;
      }
      if (closed) {
        const char* why = nullptr;
        (void)NATS(natsConnection_GetLastError)(connection_, &why);
        return absl::UnavailableError(
            absl::StrCat("the connection is lost: ", absl::NullSafeStringView(why)));
      }
      if (left <= absl::ZeroDuration()) return std::nullopt;
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

  absl::StatusOr<std::string> Request(const NatsMessage& message, absl::Duration timeout) override {
    natsMsg* answer = nullptr;
    absl::Status status = Send(message, "no answer from ", [&](natsMsg* request) {
      return NATS(natsConnection_RequestMsg)(&answer, connection_.get(), request,
                                             absl::ToInt64Milliseconds(timeout));
    });
    if (!status.ok()) return status;
    return MessageOf(answer).data;
  }

  absl::Status Publish(const NatsMessage& message) override {
    return Send(message, "cannot send ", [&](natsMsg* created) {
      return NATS(natsConnection_PublishMsg)(connection_.get(), created);
    });
  }

  absl::StatusOr<std::unique_ptr<NatsSubscription>> Subscribe(const std::string& subject) override {
    const auto inbox = std::make_shared<Inbox>();
    auto closure = std::make_unique<InboxPtr>(inbox);
    natsSubscription* created = nullptr;
    natsStatus status = NATS(natsConnection_Subscribe)(&created, connection_.get(), subject.c_str(),
                                                       TakeMessage, closure.get());
    std::unique_ptr<NatsSubscription> subscription;
    if (status == NATS_OK) {
      subscription = std::make_unique<Subscription>(connection_.get(), created, inbox);
      // The library owns it from now on.
      status = NATS(natsSubscription_SetOnCompleteCB)(created, EndInbox, closure.release());
    }
    if (status != NATS_OK) return Failed("cannot subscribe to ", subject, status);
    return subscription;
  }

  std::string NewInbox() override { return absl::StrCat(inbox_prefix_, ".", RandomUuid()); }

  bool closed() const override { return NATS(natsConnection_IsClosed)(connection_.get()); }
  std::string complaint() const override {
    const char* text = nullptr;
    if (NATS(natsConnection_GetLastError)(connection_.get(), &text) == NATS_OK) return "";
    return std::string(absl::NullSafeStringView(text));
  }

 private:
  // Passes the message to the library by `send`. An error begins with `what`.
  template <typename Sender>
  absl::Status Send(const NatsMessage& message, absl::string_view what, const Sender& send) const {
    const std::string subject = InDomain(domain_, message.subject);
    natsMsg* created = nullptr;
    natsStatus status = NATS(natsMsg_Create)(
        &created, subject.c_str(), message.reply.empty() ? nullptr : message.reply.c_str(),
        message.data.data(), static_cast<int>(message.data.size()));
    const Owned<natsMsg> owned(created);
    for (const auto& [name, value] : message.headers) {
      if (status == NATS_OK) status = NATS(natsMsgHeader_Set)(created, name.c_str(), value.c_str());
    }
    if (status == NATS_OK) status = send(created);
    if (status == NATS_OK) return absl::OkStatus();
    if (status == NATS_NO_RESPONDERS) {
      return absl::NotFoundError(absl::StrCat("nobody answers ", subject));
    }
    if (status != NATS_MAX_PAYLOAD) return Failed(what, subject, status);
    return absl::InvalidArgumentError(absl::StrCat(
        subject, ": with its headers the message is larger than the server's max_payload of ",
        NATS(natsConnection_GetMaxPayload)(connection_.get()), " bytes"));
  }
  // A call's error, with the server's complaint.
  absl::Status Failed(absl::string_view what, absl::string_view subject, natsStatus status) const {
    const std::string reported = complaint();
    const std::string why = ErrorText(status);
    return absl::UnavailableError(absl::StrCat(what, subject, ": ", why,
                                               reported.empty() || absl::StrContains(why, reported)
                                                   ? ""
                                                   : "; the server reports: " + reported));
  }

  const Owned<natsConnection> connection_;
  const std::string inbox_prefix_;
  const std::string domain_;
};

absl::StatusOr<Owned<natsOptions>> LibraryOptions(const NatsOptions& options,
                                                  const std::string& inbox_prefix) {
  absl::Status result;
  const auto check = [&result](natsStatus status, absl::string_view object = "libnats") {
    if (status == NATS_OK) return;
    result.Update(
        absl::UnavailableError(absl::StrCat(object, " cannot be used: ", ErrorText(status))));
  };
  natsOptions* to = nullptr;
  check(NATS(natsOptions_Create)(&to));
  Owned<natsOptions> owned(to);
  if (!result.ok()) return result;
  std::vector<const char*> servers;
  for (const std::string& server : options.servers) servers.push_back(server.c_str());
  check(NATS(natsOptions_SetServers)(to, servers.data(), static_cast<int>(servers.size())));
  // The library's own reconnecting would send waiting messages before the sink knows which are
  // stored.
  check(NATS(natsOptions_SetAllowReconnect)(to, false));
  check(
      NATS(natsOptions_SetTimeout)(to, absl::ToInt64Milliseconds(NatsConnection::kConnectTimeout)));
  check(NATS(natsOptions_SetWriteDeadline)(to, absl::ToInt64Milliseconds(kWriteTimeout)));
  check(NATS(natsOptions_SetSendAsap)(to, true));  // otherwise a message waits 1 ms for others
  check(NATS(natsOptions_SetPingInterval)(to, absl::ToInt64Milliseconds(kPingInterval)));
  check(NATS(natsOptions_SetMaxPingsOut)(to, kMaxPings));
  check(NATS(natsOptions_SetErrorHandler)(to, IgnoreError, nullptr));
  check(NATS(natsOptions_SetName)(to, options.name.c_str()));
  check(NATS(natsOptions_SetCustomInboxPrefix)(to, inbox_prefix.c_str()));
  check(NATS(natsOptions_UseGlobalMessageDelivery)(to, true));
  const TlsOptions tls = options.tls.value_or(TlsOptions());
  // The library does not look at the scheme of an address.
  if (!tls.ca_file.empty() || !tls.cert_file.empty() ||
      std::any_of(options.servers.begin(), options.servers.end(),
                  [](const std::string& url) { return absl::StartsWith(url, "tls://"); })) {
    check(NATS(natsOptions_SetSecure)(to, true));
  }
  if (!tls.ca_file.empty()) {
    check(NATS(natsOptions_LoadCATrustedCertificates)(to, tls.ca_file.c_str()),
          absl::StrCat("the TLS authorities in ", tls.ca_file));
  }
  if (!tls.cert_file.empty()) {
    check(NATS(natsOptions_LoadCertificatesChain)(to, tls.cert_file.c_str(), tls.key_file.c_str()),
          absl::StrCat("the TLS certificate ", tls.cert_file));
  }
  if (!tls.server_name.empty()) {
    check(NATS(natsOptions_SetExpectedHostname)(to, tls.server_name.c_str()));
  }
  if (!options.credentials.empty()) {
    check(NATS(natsOptions_SetUserCredentialsFromFiles)(to, options.credentials.c_str(), nullptr),
          absl::StrCat("the credentials ", options.credentials));
  }
  if (!result.ok()) return result;
  return owned;
}

// Loads NATS's client library, once in a process.
const absl::Status& LoadNatsLibrary() {
  static const auto* const loaded = new absl::Status([] {
    // The library's functions may change with each minor version, and so does the name of its file.
    const std::string version = absl::StrCat(NATS_VERSION_MAJOR, ".", NATS_VERSION_MINOR);
    const absl::StatusOr<void*> library =
        LoadSharedLibrary(absl::StrCat("libnats.so.", version).c_str(),
                          absl::StrCat("install the Debian package libnats", version,
                                       ", or build vmevents with the version that you have"));
    if (library.ok()) libnats = *library;
    return library.status();
  }());
  return *loaded;
}

}  // namespace

absl::StatusOr<std::unique_ptr<NatsConnection>> ConnectNats(const NatsOptions& options) {
  if (!LoadNatsLibrary().ok()) return LoadNatsLibrary();
  // A client that knew the subject of the answers could make the server send a forged one to it.
  const std::string inbox_prefix = absl::StrCat(options.inbox_prefix, ".", RandomUuid());
  const auto library_options = LibraryOptions(options, inbox_prefix);
  if (!library_options.ok()) return library_options.status();
  natsConnection* connection = nullptr;
  natsStatus status = NATS_OK;
  int left = options.credentials.empty() ? 1 : kSignatures;
  do {
    status = NATS(natsConnection_Connect)(&connection, library_options->get());
  } while (status == NATS_CONNECTION_AUTH_FAILED && --left > 0);
  if (status != NATS_OK) {
    std::string why = absl::StrCat("no connection: ", ErrorText(status));
    const bool shows_certificate = options.tls && !options.tls->cert_file.empty();
    const bool speaks_tls =
        options.tls || absl::c_any_of(options.servers, [](const std::string& url) {
          return absl::StartsWith(url, "tls://");
        });
    if (status == NATS_PROTOCOL_ERROR && speaks_tls && !shows_certificate) {
      // The library has finished its handshake when the server refuses the client.
      why =
          "no connection: the server closed it after the handshake; it may require a certificate "
          "of the client: give one that an authority of its ca_file has issued (--tls-cert, of a "
          "push --push-cert)";
    } else if (status == NATS_SSL_ERROR) {
      absl::StrAppend(&why,
                      "; if the authority of the server's certificate is not known, name its file "
                      "(--tls-ca, of a push --push-ca)");
    }
    return absl::UnavailableError(why);
  }
  return std::make_unique<Connection>(connection, inbox_prefix, options.domain);
}

}  // namespace vmeventd::client
