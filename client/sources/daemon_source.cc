#include "client/sources/daemon_source.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "client/connect/call_failure.h"
#include "client/connect/connection.h"
#include "client/connect/failure.h"
#include "client/connect/server_address.h"
#include "client/connect/tls_probe.h"
#include "client/output/terminal_text.h"
#include "client/sources/position_gap.h"
#include "client/sources/watch_cursor.h"
#include "client/sources/watch_stream.h"
#include "grpcpp/client_context.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

class DaemonSource : public ReconnectingSource {
 public:
  DaemonSource(WatchCommand command, ServerAddress address, Environment environment,
               Silence silence)
      : ReconnectingSource(std::move(environment)),
        command_(std::move(command)),
        address_(std::move(address)),
        silence_(std::move(silence)) {
    const auto* from = std::get_if<FromSequence>(&command_.start);
    if (from == nullptr || !from->journal_id.empty()) cursor_.emplace(command_.start);
  }

 private:
  bool Open() override {
    opened_ = false;
    stream_.reset();
    snapshot_.clear();
    const auto channel = Connect(address_);
    if (!channel.ok()) {
      // The user must correct TLS files at the start; later they may be in the middle of a
      // replacement.
      if (!absl::IsUnavailable(channel.status())) {
        HandleFailure(ExplainNoChannel(address_, channel.status()), ever_established());
      } else {
        HandleServerEnd({grpc::StatusCode::UNAVAILABLE, std::string(channel.status().message())});
      }
      return false;
    }
    stub_ = v1::VmEventService::NewStub(*channel);
    if (!cursor_ || command_.identify || command_.named) {
      if (const grpc::Status status = ReadServerInfo(); !status.ok()) {
        HandleServerEnd(status);
        return false;
      }
    }
    v1::WatchEventsRequest request;
    *request.mutable_filter() = command_.filter;
    request.set_durable_only(command_.durable_only);
    *request.mutable_progress_interval() = ToProtoDuration(kProgressInterval);
    cursor_->FillRequest(&request);
    silent_ = absl::ZeroDuration();
    stream_ = std::make_unique<WatchStream>(stub_.get(), request, stop()->token());
    return true;
  }

  bool Read(absl::Duration* timeout) override {
    const absl::Duration limit = std::min(*timeout, silence_.limit - silent_);
    const bool is_timeout = limit == *timeout;
    const absl::Time before = silence_.clock();
    const WatchStream::Step step = stream_->Wait(limit);
    const absl::Duration waited = silence_.clock() - before;
    *timeout -= waited;
    if (step == WatchStream::Step::kMessage) {
      silent_ = absl::ZeroDuration();
      Handle(stream_->response());
      return true;
    }
    if (step == WatchStream::Step::kEnd) {
      HandleServerEnd(stream_->Finish());
      return true;
    }
    silent_ += waited;
    if (silent_ < silence_.limit) return !is_timeout;
    stream_.reset();
    HandleServerEnd({grpc::StatusCode::UNAVAILABLE,
                     absl::StrCat("nothing came for ", absl::FormatDuration(silence_.limit))});
    return true;
  }

  void Handle(v1::WatchEventsResponse* response) {
    NoteEstablished(absl::StrCat("connected to vmeventd at ", ToText(address_), " again"));
    // Collects the VMs until the snapshot is complete, so that a stream that breaks off in between
    // shows no VM twice.
    for (v1::Vm& vm : *response->mutable_snapshot_vms()) {
      snapshot_.push_back({std::move(vm), node_});
    }
    if (response->has_snapshot_done()) {
      cursor_->OnSnapshotDone(response->snapshot_done());
      Add(std::exchange(snapshot_, {}));
    }
    if (!cursor_->AwaitsSnapshot() && !std::exchange(opened_, true)) Add(Opened{});
    HandleEvents(response);
    if (response->has_progress()) HandleProgress(response->progress());
    // A Progress, and an event that was delivered before, move the position as well.
    AddPosition(cursor_->position());
  }

  void HandleEvents(v1::WatchEventsResponse* response) {
    NodeEvents fresh;
    for (v1::Event& event : *response->mutable_events()) {
      if (!cursor_->OnEvent(event)) continue;
      const WatchPosition position = cursor_->position().value_or(WatchPosition{});
      fresh.push_back({std::move(event), node_, {0, position}});
      // The journal may have been replaced under the stream.
      if (cursor_->position()) fresh.back().node.journal_id = position.journal_id;
    }
    if (!fresh.empty()) Add(std::move(fresh));
  }

  void HandleProgress(const v1::Progress& progress) {
    const std::optional<WatchPosition> before = cursor_->position();
    if (cursor_->OnProgress(progress)) return;
    NoteGap(absl::StrCat("vmeventd at ", ToText(address_), " has begun the new journal ",
                         EscapeForTerminal(progress.journal_id())),
            before);
  }

