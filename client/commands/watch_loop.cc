#include "client/commands/watch_loop.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/connect/connection.h"
#include "client/connect/failure.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

constexpr absl::Duration kFirstBackoff = absl::Milliseconds(100);
constexpr absl::Duration kLongestBackoff = absl::Seconds(5);

// Registers a call for the stop source to cancel, until the end of the result's life.
auto Register(std::shared_ptr<grpc::ClientContext> call, StopSource* stop) {
  return absl::MakeCleanup(
      [stop, before = stop->SetCall(std::move(call))] { stop->SetCall(before); });
}

}  // namespace

NodeEvents MakeGap(MessageNode node, const WatchPosition& behind, const std::string& why) {
  v1::Event event;
  event.set_type(v1::EVENT_TYPE_GAP);
  event.set_gap_reason(v1::GAP_REASON_POSITION_LOST);
  *event.mutable_observe_time() = ToProto(absl::Now());
  event.mutable_missing()->set_first(behind.sequence + 1);
  event.set_message(why);
  return {{std::move(event), std::move(node), {0, behind}}};
}

WatchLoop::WatchLoop(WatchCommand command, Environment environment)
    : command_(std::move(command)),
      env_(std::move(environment)),
      pin_(env_.address, env_.resolve),
      address_(env_.address),
      backoff_(kFirstBackoff, kLongestBackoff) {
  const auto* from = std::get_if<FromSequence>(&command_.start);
  if (from == nullptr || !from->journal_id.empty()) cursor_.emplace(command_.start);
}

WatchLoop::WatchLoop(WatchCommand command, const ServerAddress& address, StopSource* stop,
                     PrintSentence note)
    : WatchLoop(std::move(command),
                {.address = address,
                 .stop = stop,
                 .note = std::move(note),
                 .wait = [stop](absl::Duration duration) { return stop->WaitFor(duration); },
                 .resolve = StoppableResolver(ResolveHost, stop->token())}) {}

ExitCode WatchLoop::Run(WatchSink* sink) {
  sink_ = sink;
  while (!env_.stop->stopped()) {
    if (const std::optional<ExitCode> code = RunStream()) return *code;
    if (std::exchange(retry_at_once_, false)) continue;
    if (env_.wait(backoff_.Next(env_.random()))) break;
  }
  return ExitCode::kOk;
}

std::optional<ExitCode> WatchLoop::RunStream() {
  stream_established_ = false;
  snapshot_.clear();
  const absl::StatusOr<ServerAddress> address = pin_.Next();
  address_ = address.ok() ? *address : env_.address;
  if (!address.ok()) {
    return HandleServerEnd(
        {grpc::StatusCode::UNAVAILABLE, std::string(address.status().message())});
  }
  const auto channel = Connect(address_);
  if (absl::IsUnavailable(channel.status())) {
    return HandleServerEnd(
        {grpc::StatusCode::UNAVAILABLE, std::string(channel.status().message())});
  }
  if (!channel.ok()) return HandleBadFiles(channel.status());
  stub_ = v1::VmEventService::NewStub(*channel);
  if (NeedsServerInfo()) {
    v1::GetServerInfoResponse info;
    const grpc::Status status = GetServerInfo(&info);
    if (!status.ok()) return HandleNoAnswer(status);
    bool follow = true;
    const std::optional<ExitCode> code = HandleAnswer(info, &follow);
    if (!follow) return code;
  }
  const auto context = std::make_shared<grpc::ClientContext>();
  const auto registration = Register(context, env_.stop);
  v1::WatchEventsRequest request;
  *request.mutable_filter() = command_.filter;
  request.set_durable_only(command_.durable_only);
  *request.mutable_progress_interval() = ToProto(kProgressInterval);
  cursor_->FillRequest(&request);
  SilenceGuard guard(env_.silence_limit, context, env_.clock);
  const auto reader = stub_->WatchEvents(context.get(), request);
  const StreamEnd end = ReadStream(reader.get(), &guard);
  if (end == StreamEnd::kSink) {
    context->TryCancel();
    v1::WatchEventsResponse dropped;
    while (reader->Read(&dropped)) {
    }
  }
  grpc::Status status = reader->Finish();
  if (guard.fired()) {
    status = {grpc::StatusCode::UNAVAILABLE,
              absl::StrCat("nothing came for ", absl::FormatDuration(env_.silence_limit))};
  }
  return end == StreamEnd::kSink ? ExitCode::kOk : HandleServerEnd(status);
}

