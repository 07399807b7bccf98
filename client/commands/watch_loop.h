#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "client/commands/watch_cursor.h"
#include "client/connect/connection.h"
#include "client/connect/failure.h"
#include "client/connect/server_address.h"
#include "client/consume/delivery.h"
#include "client/output/node_event.h"
#include "grpcpp/client_context.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

namespace vmeventd::client {

// The progress interval that each stream requests.
constexpr absl::Duration kProgressInterval = absl::Seconds(10);

// A watch: where it starts, its filter, and how long it goes on.
struct WatchCommand {
  WatchStart start;  // a FromSequence without a journal_id uses the server's present journal
  v1::EventFilter filter;
  bool resume = true;         // continues when the daemon, or the fleet's servers, come back
  bool wait = false;          // waits for those that are not there yet
  bool durable_only = false;  // no event comes before it is durable
  // Set for consumers that are no people: delivers each event with its node's own name and journal,
  // for which the daemon is asked, and what is noted as a GAP also as an event of MakeGap().
  bool identify = false;
};

// A GAP that no journal has: it has no sequence, and `missing` begins behind the position and has
// no end. The position does not move.
NodeEvents MakeGap(MessageNode node, const WatchPosition& behind, const std::string& why);

// Watches one node. If the address has several nodes, it keeps to the first that answers. One
// thread.
class WatchLoop : public WatchSource {
 public:
  // The dependencies. All must outlive the loop.
  struct Environment {
    ServerAddress address;
    StopSource* stop = nullptr;
    PrintSentence note;
    // Waits before the next attempt; returns whether to stop instead.
    std::function<bool(absl::Duration)> wait;
    // A number in [0, 1) for the random part of a pause.
    std::function<double()> random = RandomFraction;
    Resolver resolve = ResolveHost;
    // Limit of a stream's silence: three progress intervals.
    absl::Duration silence_limit = 3 * kProgressInterval;
    std::function<absl::Time()> clock = SteadyNow;  // measures the silence; any thread
  };

  WatchLoop(WatchCommand command, Environment environment);
  // Waits and asks the system's resolver until `stop` ends both.
  WatchLoop(WatchCommand command, const ServerAddress& address, StopSource* stop,
            PrintSentence note);

  ExitCode Run(WatchSink* sink) override;

 private:
  // Reason why the loop stopped reading a stream.
  enum class StreamEnd { kServer, kSink };

  std::optional<ExitCode> RunStream();
  std::optional<ExitCode> HandleNoAnswer(const grpc::Status& status);
  std::optional<ExitCode> HandleAnswer(const v1::GetServerInfoResponse& info, bool* follow);
  bool NeedsServerInfo() const;
  grpc::Status GetServerInfo(v1::GetServerInfoResponse* info);
  StreamEnd ReadStream(grpc::ClientReaderInterface<v1::WatchEventsResponse>* reader,
                       SilenceGuard* guard);
  std::optional<StreamEnd> Handle(v1::WatchEventsResponse* response);
  // False, as of the next two: the sink ends the watch.
  bool HandleSnapshot(v1::WatchEventsResponse* response);
  bool HandleEvents(v1::WatchEventsResponse* response);
  bool ReportPosition();
  void HandleProgress(const v1::Progress& progress);

  void NoteGap(const std::string& why, const std::optional<WatchPosition>& behind);
  std::optional<ExitCode> HandleServerEnd(const grpc::Status& status);
  void HandleOutOfRange(const grpc::Status& status);
  std::optional<ExitCode> HandleBadFiles(const absl::Status& status);
  // Returns whether the host of the present attempt could be resolved.
  bool IsResolved() const { return address_.is_unix() || !address_.numeric.empty(); }
  Failure Explain(const grpc::Status& status) const;
  bool MayRetry(grpc::StatusCode code) const;
  void NoteRetry(const grpc::Status& status);
  void NoteOnce(const std::string& why);
  void NoteEstablished();

  const WatchCommand command_;
  const Environment env_;
  WatchSink* sink_ = nullptr;  // Run()'s
  NodePin pin_;
  ServerAddress address_;  // address of the present attempt
  std::unique_ptr<v1::VmEventService::StubInterface> stub_;
  std::optional<WatchCursor> cursor_;      // unset until the journal of --from SEQ is known
  NodeVms snapshot_;                       // the received part of an incomplete one
  std::optional<WatchPosition> reported_;  // the sink's latest
  Backoff backoff_;
  bool ever_established_ = false;
  bool stream_established_ = false;  // the present stream has sent something
  bool loss_noted_ = false;
  std::string last_reason_;  // last noted, since the last stream
  MessageNode node_;         // the present server's, for `identify`
  bool retry_at_once_ = false;
};

}  // namespace vmeventd::client
