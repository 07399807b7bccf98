#include "tests/simulation/reader.h"

#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::simulation {
namespace {

// Limit of the time between the daemon's reading of the clock and the network's.
constexpr absl::Duration kClocksDiffer = absl::Seconds(1);

}  // namespace

// A call, as gRPC would carry it.
class Reader::Call : public StreamCall {
 public:
  explicit Call(const Reader* reader) : reader_(reader) {}
  virtual ~Call() = default;
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

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
    if (IsLate()) taken_late_at_ = now();
    since_ = now();
    stream_->OnWriteDone(true);
    return bytes;
  }
  bool has_message() const { return message_ != nullptr; }
  // Time at which the message came, or was taken.
  absl::Duration since() const { return since_; }
  bool broken() const { return broken_; }
  bool cancelled() const { return cancelled_; }
  const std::optional<grpc::Status>& finished() const { return finished_; }
  // The client is gone, or the server has cut it off.
  void Break() {
    broken_ = true;
    if (stream_ != nullptr) stream_->OnCancel();
    DropMessage();
  }
  // Drops what is written to a client that is gone. False: nothing is.
  bool DropMessage() {
    if (message_ == nullptr || stream_ == nullptr) return false;
    message_ = nullptr;
    stream_->OnWriteDone(false);
    return true;
  }
  void Done() {
    if (stream_ != nullptr) stream_->OnDone();
  }

  void AnswerBy(WatchStream* stream) override { stream_ = stream; }
  absl::Status Hold(size_t) override { return absl::OkStatus(); }
  void Write(const grpc::ByteBuffer* message) override {
    message_ = message;
    since_ = now();
  }
  void End(const absl::Status& status) override {
    finished_.emplace(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
  }
  void Abort(const absl::Status& status) override {
    if (absl::IsResourceExhausted(status) && !MayBeCutOff()) {
      reader_->story_->Fail(reader_->name_, " is cut off, and it reads");
    }
    cancelled_ = true;
  }

 private:
  absl::Duration now() const { return reader_->kernel_->monotonic(); }
  bool IsLate() const { return now() >= since_ + kWriteTimeout - kClocksDiffer; }
  // Returns whether the server may have found that the client reads nothing: now, or just before it
  // did.
  bool MayBeCutOff() const {
    return (has_message() && IsLate()) || now() <= taken_late_at_ + kClocksDiffer;
  }

  const Reader* const reader_;
  WatchStream* stream_ = nullptr;  // the hub's; null: the call was refused
  const grpc::ByteBuffer* message_ = nullptr;
  absl::Duration since_ = now();
  absl::Duration taken_late_at_ = -absl::InfiniteDuration();
  bool broken_ = false;
  bool cancelled_ = false;
  std::optional<grpc::Status> finished_;
};

Reader::Reader(int number, Kernel* kernel, Random* random, Story* story, const Judge* judge)
    : number_(number),
      name_(absl::StrCat("reader ", number)),
      kernel_(kernel),
      random_(random),
      story_(story),
      judge_(judge),
      kind_(random->Below(3)) {
  if (number % 3 == 1) names_ = {absl::StrCat("vm", 1 + random->Below(3)), "vm7"};
}

Reader::~Reader() = default;