WatchLoop::StreamEnd WatchLoop::ReadStream(
    grpc::ClientReaderInterface<v1::WatchEventsResponse>* reader, SilenceGuard* guard) {
  v1::WatchEventsResponse response;
  while (true) {
    guard->Arm();
    const bool came = reader->Read(&response);
    guard->Disarm();
    if (!came) return StreamEnd::kServer;
    if (!stream_established_) NoteEstablished();
    if (const std::optional<StreamEnd> end = Handle(&response)) return *end;
  }
}

void WatchLoop::NoteEstablished() {
  stream_established_ = true;
  ever_established_ = true;
  backoff_.Reset();
  last_reason_.clear();
  if (std::exchange(loss_noted_, false)) {
    env_.note(absl::StrCat("connected to vmeventd at ", ToText(address_), " again"));
  }
}

std::optional<WatchLoop::StreamEnd> WatchLoop::Handle(v1::WatchEventsResponse* response) {
  if (!HandleSnapshot(response) || !HandleEvents(response)) return StreamEnd::kSink;
  if (response->has_progress()) HandleProgress(response->progress());
  if (!ReportPosition()) return StreamEnd::kSink;
  return std::nullopt;
}

// Keeps the VMs until all have arrived, so that a stream that breaks off in between prints none
// twice.
bool WatchLoop::HandleSnapshot(v1::WatchEventsResponse* response) {
  for (v1::Vm& vm : *response->mutable_snapshot_vms()) snapshot_.push_back({std::move(vm)});
  if (!response->has_snapshot_done()) return true;
  cursor_->OnSnapshotDone(response->snapshot_done());
  return sink_->OnVms(std::exchange(snapshot_, {}));
}

bool WatchLoop::HandleEvents(v1::WatchEventsResponse* response) {
  const bool in_snapshot = !cursor_->position() &&
                           std::holds_alternative<FromSnapshot>(command_.start) &&
                           response->events().empty();
  if (!in_snapshot && !sink_->OnOpen()) return false;
  NodeEvents fresh;
  for (v1::Event& event : *response->mutable_events()) {
    if (!cursor_->OnEvent(event)) continue;
    const WatchPosition position = cursor_->position().value_or(WatchPosition{});
    fresh.push_back({std::move(event), node_, {0, position}});
    // The journal may have been replaced under the stream.
    if (cursor_->position()) fresh.back().node.journal_id = position.journal_id;
  }
  return fresh.empty() || sink_->OnEvents(std::move(fresh));
}

// A Progress, and an event that was delivered before, move the position as well.
bool WatchLoop::ReportPosition() {
  if (!cursor_->position() || cursor_->position() == reported_) return true;
  reported_ = cursor_->position();
  return sink_->OnPosition({0, *reported_});
}

void WatchLoop::HandleProgress(const v1::Progress& progress) {
  const std::optional<WatchPosition> before = cursor_->position();
  if (cursor_->OnProgress(progress)) return;
  NoteGap(absl::StrCat("vmeventd at ", ToText(address_), " has begun the new journal ",
                       EscapeForTerminal(progress.journal_id())),
          before);
}

void WatchLoop::NoteGap(const std::string& why, const std::optional<WatchPosition>& behind) {
  const std::string sentence = absl::StrCat("events may be missing: ", why);
  env_.note(absl::StrCat("GAP: ", sentence));
  if (!command_.identify || !behind) return;
  MessageNode node = node_;
  node.journal_id = behind->journal_id;
  // A sink that ends the watch says so again at the next event.
  static_cast<void>(sink_->OnEvents(MakeGap(std::move(node), *behind, sentence)));
}

// Otherwise only a host needs the question which node answers: a socket's path belongs to one
// daemon.
bool WatchLoop::NeedsServerInfo() const {
  return !cursor_ || !address_.is_unix() || command_.identify;
}

grpc::Status WatchLoop::GetServerInfo(v1::GetServerInfoResponse* info) {
  const auto context = std::make_shared<grpc::ClientContext>();
  SetRequestDeadline(context.get());
  const auto registration = Register(context, env_.stop);
  return stub_->GetServerInfo(context.get(), {}, info);
}

std::optional<ExitCode> WatchLoop::HandleNoAnswer(const grpc::Status& status) {
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE && pin_.has_more()) {
    retry_at_once_ = true;  // with the next address
    return std::nullopt;
  }
  return HandleServerEnd(status);
}

