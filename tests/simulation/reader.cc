#include "tests/simulation/reader.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace vmeventd::simulation {

// One call, as gRPC would carry it.
class Reader::Call : public grpc::ServerCallbackWriter<grpc::ByteBuffer> {
 public:
  void Bind(std::shared_ptr<WatchStream> stream) {
    stream_ = std::move(stream);
    BindReactor(stream_.get());
  }
  grpc::CallbackServerContext* context() { return &context_; }

  // The message that waits to be taken, or null; then the write is done.
  std::optional<std::string> TakeMessage() {
    if (message_ == nullptr) return std::nullopt;
    std::vector<grpc::Slice> slices;
    if (!message_->Dump(&slices).ok()) return std::nullopt;
    std::string bytes;
    for (const grpc::Slice& slice : slices) {
      bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    }
    message_ = nullptr;
    stream_->OnWriteDone(true);
    return bytes;
  }
  bool has_message() const { return message_ != nullptr; }
  const std::optional<grpc::Status>& finished() const { return finished_; }
  // The client is gone.
  void Break() {
    stream_->OnCancel();
    if (message_ != nullptr) {
      message_ = nullptr;
      stream_->OnWriteDone(false);
    }
  }
  void Done() { stream_->OnDone(); }

  void Finish(grpc::Status status) override { finished_ = std::move(status); }
  void SendInitialMetadata() override {}
  void Write(const grpc::ByteBuffer* message, grpc::WriteOptions) override { message_ = message; }
  void WriteAndFinish(const grpc::ByteBuffer*, grpc::WriteOptions, grpc::Status status) override {
    Finish(std::move(status));
  }

 private:
  grpc::internal::ServerReactor* reactor() override { return stream_.get(); }
  void CallOnDone() override {}

  grpc::CallbackServerContext context_;
  std::shared_ptr<WatchStream> stream_;
  const grpc::ByteBuffer* message_ = nullptr;
  std::optional<grpc::Status> finished_;
};

Reader::Reader(int number, Kernel* kernel, Random* random, Story* story, const Judge* judge)
    : number_(number),
      name_(absl::StrCat("reader ", number)),
      kernel_(kernel),
      random_(random),
      story_(story),
      judge_(judge),
      kind_(random->Below(3)) {}

Reader::~Reader() = default;

bool Reader::Turn(Daemon* daemon) {
  if (kernel_->monotonic() < pause_until_ && !hurries_) return false;
  if (call_ == nullptr) {
    Connect(daemon);
    return true;
  }
  if (call_->finished().has_value()) {
    const grpc::Status status = *call_->finished();
    call_->Done();
    call_ = nullptr;
    OnEnd(status);
    return true;
  }
  if (!call_->has_message()) return false;
  if (!hurries_) {
    if (random_->OneIn(40)) {
      story_->Say(name_, absl::StrCat("breaks off at ", sequence_));
      call_->Break();
      return true;
    }
    if (random_->OneIn(10)) {
      // Sometimes for longer than a write may take.
      pause_until_ =
          kernel_->monotonic() +
          random_->Between(absl::Milliseconds(1), absl::Seconds(random_->OneIn(4) ? 90 : 20));
      return true;
    }
  }
  const std::optional<std::string> bytes = call_->TakeMessage();
  if (bytes.has_value()) Take(*bytes);
  return true;
}

void Reader::Connect(Daemon* daemon) {
  WatchStart start = FromOldest();
  bool snapshot = false;
  if (!journal_id_.empty() && !from_snapshot_) {
    start = AfterSequence{sequence_, journal_id_};
  } else if (from_snapshot_ || kind_ == 1) {
    start = FromSnapshot();
    snapshot = true;
  } else if (kind_ == 2) {
    start = FromNow();
  }
  auto call = std::make_shared<Call>();
  absl::StatusOr<std::shared_ptr<WatchStream>> stream =
      daemon->OpenStream(start, call->context(), absl::StrCat("peer ", number_),
                         [call = call.get()] { call->Break(); });
  if (!stream.ok()) {
    pause_until_ = kernel_->monotonic() + absl::Milliseconds(100);
    return OnEnd(grpc::Status(static_cast<grpc::StatusCode>(stream.status().code()),
                              std::string(stream.status().message())));
  }
  story_->Say(name_,
              absl::StrCat("connects after ", sequence_, snapshot ? ", with a snapshot" : ""));
  in_snapshot_ = snapshot;
  if (start.index() != WatchStart(AfterSequence()).index()) journal_id_.clear();
  call->Bind(*std::move(stream));
  call_ = std::move(call);
}