  void NoteGap(const std::string& why, const std::optional<WatchPosition>& behind) {
    const std::string sentence = absl::StrCat("events may be missing: ", why);
    Note(absl::StrCat("GAP: ", sentence));
    if (!command_.identify || !behind) return;
    MessageNode node = node_;
    node.journal_id = behind->journal_id;
    Add(MakeGap(std::move(node), *behind, sentence));
  }

  // Asks for the node's name, and for the journal of a sequence without one.
  grpc::Status ReadServerInfo() {
    grpc::ClientContext call;
    SetRequestDeadline(&call);
    const std::stop_callback on_stop(stop()->token(), [&call] { call.TryCancel(); });
    v1::GetServerInfoResponse info;
    grpc::Status status = stub_->GetServerInfo(&call, {}, &info);
    if (!status.ok()) return status;
    if (command_.identify || command_.named) node_ = {info.node(), "", info.journal_id()};
    if (!cursor_) {
      cursor_.emplace(
          FromSequence{std::get<FromSequence>(command_.start).sequence, info.journal_id()});
    }
    return status;
  }

  void HandleServerEnd(const grpc::Status& status) {
    const grpc::StatusCode code = status.error_code();
    if (stopped()) return Close(ExitCode::kOk);
    if (cursor_ && code == grpc::StatusCode::OUT_OF_RANGE) return HandleOutOfRange(status);
    const bool refused = code == grpc::StatusCode::RESOURCE_EXHAUSTED;
    // The daemon may be back while its certificate is still wrong.
    if (is_loss_reported() && address_.tls && code == grpc::StatusCode::UNAVAILABLE &&
        ReasonOf(status) == v1::ERROR_REASON_UNSPECIFIED) {
      const std::string fault = ExplainTlsFault(address_);
      if (!fault.empty()) return HandleFailure({ExitCode::kUnreachable, fault}, MayRetry(code));
    }
    if (refused || !MayRetry(code) || !ever_established()) {
      const grpc::Status ended(grpc::StatusCode::UNKNOWN, "it ended the stream");
      return HandleFailure(ExplainFailure(address_, status.ok() ? ended : status), MayRetry(code));
    }
    if (!is_loss_reported()) {
      NoteLoss(absl::StrCat("lost the stream of vmeventd at ", ToText(address_), "; reconnecting"));
    }
    Close(std::nullopt);
  }

  void HandleFailure(const Failure& failure, bool may_retry) {
    if (may_retry) {
      NoteLoss(absl::StrCat(failure.sentence, " (trying again)"));
      return Close(std::nullopt);
    }
    Note(failure.sentence);
    Close(failure.code);
  }

  // Returns whether another attempt may succeed, and is wanted.
  bool MayRetry(grpc::StatusCode code) const {
    // A server that has no capacity for another stream now will have some later.
    if (code == grpc::StatusCode::RESOURCE_EXHAUSTED) return true;
    return (ever_established() || command_.wait) && !absl::c_linear_search(kFinalStatuses, code);
  }

  void HandleOutOfRange(const grpc::Status& status) {
    const std::optional<WatchPosition> before = cursor_->position();
    const bool damaged = ReasonOf(status) == v1::ERROR_REASON_JOURNAL_DAMAGED;
    if (!cursor_->OnOutOfRange(damaged)) return Close(std::nullopt);
    NoteGap(absl::StrCat(EscapeForTerminal(status.error_message()), "; continuing with ",
                         damaged ? "new events of vmeventd at "
                                 : "the oldest event that is retained by vmeventd at ",
                         ToText(address_)),
            before);
    Close(std::nullopt, /*at_once=*/true);
  }

  const WatchCommand command_;
  const ServerAddress address_;
  const Silence silence_;
  std::unique_ptr<v1::VmEventService::StubInterface> stub_;
  std::unique_ptr<WatchStream> stream_;
  absl::Duration silent_;              // how long the stream has been silent while it was read
  std::optional<WatchCursor> cursor_;  // unset until the journal of --from SEQ is known
  NodeVms snapshot_;                   // the received part of an incomplete one
  bool opened_ = false;                // its Opened is among the items
  MessageNode node_;                   // the present server's, for `identify` and `named`
};

}  // namespace

std::unique_ptr<Source> WatchDaemon(WatchCommand command, ServerAddress address,
                                    ReconnectingSource::Environment environment, Silence silence) {
  return std::make_unique<DaemonSource>(std::move(command), std::move(address),
                                        std::move(environment), std::move(silence));
}

}  // namespace vmeventd::client