// Sets `follow` to whether the server is the node of this watch.
std::optional<ExitCode> WatchLoop::HandleAnswer(const v1::GetServerInfoResponse& info,
                                                bool* follow) {
  if (command_.identify) node_ = {info.node(), "", info.journal_id()};
  const bool first = !pin_.node().has_value();
  *follow = (cursor_ && address_.is_unix()) || pin_.OnAnswer(IdentityOf(info));
  if (*follow) {
    if (first && pin_.is_ambiguous()) {
      env_.note(absl::StrCat(env_.address.host, " has several addresses, and each node has its ",
                             "own events: following only the node ", EscapeForTerminal(info.node()),
                             " at ", ToText(address_)));
    }
    if (!cursor_) {
      FromSequence from = std::get<FromSequence>(command_.start);
      from.journal_id = info.journal_id();
      cursor_.emplace(std::move(from));
    }
    return std::nullopt;
  }
  if (pin_.has_more()) {
    retry_at_once_ = true;
    return std::nullopt;
  }
  const auto name = [](const NodeIdentity& node) {
    return absl::StrCat("the node ", EscapeForTerminal(node.node), " with the journal ",
                        EscapeForTerminal(node.journal_id));
  };
  const std::string why = absl::StrCat(ToText(address_), " is ", name(IdentityOf(info)),
                                       " now; following ", name(*pin_.node()));
  if (!command_.resume) {
    env_.note(why);
    return ExitCode::kFailed;
  }
  NoteOnce(absl::StrCat(why, " (waiting for that one)"));
  return std::nullopt;
}

std::optional<ExitCode> WatchLoop::HandleServerEnd(const grpc::Status& status) {
  if (env_.stop->stopped()) return ExitCode::kOk;
  if (status.error_code() == grpc::StatusCode::OUT_OF_RANGE && command_.resume) {
    HandleOutOfRange(status);
    return std::nullopt;
  }
  if (MayRetry(status.error_code())) {
    NoteRetry(status);
    return std::nullopt;
  }
  if (status.ok()) {
    env_.note(absl::StrCat("vmeventd at ", ToText(address_), " ended the stream"));
    return ExitCode::kFailed;
  }
  const Failure failure = Explain(status);
  env_.note(failure.sentence);
  return failure.code;
}

Failure WatchLoop::Explain(const grpc::Status& status) const {
  // A probe would resolve the name again, and nothing could stop that.
  return IsResolved() ? ExplainFailure(address_, status)
                      : ExplainUnknownHost(address_, status.error_message());
}

bool WatchLoop::MayRetry(grpc::StatusCode code) const {
  if (ever_established_) return command_.resume && IsWorthRetrying(code);
  // A server that has no capacity for another stream now will have some later.
  if (code == grpc::StatusCode::RESOURCE_EXHAUSTED) return command_.resume;
  return command_.wait && code == grpc::StatusCode::UNAVAILABLE;
}

// Reports why there is no stream now: once, and again if the reason changes.
void WatchLoop::NoteRetry(const grpc::Status& status) {
  if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) {
    NoteOnce(absl::StrCat(Explain(status).sentence, " (trying again)"));
  } else if (!ever_established_) {
    NoteOnce(absl::StrCat(Explain(status).sentence, " (waiting)"));
  } else if (!loss_noted_) {
    NoteOnce(absl::StrCat("lost the stream of vmeventd at ", ToText(address_), "; reconnecting"));
  } else if (address_.tls && absl::StrContains(status.error_message(), "andshake")) {
    // gRPC's words: the daemon may be back while its certificate is still wrong.
    NoteOnce(absl::StrCat(Explain(status).sentence, " (trying again)"));
  }
}

void WatchLoop::NoteOnce(const std::string& why) {
  loss_noted_ = true;
  if (why == last_reason_) return;
  last_reason_ = why;
  env_.note(why);
}

// The user must correct the files at the start; later they may be in the middle of a replacement.
std::optional<ExitCode> WatchLoop::HandleBadFiles(const absl::Status& status) {
  const Failure failure = ExplainNoChannel(address_, status);
  if (ever_established_ && command_.resume) {
    NoteOnce(absl::StrCat(failure.sentence, " (trying again)"));
    return std::nullopt;
  }
  env_.note(failure.sentence);
  return failure.code;
}

void WatchLoop::HandleOutOfRange(const grpc::Status& status) {
  const std::optional<WatchPosition> before = cursor_->position();
  if (!cursor_->OnOutOfRange()) return;
  NoteGap(absl::StrCat(EscapeForTerminal(status.error_message()),
                       "; continuing with the oldest event that vmeventd at ", ToText(address_),
                       " retains"),
          before);
  retry_at_once_ = true;
}

}  // namespace vmeventd::client
