#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "base/clock.h"
#include "client/connect/server_address.h"
#include "client/consume/source.h"
#include "client/output/node_event.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

namespace vmeventd::client {

// The state machine that continues a watch over any number of streams, with nothing lost or
// repeated: it decides what to request next, given what was received. Pure; one thread.
//
// It relies on the contract: the sequences of one journal increase on a stream, and none is given
// twice; Progress opens every stream, names the journal, and gives the sequence up to which
// everything was sent, and everything is durable. A snapshot counts once it is complete; until then
// it is requested again. The position never passes what is not durable: the next stream sends that
// again, and it is dropped if it was shown.
class WatchCursor {
 public:
  // A FromSequence must have its journal_id.
  explicit WatchCursor(WatchStart start);

  // Fills in `start` and `journal_id` of the next stream's request.
  void FillRequest(v1::WatchEventsRequest* request) const;

  // An event arrived. False: it was shown before; drop it.
  bool OnEvent(const v1::Event& event);

  // A Progress arrived. False: the server has another journal than the one requested, so events may
  // be missing; the cursor has moved to the new one.
  bool OnProgress(const v1::Progress& progress);

  // The snapshot is complete as of this Progress.
  void OnSnapshotDone(const v1::Progress& progress);

  // The server answered OUT_OF_RANGE: the requested start is gone, and it continues from the oldest
  // retained event; or the journal is `damaged` there, and it continues with new events. False: the
  // oldest was requested already, so there is nothing new to report.
  bool OnOutOfRange(bool damaged);

  // The last sequence known to be complete and durable, in the journal that it belongs to; none
  // before the first Progress.
  const std::optional<WatchPosition>& position() const { return position_; }

  // Returns whether the next stream must begin with a snapshot.
  bool AwaitsSnapshot() const;

 private:
  // Everything up to `sequence` has arrived, and everything up to `durable` is durable.
  void Reach(uint64_t sequence, uint64_t durable);

  WatchStart start_;
  std::optional<WatchPosition> position_;
  // In the position's journal:
  uint64_t reached_ = 0;  // everything up to it has arrived
  uint64_t durable_ = 0;  // everything up to it is durable
  uint64_t shown_ = 0;    // the newest event that was shown, or is not wanted
};

// Watches one daemon. One thread.
class DaemonSource : public ReconnectingSource {
 public:
  // The progress interval that each stream requests.
  static constexpr absl::Duration kProgressInterval = absl::Seconds(10);

  // Ends a stream that is silent for so long, while it is read.
  struct Silence {
    absl::Duration limit = 3 * kProgressInterval;
    std::function<absl::Time()> clock = SteadyNow;  // measures it
  };

  DaemonSource(WatchCommand command, ServerAddress address, Environment environment,
               Silence silence);
  DaemonSource(WatchCommand command, ServerAddress address, Environment environment)
      : DaemonSource(std::move(command), std::move(address), std::move(environment), Silence()) {}
  ~DaemonSource() override;

 private:
  class Stream;

  bool Open() override;
  bool Read(absl::Duration* timeout) override;
  grpc::Status ReadServerInfo();
  void Handle(v1::WatchEventsResponse* response);
  void HandleEvents(v1::WatchEventsResponse* response);
  void HandleProgress(const v1::Progress& progress);

  void NoteGap(const std::string& why, const std::optional<WatchPosition>& behind);
  // Each closes the connection, if there is one.
  void HandleServerEnd(const grpc::Status& status);
  void HandleOutOfRange(const grpc::Status& status);
  void HandleNoChannel(const absl::Status& status);
  bool MayRetry(grpc::StatusCode code) const;
  void NoteRetry(const grpc::Status& status);

  const WatchCommand command_;
  const ServerAddress address_;
  const Silence silence_;
  std::unique_ptr<v1::VmEventService::StubInterface> stub_;
  std::unique_ptr<Stream> stream_;
  absl::Duration silent_;              // of the stream, while it was read
  std::optional<WatchCursor> cursor_;  // unset until the journal of --from SEQ is known
  NodeVms snapshot_;                   // the received part of an incomplete one
  bool stream_established_ = false;    // the present stream has sent something
  bool opened_ = false;                // its Opened is among the items
  MessageNode node_;                   // the present server's, for `identify` and `named`
};

}  // namespace vmeventd::client