bool Reader::Turn(Daemon* daemon) {
  if (call_ != nullptr && call_->finished().has_value()) {
    const grpc::Status status = *call_->finished();
    call_->Done();
    call_ = nullptr;
    OnEnd(status);
    return true;
  }
  if (call_ != nullptr && call_->broken()) return call_->DropMessage();
  if (call_ != nullptr && call_->cancelled()) {
    call_->Break();
    return true;
  }
  if (kernel_->monotonic() < pause_until_ && !hurries_) return false;
  if (call_ == nullptr) {
    if (daemon->stops()) return false;
    Connect(daemon);
    return true;
  }
  if (!call_->has_message()) return false;
  if (!hurries_) {
    if (random_->OneIn(40)) {
      story_->Log(name_, "breaks off at ", sequence_);
      call_->Break();
      return true;
    }
    if (random_->OneIn(10)) {
      // A pause is sometimes longer than a write may take.
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
  const absl::Duration age = random_->Between(absl::ZeroDuration(), absl::Hours(1));
  since_ = random_->OneIn(3) ? kernel_->Now().wall - age : absl::InfinitePast();
  durable_only_ = random_->OneIn(3);
  unconfirmed_ = 0;
  retained_from_ = judge_->oldest();
  WatchStart start = Since{since_};
  bool snapshot = false;
  // Another client begins in its place.
  if (kind_ == 0 && !hurries_ && random_->OneIn(4)) {
    journal_id_.clear();
    left_out_.clear();
    durable_ = progress_durable_ = 0;
  }
  if (!journal_id_.empty() && !from_snapshot_) {
    // Rule 3: what is not durable comes again, or is named by a GAP.
    if (durable_ < sequence_) story_->Reach("a position held back by what is not durable");
    sequence_ = std::min(sequence_, durable_);
    std::erase_if(left_out_, [this](uint64_t left) { return left > sequence_; });
    start = AfterSequence{sequence_, journal_id_};
  } else if (from_snapshot_ || kind_ == 1) {
    start = FromSnapshot();
    snapshot = true;
  } else if (kind_ == 2) {
    start = FromNow();
  }
  story_->Log(name_, "connects after ", sequence_, snapshot ? ", with a snapshot" : "");
  in_snapshot_ = snapshot;
  snapshot_.clear();
  from_oldest_ = std::holds_alternative<Since>(start);
  if (!from_oldest_) since_ = absl::InfinitePast();
  if (start.index() != WatchStart(AfterSequence()).index()) {
    journal_id_.clear();
    durable_ = progress_durable_ = 0;
  }
  v1::EventFilter filter;
  for (const std::string& name : names_) filter.add_vm_names(name);
  if (number_ % 3 == 2) filter.add_vm_names(std::string(1, '*'));
  call_ = std::make_shared<Call>(this);
  daemon->hub().Open(call_.get(),
                     {.start = start, .progress_interval = {}, .durable_only = durable_only_},
                     {filter}, {absl::StrCat("peer ", number_)});
}

void Reader::CheckAtRest(const EventLog& log, bool disk_waits) {
  if (call_ == nullptr || call_->finished().has_value()) return;
  if (call_->broken()) story_->Fail(name_, " is gone, and its stream does not end");
  const absl::Duration waits = kernel_->monotonic() - call_->since();
  if (call_->has_message()) {
    if (waits > kWriteTimeout + kTick + kClocksDiffer) {
      story_->Fail(name_, " reads nothing, and is not cut off");
    }
    return;
  }
  // A stream that reads the journal waits for the disk, and so do its beats.
  if (disk_waits) return;
  if (waits > kProgressInterval + kTick + kClocksDiffer) {
    story_->Fail(name_, " receives nothing, not even a heartbeat");
  }
  if (progress_durable_ < unconfirmed_ && unconfirmed_ <= log.range().durable) {
    story_->Fail(name_, " gets no Progress though the event ", unconfirmed_, " is durable now");
  }
  const uint64_t missing = FirstMissing();
  if (missing == 0 || (durable_only_ && missing > log.range().committed)) return;
  // An event that the queue for the disk has dropped waits for its GAP, which comes once the disk
  // works.
  const ReadResult read = log.Read(missing, 1);
  const bool is_there = read.in_journal_through.has_value() ||
                        (!read.events.empty() && read.events[0]->sequence <= missing);
  if (is_there || !judge_->drops()) {
    story_->Fail(name_, " is at ", sequence_, ", and is not sent ", missing);
  }
}

void Reader::OnEnd(const grpc::Status& status) {
  story_->Log(name_, "its stream ends: ", status.error_message());
  story_->Reach("stream ends with ", static_cast<int>(status.error_code()));
  if (status.error_code() != grpc::StatusCode::CANCELLED) {
    const absl::Duration pause =
        hurries_ ? absl::ZeroDuration()
                 : backoff_.Next(static_cast<double>(random_->Below(1000)) / 1000);
    pause_until_ = std::max(pause_until_, kernel_->monotonic() + pause);
  }
  switch (status.error_code()) {
    case grpc::StatusCode::OUT_OF_RANGE:
      from_snapshot_ = true;
      return;
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return;
    default:
      story_->Fail(name_, ": its stream ends with ", static_cast<int>(status.error_code()), ": ",
                   status.error_message());
  }
}

void Reader::Take(const std::string& bytes) {
  v1::WatchEventsResponse response;
  if (!response.ParseFromString(bytes)) {
    story_->Fail(name_, " got what is no message");
    return;
  }
  if (response.has_progress()) {
    const v1::Progress& progress = response.progress();
    const bool is_new = journal_id_.empty();
    TakeDurable(progress.durable_sequence());
    if (is_new && !in_snapshot_) sequence_ = progress.sequence();
    if (std::exchange(from_oldest_, false)) CheckBegin();
    journal_id_ = progress.journal_id();
    if (!is_new && !in_snapshot_) Skip(sequence_, progress.sequence());
    if (!in_snapshot_) sequence_ = std::max(sequence_, progress.sequence());
    if (in_snapshot_) {  // no cursor before the snapshot is complete
      journal_id_.clear();
      if (progress.sequence() != 0) {
        story_->Fail(name_, " is sent to ", progress.sequence(),
                     " before its snapshot is complete");
      }
    }
  }
  for (const v1::Vm& vm : response.snapshot_vms()) snapshot_.insert(vm.ref().run_id());
  if (response.has_snapshot_done()) {
    judge_->CheckSnapshot(snapshot_, response.snapshot_done().sequence(),
                          [this](const v1::Event& event) { return Wants(event); });
    in_snapshot_ = false;
    from_snapshot_ = false;
    left_out_.clear();
    journal_id_ = response.snapshot_done().journal_id();
    sequence_ = response.snapshot_done().sequence();
    TakeDurable(response.snapshot_done().durable_sequence());
  }
  for (const v1::Event& event : response.events()) TakeEvent(event);
}

void Reader::TakeDurable(uint64_t sequence) {
  if (sequence < progress_durable_ && sequence != 0 && !journal_id_.empty()) {
    story_->Fail(name_, " got the durable sequence ", sequence, " after ", progress_durable_);
  }
  progress_durable_ = sequence;
  durable_ = std::max(durable_, sequence);
  if (sequence > judge_->durable()) {
    story_->Fail(name_, " got the durable sequence ", sequence, ", and the log has ",
                 judge_->durable());
  }
}

void Reader::CheckBegin() {
  if (!names_.empty()) story_->Reach("a client of named VMs begins at the oldest event");
  const auto& entries = judge_->entries();
  const auto is_before = [&](const auto& entry) {
    return FromTimestamp(entry.second.event.observe_time()) <= since_;
  };
  const auto oldest = entries.lower_bound(retained_from_);
  const auto deleted = oldest == entries.begin() ? oldest : std::prev(oldest);
  if (deleted != oldest && since_ > absl::InfinitePast() && deleted->first <= sequence_ &&
      !deleted->second.lost && std::none_of(deleted, entries.end(), is_before)) {
    story_->Fail(name_, " begins after ", sequence_, ", and ", deleted->first, " was deleted");
  }
  for (auto it = entries.lower_bound(judge_->oldest());
       it != entries.end() && it->first <= sequence_; ++it) {
    if (it->second.lost || !Wants(it->second.event) || judge_->MayBeThinned(it->first)) continue;
    if (is_before(*it)) continue;
    return story_->Fail(name_, " begins after ", sequence_, ", and ", it->first, " is retained");
  }
}

void Reader::Skip(uint64_t from, uint64_t to) {
  for (auto it = judge_->entries().upper_bound(from);
       it != judge_->entries().end() && it->first <= to; ++it) {
    if (Wants(it->second.event)) left_out_.push_back(it->first);
  }
}

bool Reader::Wants(const v1::Event& event) const {
  // The node's own events pass every filter.
  if (!event.vm().name().empty() && FromTimestamp(event.observe_time()) < since_) return false;
  return names_.empty() || event.vm().name().empty() ||
         absl::c_linear_search(names_, event.vm().name());
}

uint64_t Reader::FirstMissing() const {
  for (auto it = judge_->entries().upper_bound(sequence_); it != judge_->entries().end(); ++it) {
    // A lost event waits for its GAP, which has a sequence of its own.
    if (!it->second.lost && Wants(it->second.event) && !judge_->MayBeThinned(it->first)) {
      return it->first;
    }
  }
  return 0;
}

void Reader::TakeEvent(const v1::Event& event) {
  backoff_.Reset();
  const uint64_t sequence = event.sequence();
  if (sequence <= sequence_) {
    story_->Fail(name_, " got the event ", sequence, " after ", sequence_);
    return;
  }
  Skip(sequence_, sequence - 1);
  sequence_ = sequence;
  if (event.has_missing())
    announced_gaps_.emplace_back(event.missing().first(), event.missing().last());
  const auto it = judge_->entries().find(sequence);
  if (event.durable()) durable_ = std::max(durable_, sequence);
  if (!event.durable()) unconfirmed_ = sequence;
  if (durable_only_ && !event.durable()) {
    story_->Fail(name_, " asked for what is durable, and got the event ", sequence);
  }
  if (event.gap_reason() == v1::GAP_REASON_RETENTION && sequence <= judge_->thinned()) {
    story_->Reach("a GAP for what retention has thinned out");
    return;
  }
  if (event.durable() && sequence > judge_->committed()) {
    story_->Fail(name_, " got the event ", sequence, " as durable, and it is not in the journal");
  }
  if (it == judge_->entries().end()) {
    story_->Fail(name_, " got the event ", sequence, ", which was not published");
  } else if (it->second.content != Judge::ContentOf(event)) {
    story_->Fail(name_, " got another event ", sequence, ": ", event.ShortDebugString(),
                 " instead of ", it->second.event.ShortDebugString());
  }
  if (!Wants(event)) story_->Fail(name_, " did not ask for the event ", sequence);
}

void Reader::CheckComplete() {
  if (journal_id_.empty()) return;
  if (const uint64_t missing = FirstMissing(); missing != 0) {
    story_->Fail(name_, " is at ", sequence_, ", and did not get ", missing);
  }
  for (const uint64_t sequence : left_out_) {
    const bool announced = absl::c_any_of(announced_gaps_, [&](const auto& gap) {
      return gap.first <= sequence && sequence <= gap.second;
    });
    if (!announced) {
      story_->Fail(name_, " did not get the event ", sequence, ", and no GAP names it");
    }
  }
}

}  // namespace vmeventd::simulation