void Reader::Disconnect() {
  if (call_ == nullptr) return;
  call_ = nullptr;
}

void Reader::OnEnd(const grpc::Status& status) {
  story_->Say(name_, absl::StrCat("its stream ends: ", status.error_message()));
  story_->Reach(absl::StrCat("stream ends with ", static_cast<int>(status.error_code())));
  switch (status.error_code()) {
    case grpc::StatusCode::OUT_OF_RANGE:
      from_snapshot_ = true;
      return;
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return;
    default:
      story_->Fail(absl::StrCat(name_, ": its stream ends with ",
                                static_cast<int>(status.error_code()), ": ",
                                status.error_message()));
  }
}

void Reader::Take(const std::string& bytes) {
  v1::WatchEventsResponse response;
  if (!response.ParseFromString(bytes)) {
    story_->Fail(absl::StrCat(name_, " got what is no message"));
    return;
  }
  const auto place = [&](const v1::Progress& progress) {
    const bool is_new = journal_id_.empty();
    if (is_new && !in_snapshot_) sequence_ = progress.sequence();
    journal_id_ = progress.journal_id();
    if (!is_new && !in_snapshot_) Skip(sequence_, progress.sequence());
    if (!in_snapshot_) sequence_ = std::max(sequence_, progress.sequence());
  };
  if (response.has_progress()) {
    place(response.progress());
    if (in_snapshot_) journal_id_.clear();  // there is no cursor before the snapshot is complete
  }
  if (response.has_snapshot_done()) {
    in_snapshot_ = false;
    from_snapshot_ = false;
    left_out_.clear();
    journal_id_ = response.snapshot_done().journal_id();
    sequence_ = response.snapshot_done().sequence();
  }
  for (const v1::Event& event : response.events()) TakeEvent(event);
}

void Reader::Skip(uint64_t from, uint64_t to) {
  for (auto it = judge_->entries().upper_bound(from);
       it != judge_->entries().end() && it->first <= to; ++it) {
    left_out_.push_back(it->first);
  }
}

void Reader::TakeEvent(const v1::Event& event) {
  const uint64_t sequence = event.sequence();
  if (sequence <= sequence_) {
    story_->Fail(absl::StrCat(name_, " got the event ", sequence, " after ", sequence_));
    return;
  }
  Skip(sequence_, sequence - 1);
  sequence_ = sequence;
  if (event.has_missing())
    announced_gaps_.emplace_back(event.missing().first(), event.missing().last());
  const auto it = judge_->entries().find(sequence);
  if (it == judge_->entries().end()) {
    story_->Fail(absl::StrCat(name_, " got the event ", sequence, ", which was not published"));
  } else if (it->second.content != Judge::ContentOf(event)) {
    story_->Fail(absl::StrCat(name_, " got another event ", sequence, ": ",
                              event.ShortDebugString(), " instead of ",
                              it->second.event.ShortDebugString()));
  }
}

void Reader::CheckComplete() {
  if (journal_id_.empty()) return;
  if (sequence_ < judge_->newest()) {
    story_->Fail(
        absl::StrCat(name_, " is at ", sequence_, ", and the newest event is ", judge_->newest()));
  }
  for (const uint64_t sequence : left_out_) {
    const bool announced = std::any_of(
        announced_gaps_.begin(), announced_gaps_.end(),
        [&](const auto& gap) { return gap.first <= sequence && sequence <= gap.second; });
    if (!announced) {
      story_->Fail(
          absl::StrCat(name_, " did not get the event ", sequence, ", and no GAP names it"));
    }
  }
}

}  // namespace vmeventd::simulation
