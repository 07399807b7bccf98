// NATS's client library, loaded when it is needed, and JetStream's API on it. Facts: docs/fleet.md.

#include "server/fleet/jetstream_sink.h"

#include <dlfcn.h>
#include <nats/nats.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "server/fleet/jetstream_api.h"
#include "server/fleet/subject.h"

namespace vmeventd {
namespace {

#define VMEVENTD_TEXT_OF(number) #number
#define VMEVENTD_TEXT(number) VMEVENTD_TEXT_OF(number)
// Its functions may change with each minor version, and so does the file's name.
constexpr char kLibrary[] =
    "libnats.so." VMEVENTD_TEXT(NATS_VERSION_MAJOR) "." VMEVENTD_TEXT(NATS_VERSION_MINOR);

// What one server may take to be connected to, and to answer a request.
constexpr int64_t kConnectMillis = 2'000;
constexpr int64_t kRequestMillis = 5'000;
// A server that takes no bytes, or acknowledges nothing of a batch for so long, is lost.
constexpr int64_t kWriteMillis = 5'000;
constexpr absl::Duration kAckTimeout = absl::Seconds(5);
// How soon an Interrupt is noticed.
constexpr int64_t kSliceMillis = 100;
// A connection whose server says nothing to two pings is lost.
constexpr int64_t kPingMillis = 20'000;
constexpr int kMaxPings = 2;
constexpr absl::string_view kTls = "tls://";

// The functions that are used of the library.
#define VMEVENTD_NATS_FUNCTIONS(F)           \
  F(natsConnection_Connect)                  \
  F(natsConnection_Destroy)                  \
  F(natsConnection_IsClosed)                 \
  F(natsConnection_PublishMsg)               \
  F(natsConnection_RequestString)            \
  F(natsConnection_SubscribeSync)            \
  F(natsInbox_Create)                        \
  F(natsInbox_Destroy)                       \
  F(natsMsgHeader_Set)                       \
  F(natsMsg_Create)                          \
  F(natsMsg_Destroy)                         \
  F(natsMsg_GetData)                         \
  F(natsMsg_GetDataLength)                   \
  F(natsMsg_GetSubject)                      \
  F(natsMsg_IsNoResponders)                  \
  F(natsOptions_Create)                      \
  F(natsOptions_Destroy)                     \
  F(natsOptions_LoadCATrustedCertificates)   \
  F(natsOptions_LoadCertificatesChain)       \
  F(natsOptions_SetAllowReconnect)           \
  F(natsOptions_SetErrorHandler)             \
  F(natsOptions_SetMaxPingsOut)              \
  F(natsOptions_SetName)                     \
  F(natsOptions_SetPingInterval)             \
  F(natsOptions_SetSecure)                   \
  F(natsOptions_SetServers)                  \
  F(natsOptions_SetTimeout)                  \
  F(natsOptions_SetUserCredentialsFromFiles) \
  F(natsOptions_SetWriteDeadline)            \
  F(natsStatus_GetText)                      \
  F(natsSubscription_Destroy)                \
  F(natsSubscription_NextMsg)                \
  F(nats_GetLastError)

struct Functions {
// NOLINTNEXTLINE(bugprone-macro-parentheses): a declaration takes none.
#define VMEVENTD_DECLARE(name) decltype(&::name) name = nullptr;
  VMEVENTD_NATS_FUNCTIONS(VMEVENTD_DECLARE)
#undef VMEVENTD_DECLARE
};

// Filled by LoadFunctions(), and constant from then on.
Functions lib;

absl::Status Missing(absl::string_view what) {
  return absl::FailedPreconditionError(
      absl::StrCat("--publish needs NATS's client library (", what,
                   "): install the Debian package libnats3.4, or build vmeventd with the version "
                   "that you have"));
}

absl::Status LoadFunctions() {
  void* const library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return Missing(dlerror());
#define VMEVENTD_LOAD(name)                                                                 \
  lib.name = reinterpret_cast<decltype(lib.name)>(dlsym(library, #name)); /* as dlsym(3) */ \
  if (lib.name == nullptr) return Missing(dlerror());
  VMEVENTD_NATS_FUNCTIONS(VMEVENTD_LOAD)
#undef VMEVENTD_LOAD
  return absl::OkStatus();
}

// The library's words for what failed. They name servers and files, and no contents of credentials.
std::string ErrorText(natsStatus status) {
  const char* const detail = lib.nats_GetLastError(nullptr);
  const std::string text = lib.natsStatus_GetText(status);
  return detail == nullptr || *detail == '\0' || text == detail
             ? text
             : absl::StrCat(text, " (", detail, ")");
}

// By which RAII holds the library's objects.
struct Destroyer {
  void operator()(natsConnection* connection) const { lib.natsConnection_Destroy(connection); }
  void operator()(natsSubscription* subscription) const {
    lib.natsSubscription_Destroy(subscription);
  }
  void operator()(natsMsg* message) const { lib.natsMsg_Destroy(message); }
  void operator()(natsOptions* options) const { lib.natsOptions_Destroy(options); }
};
template <typename T>
using Owned = std::unique_ptr<T, Destroyer>;

// The library prints what it is not asked for; each call's error is looked at.
void IgnoreError(natsConnection*, natsSubscription*, natsStatus, void*) {}

absl::string_view DataOf(const Owned<natsMsg>& message) {
  const char* const data = lib.natsMsg_GetData(message.get());
  return data == nullptr ? absl::string_view()
                         : absl::string_view(
                               data, static_cast<size_t>(lib.natsMsg_GetDataLength(message.get())));
}

absl::Duration MonotonicNow() {
  return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

class JetStreamSink : public FleetSink {
 public:
  explicit JetStreamSink(JetStreamOptions options)
      : options_(std::move(options)), subjects_(NodeSubjects(options_.cluster, options_.node)) {}

  absl::StatusOr<std::optional<FleetPosition>> Connect() override;
  absl::StatusOr<std::set<uint64_t>> StoredAfter(const FleetPosition& after, size_t limit) override;
  Progress Publish(const std::vector<FleetMessage>& batch) override;
  absl::Status Check() override;
  void Interrupt() override { interrupted_ = true; }

 private:
  absl::Status Open();
  absl::StatusOr<Owned<natsOptions>> ConnectionOptions() const;
  absl::Status OpenStream();
  // JetStream's answer to a request of its API.
  absl::StatusOr<std::string> Request(absl::string_view api, const std::string& text);
  // The answer to a request for a message; nullopt: there is none.
  absl::StatusOr<std::optional<StoredMessage>> GetMessage(const std::string& request);
  absl::Status Send(const FleetMessage& message, size_t index);
  // The acknowledgements that come until each of `count` messages has one, or one is refused.
  Progress CollectAcks(size_t count);
  // The next acknowledgement, and the message that it is for.
  absl::StatusOr<std::pair<size_t, StreamAck>> NextAck();

  const JetStreamOptions options_;
  const std::string subjects_;  // of the node
  std::atomic<bool> interrupted_ = false;

  // In this order: the subscription goes before its connection.
  Owned<natsConnection> connection_;
  Owned<natsSubscription> acks_;
  std::string inbox_;        // where acknowledgements go: INBOX.BATCH.INDEX
  std::string batch_inbox_;  // of the batch under way
  uint64_t batches_ = 0;
};

absl::StatusOr<Owned<natsOptions>> JetStreamSink::ConnectionOptions() const {
  natsOptions* created = nullptr;
  if (const natsStatus status = lib.natsOptions_Create(&created); status != NATS_OK) {
    return absl::InternalError(ErrorText(status));
  }
  Owned<natsOptions> options(created);
  std::vector<const char*> servers;
  for (const std::string& server : options_.servers) servers.push_back(server.c_str());
  const auto first_error = [](std::initializer_list<natsStatus> results) {
    const auto* const found = std::find_if(results.begin(), results.end(),
                                           [](natsStatus result) { return result != NATS_OK; });
    return found == results.end() ? NATS_OK : *found;
  };
  // The library's own reconnecting would send what waits before anybody asked what is stored.
  natsStatus status = first_error({
      lib.natsOptions_SetServers(created, servers.data(), static_cast<int>(servers.size())),
      lib.natsOptions_SetAllowReconnect(created, false),
      lib.natsOptions_SetTimeout(created, kConnectMillis),
      lib.natsOptions_SetWriteDeadline(created, kWriteMillis),
      lib.natsOptions_SetPingInterval(created, kPingMillis),
      lib.natsOptions_SetMaxPingsOut(created, kMaxPings),
      lib.natsOptions_SetErrorHandler(created, IgnoreError, nullptr),
      lib.natsOptions_SetName(created, absl::StrCat("vmeventd ", options_.node).c_str()),
  });
  if (status != NATS_OK) return absl::InternalError(ErrorText(status));
  // The library does not look at the scheme of an address.
  const bool tls = !options_.tls_ca.empty() || !options_.tls_cert.empty() ||
                   std::any_of(options_.servers.begin(), options_.servers.end(),
                               [](const std::string& url) { return absl::StartsWith(url, kTls); });
  if (tls) status = lib.natsOptions_SetSecure(created, true);
  if (status != NATS_OK) return absl::InternalError(ErrorText(status));
  if (!options_.tls_ca.empty()) {
    status =
        first_error({lib.natsOptions_SetSecure(created, true),
                     lib.natsOptions_LoadCATrustedCertificates(created, options_.tls_ca.c_str())});
    if (status != NATS_OK) {
      return absl::UnavailableError(
          absl::StrCat("--publish-tls-ca ", options_.tls_ca, ": ", ErrorText(status)));
    }
  }
  if (!options_.tls_cert.empty()) {
    status = lib.natsOptions_LoadCertificatesChain(created, options_.tls_cert.c_str(),
                                                   options_.tls_key.c_str());
    if (status != NATS_OK) {
      return absl::UnavailableError(
          absl::StrCat("--publish-tls-cert ", options_.tls_cert, ": ", ErrorText(status)));
    }
  }
  if (!options_.credentials.empty()) {
    status =
        lib.natsOptions_SetUserCredentialsFromFiles(created, options_.credentials.c_str(), nullptr);
    if (status != NATS_OK) return absl::UnavailableError(ErrorText(status));
  }
  return options;
}

absl::Status JetStreamSink::Open() {
  acks_.reset();
  connection_.reset();
  if (interrupted_) return absl::CancelledError("vmeventd is stopping");
  const absl::StatusOr<Owned<natsOptions>> options = ConnectionOptions();
  if (!options.ok()) return options.status();
  natsConnection* connection = nullptr;
  if (const natsStatus status = lib.natsConnection_Connect(&connection, options->get());
      status != NATS_OK) {
    return absl::UnavailableError(absl::StrCat(
        "no connection to ", absl::StrJoin(options_.servers, ","), ": ", ErrorText(status)));
  }
  connection_.reset(connection);
  natsInbox* inbox = nullptr;
  if (const natsStatus status = lib.natsInbox_Create(&inbox); status != NATS_OK) {
    return absl::UnavailableError(ErrorText(status));
  }
  inbox_ = inbox;
  lib.natsInbox_Destroy(inbox);
  natsSubscription* acks = nullptr;
  if (const natsStatus status =
          lib.natsConnection_SubscribeSync(&acks, connection, absl::StrCat(inbox_, ".>").c_str());
      status != NATS_OK) {
    return absl::UnavailableError(ErrorText(status));
  }
  acks_.reset(acks);
  return absl::OkStatus();
}

absl::StatusOr<std::string> JetStreamSink::Request(absl::string_view api, const std::string& text) {
  if (interrupted_) return absl::CancelledError("vmeventd is stopping");
  natsMsg* answer = nullptr;
  const std::string subject = absl::StrCat("$JS.API.", api, ".", options_.stream);
  const natsStatus status = lib.natsConnection_RequestString(
      &answer, connection_.get(), subject.c_str(), text.c_str(), kRequestMillis);
  if (status == NATS_NO_RESPONDERS) {
    return absl::UnavailableError(
        "the server has no JetStream, or not for this account: enable it in the server's "
        "configuration (jetstream {})");
  }
  if (status != NATS_OK) {
    return absl::UnavailableError(
        absl::StrCat("JetStream does not answer ", subject, ": ", ErrorText(status)));
  }
  const Owned<natsMsg> message(answer);
  return std::string(DataOf(message));
}

absl::Status JetStreamSink::OpenStream() {
  absl::StatusOr<std::string> answer = Request("STREAM.INFO", "");
  if (!answer.ok()) return answer.status();
  absl::Status found = CheckAnswer(*answer);
  if (!absl::IsNotFound(found)) return found;
  if (options_.create_replicas == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("there is no stream ", options_.stream,
                     ": create it (docs/fleet.md), or give --publish-create-stream"));
  }
  answer = Request("STREAM.CREATE", CreateStreamRequest(options_.stream, options_.create_replicas));
  if (!answer.ok()) return answer.status();
  if (absl::Status created = CheckAnswer(*answer); !created.ok()) {
    return absl::UnavailableError(
        absl::StrCat("the stream ", options_.stream, " cannot be created: ", created.message()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<StoredMessage>> JetStreamSink::GetMessage(const std::string& request) {
  const absl::StatusOr<std::string> answer = Request("STREAM.MSG.GET", request);
  if (!answer.ok()) return answer.status();
  absl::StatusOr<StoredMessage> message = ParseStoredMessage(*answer);
  if (absl::IsNotFound(message.status())) return std::nullopt;
  if (!message.ok()) return message.status();
  return *std::move(message);
}

absl::StatusOr<std::optional<FleetPosition>> JetStreamSink::Connect() {
  absl::Status status = Open();
  if (status.ok()) status = OpenStream();
  if (!status.ok()) return status;
  const absl::StatusOr<std::optional<StoredMessage>> last =
      GetMessage(LastMessageRequest(subjects_));
  if (!last.ok()) return last.status();
  if (!last->has_value() || !(*last)->id.has_value()) return std::nullopt;
  return FleetPosition{(*last)->id->journal_id, (*last)->id->sequence, (*last)->stream_sequence};
}

absl::StatusOr<std::set<uint64_t>> JetStreamSink::StoredAfter(const FleetPosition& after,
                                                              size_t limit) {
  std::set<uint64_t> found;
  uint64_t next = after.stream_sequence + 1;
  for (size_t searched = 0;; ++searched) {
    const absl::StatusOr<std::optional<StoredMessage>> message =
        GetMessage(NextMessageRequest(subjects_, next));
    if (!message.ok()) return message.status();
    if (!message->has_value()) return found;
    if (searched == limit) {
      return absl::OutOfRangeError(absl::StrCat("more than ", limit, " messages of the node"));
    }
    const StoredMessage& stored = **message;
    if (stored.id.has_value() && stored.id->journal_id == after.journal_id &&
        stored.id->sequence > after.sequence) {
      found.insert(stored.id->sequence);
    }
    next = stored.stream_sequence + 1;
  }
}

absl::Status JetStreamSink::Send(const FleetMessage& message, size_t index) {
  natsMsg* created = nullptr;
  natsStatus status = lib.natsMsg_Create(
      &created, message.subject.c_str(), absl::StrCat(batch_inbox_, index).c_str(),
      message.payload.data(), static_cast<int>(message.payload.size()));
  const Owned<natsMsg> owned(created);
  for (const auto& [name, value] : message.headers) {
    if (status != NATS_OK) break;
    status = lib.natsMsgHeader_Set(created, name.c_str(), value.c_str());
  }
  if (status == NATS_OK) status = lib.natsConnection_PublishMsg(connection_.get(), created);
  if (status == NATS_OK) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("the event ", message.sequence, " cannot be sent: ", ErrorText(status)));
}

FleetSink::Progress JetStreamSink::Publish(const std::vector<FleetMessage>& batch) {
  batch_inbox_ = absl::StrCat(inbox_, ".", ++batches_, ".");
  for (size_t i = 0; i < batch.size(); ++i) {
    if (absl::Status status = Send(batch[i], i); !status.ok()) return {.status = status};
  }
  return CollectAcks(batch.size());
}

absl::Status JetStreamSink::Check() {
  return lib.natsConnection_IsClosed(connection_.get())
             ? absl::UnavailableError("the connection is lost")
             : absl::OkStatus();
}

absl::StatusOr<std::pair<size_t, StreamAck>> JetStreamSink::NextAck() {
  const absl::Duration deadline = MonotonicNow() + kAckTimeout;
  while (MonotonicNow() < deadline) {
    if (interrupted_) return absl::CancelledError("vmeventd is stopping");
    natsMsg* received = nullptr;
    const natsStatus status = lib.natsSubscription_NextMsg(&received, acks_.get(), kSliceMillis);
    if (status == NATS_TIMEOUT) continue;
    if (status != NATS_OK) {
      return absl::UnavailableError(absl::StrCat("the connection is lost: ", ErrorText(status)));
    }
    const Owned<natsMsg> message(received);
    absl::string_view subject = lib.natsMsg_GetSubject(received);
    size_t index = 0;
    if (!absl::ConsumePrefix(&subject, batch_inbox_) || !absl::SimpleAtoi(subject, &index)) {
      continue;  // of a batch before
    }
    if (lib.natsMsg_IsNoResponders(received)) {
      return absl::UnavailableError(absl::StrCat(
          "no stream takes the events: the stream ", options_.stream,
          " has no leader at the moment, or lacks the subjects ", kSubjectPrefix, ".>"));
    }
    absl::StatusOr<StreamAck> ack = ParseAck(DataOf(message));
    if (!ack.ok()) return ack.status();
    if (ack->stream != options_.stream) {
      return absl::UnavailableError(absl::StrCat(
          "the events go into the stream ", ack->stream, " instead of ", options_.stream,
          ": name it by --publish-stream, or take the subjects ", kSubjectPrefix, ".> from it"));
    }
    return std::pair(index, *std::move(ack));
  }
  return absl::UnavailableError(
      absl::StrCat("no acknowledgement came for ", absl::FormatDuration(kAckTimeout)));
}

FleetSink::Progress JetStreamSink::CollectAcks(size_t count) {
  Progress progress;
  std::vector<StreamAck> acks(count);  // stream_sequence 0: not yet
  for (size_t missing = count; missing > 0;) {
    absl::StatusOr<std::pair<size_t, StreamAck>> ack = NextAck();
    if (!ack.ok()) {
      progress.status = ack.status();
      break;
    }
    if (ack->first >= count || acks[ack->first].stream_sequence != 0) continue;
    acks[ack->first] = std::move(ack->second);
    --missing;
  }
  for (const StreamAck& ack : acks) {
    if (ack.stream_sequence == 0) break;
    ++progress.acknowledged;
    progress.stream_sequence = std::max(progress.stream_sequence, ack.stream_sequence);
    if (ack.repeated) ++progress.repeated;
  }
  return progress;
}

}  // namespace

absl::StatusOr<std::unique_ptr<FleetSink>> MakeJetStreamSink(JetStreamOptions options) {
  if (absl::Status status = LoadFunctions(); !status.ok()) return status;
  return std::make_unique<JetStreamSink>(std::move(options));
}

}  // namespace vmeventd
