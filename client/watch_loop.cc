#include "client/watch_loop.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/connection.h"
#include "client/reachability.h"
#include "client/terminal_text.h"

namespace vmeventd::client {
namespace {

constexpr absl::Duration kFirstBackoff = absl::Milliseconds(100);
constexpr absl::Duration kLongestBackoff = absl::Seconds(5);

// Ends the stop source's hold on a call when the call's stream is done with.
class CallRegistration {
 public:
  CallRegistration(StopSource* stop, std::shared_ptr<grpc::ClientContext> call) : stop_(stop) {
    stop_->SetCall(std::move(call));
  }
  ~CallRegistration() { stop_->SetCall(nullptr); }
  CallRegistration(const CallRegistration&) = delete;
  CallRegistration& operator=(const CallRegistration&) = delete;

 private:
  StopSource* const stop_;
};

}  // namespace

WatchLoop::WatchLoop(WatchCommand command, Environment environment)
    : command_(std::move(command)), env_(std::move(environment)), backoff_(kFirstBackoff) {
  const auto* from = std::get_if<FromSequence>(&command_.start);
  if (from == nullptr || !from->journal_id.empty()) cursor_.emplace(command_.start);
}

ExitCode WatchLoop::Run() {
  while (!env_.stop->stopped()) {
    if (const std::optional<ExitCode> code = RunStream()) return *code;
    if (std::exchange(retry_at_once_, false)) continue;
    if (env_.wait(backoff_)) break;
    backoff_ = std::min(2 * backoff_, kLongestBackoff);
  }
  return StoppedCode();
}

ExitCode WatchLoop::StoppedCode() const {
  return command_.count ? ExitCode::kInterrupted : ExitCode::kOk;
}

std::optional<ExitCode> WatchLoop::RunStream() {
  stream_established_ = false;
  snapshot_.Clear();
  const auto channel = Connect(env_.address);
  if (!channel.ok()) return HandleBadFiles(channel.status());
  const auto stub = v1::VmEventService::NewStub(*channel);
  if (!cursor_) {
    const grpc::Status status = ResolveJournal(stub.get());
    if (!status.ok()) return HandleServerEnd(status);
  }
  const auto context = std::make_shared<grpc::ClientContext>();
  const CallRegistration registration(env_.stop, context);
  v1::WatchEventsRequest request;
  *request.mutable_filter() = command_.filter;
  cursor_->FillRequest(&request);
  const auto reader = stub->WatchEvents(context.get(), request);
  const StreamEnd end = ReadStream(reader.get());
  if (end != StreamEnd::kServer) {
    context->TryCancel();
    v1::WatchEventsResponse dropped;
    while (reader->Read(&dropped)) {
    }
  }
  const grpc::Status status = reader->Finish();
  switch (end) {
    case StreamEnd::kServer:
      return HandleServerEnd(status);
    case StreamEnd::kCountReached:
      return ExitCode::kOk;
    case StreamEnd::kOutput:
      if (absl::IsCancelled(output_status_)) return StoppedCode();
      break;
    case StreamEnd::kLocalFailure:
      break;
  }
  const std::string why(output_status_.message());
  env_.note(why);
  return ExitCode::kFailed;
}

WatchLoop::StreamEnd WatchLoop::ReadStream(
    grpc::ClientReaderInterface<v1::WatchEventsResponse>* reader) {
  v1::WatchEventsResponse response;
  while (reader->Read(&response)) {
    if (!stream_established_) NoteEstablished();
    if (const std::optional<StreamEnd> end = Handle(&response)) return *end;
  }
  return StreamEnd::kServer;
}

void WatchLoop::NoteEstablished() {
  stream_established_ = true;
  ever_established_ = true;
  backoff_ = kFirstBackoff;
  last_reason_.clear();
  if (std::exchange(told_of_loss_, false)) {
    env_.note(absl::StrCat("connected to vmeventd at ", ToText(env_.address), " again"));
  }
}

std::optional<WatchLoop::StreamEnd> WatchLoop::Handle(v1::WatchEventsResponse* response) {
  if (const auto end = HandleSnapshot(response)) return end;
  if (const auto end = HandleEvents(response)) return end;
  if (response->has_progress()) HandleProgress(response->progress());
  return std::nullopt;
}

// The VMs are kept until all have come, so that a stream which breaks off between prints none
// twice.
std::optional<WatchLoop::StreamEnd> WatchLoop::HandleSnapshot(v1::WatchEventsResponse* response) {
  for (v1::Vm& vm : *response->mutable_snapshot_vms()) *snapshot_.Add() = std::move(vm);
  if (!response->has_snapshot_done()) return std::nullopt;
  cursor_->OnSnapshotDone(response->snapshot_done());
  google::protobuf::RepeatedPtrField<v1::Vm> vms;
  vms.Swap(&snapshot_);
  return Print(env_.formatter->FormatVms(vms));
}

std::optional<WatchLoop::StreamEnd> WatchLoop::HandleEvents(v1::WatchEventsResponse* response) {
  // The heading shows as soon as the stream is there; on a snapshot, after the VMs.
  const bool in_snapshot = !cursor_->position() &&
                           std::holds_alternative<FromSnapshot>(command_.start) &&
                           response->events().empty();
  if (!heading_printed_ && !in_snapshot) {
    heading_printed_ = true;
    if (const auto end = Print(env_.formatter->EventHeading())) return end;
  }
  google::protobuf::RepeatedPtrField<v1::Event> fresh;
  bool complete = false;
  for (v1::Event& event : *response->mutable_events()) {
    if (!cursor_->OnEvent(event.sequence())) continue;
    *fresh.Add() = std::move(event);
    complete = command_.count && printed_ + static_cast<uint64_t>(fresh.size()) >= *command_.count;
    if (complete) break;
  }
  if (fresh.empty()) return std::nullopt;
  if (const auto end = Print(env_.formatter->FormatEvents(fresh))) return end;
  printed_ += static_cast<uint64_t>(fresh.size());
  return complete ? std::optional<StreamEnd>(StreamEnd::kCountReached) : std::nullopt;
}

void WatchLoop::HandleProgress(const v1::Progress& progress) {
  if (cursor_->OnProgress(progress)) return;
  env_.note(absl::StrCat("GAP: events may be missing: vmeventd at ", ToText(env_.address),
                         " has begun the new journal ", EscapeForTerminal(progress.journal_id())));
}

std::optional<WatchLoop::StreamEnd> WatchLoop::Print(const absl::StatusOr<std::string>& text) {
  if (!text.ok()) {
    output_status_ = text.status();
    return StreamEnd::kLocalFailure;
  }
  output_status_ = env_.output->Write(*text);
  if (!output_status_.ok()) return StreamEnd::kOutput;
  return std::nullopt;
}

grpc::Status WatchLoop::ResolveJournal(v1::VmEventService::StubInterface* stub) {
  const auto context = std::make_shared<grpc::ClientContext>();
  SetRequestDeadline(context.get());
  const CallRegistration registration(env_.stop, context);
  v1::GetServerInfoResponse info;
  grpc::Status status = stub->GetServerInfo(context.get(), {}, &info);
  if (status.ok()) {
    FromSequence from = std::get<FromSequence>(command_.start);
    from.journal_id = info.journal_id();
    cursor_.emplace(std::move(from));
  }
  return status;
}

std::optional<ExitCode> WatchLoop::HandleServerEnd(const grpc::Status& status) {
  if (env_.stop->stopped()) return StoppedCode();
  if (status.error_code() == grpc::StatusCode::OUT_OF_RANGE && command_.resume) {
    HandleOutOfRange(status);
    return std::nullopt;
  }
  if (MayRetry(status.error_code())) {
    NoteRetry(status);
    return std::nullopt;
  }
  if (status.ok()) {
    env_.note(absl::StrCat("vmeventd at ", ToText(env_.address), " ended the stream"));
    return ExitCode::kFailed;
  }
  const Failure failure = ExplainFailure(env_.address, status);
  env_.note(failure.sentence);
  return failure.code;
}

bool WatchLoop::MayRetry(grpc::StatusCode code) const {
  if (ever_established_) return command_.resume && IsWorthRetrying(code);
  // A server that has no room for one more stream now is there, and will have room again.
  if (code == grpc::StatusCode::RESOURCE_EXHAUSTED) return command_.resume;
  return command_.wait && code == grpc::StatusCode::UNAVAILABLE;
}

// Says why there is no stream now: once, and again where it is for another reason.
void WatchLoop::NoteRetry(const grpc::Status& status) {
  if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) {
    NoteOnce(absl::StrCat(ExplainFailure(env_.address, status).sentence, " (trying again)"));
  } else if (!ever_established_) {
    NoteOnce(absl::StrCat(ExplainFailure(env_.address, status).sentence, " (waiting)"));
  } else if (!told_of_loss_) {
    NoteOnce(absl::StrCat("lost the stream of vmeventd at ", ToText(env_.address),
                          "; it goes on here when the daemon is back"));
  } else if (const std::string why = ExplainTlsFault(env_.address); !why.empty()) {
    // The daemon is back, and it does not go on.
    NoteOnce(absl::StrCat(why, " (trying again)"));
  }
}

void WatchLoop::NoteOnce(const std::string& why) {
  told_of_loss_ = true;
  if (why == last_reason_) return;
  last_reason_ = why;
  env_.note(why);
}

// At the start they are the user's to mend; later they are being replaced.
std::optional<ExitCode> WatchLoop::HandleBadFiles(const absl::Status& status) {
  const Failure failure = ExplainBadFiles(status);
  if (ever_established_ && command_.resume) {
    NoteOnce(absl::StrCat(failure.sentence, " (trying again)"));
    return std::nullopt;
  }
  env_.note(failure.sentence);
  return failure.code;
}

void WatchLoop::HandleOutOfRange(const grpc::Status& status) {
  if (!cursor_->OnOutOfRange()) return;
  env_.note(absl::StrCat("GAP: events may be missing: ", EscapeForTerminal(status.error_message()),
                         "; going on with the oldest event that vmeventd at ", ToText(env_.address),
                         " still has"));
  retry_at_once_ = true;
}

}  // namespace vmeventd::client
