#include "server/stream/watch_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error_reason.h"
#include "server/stream/read_error.h"
#include "server/stream/stream_hub.h"

namespace vmeventd {

WatchStream::WatchStream(StreamHub* hub, StreamCall* call, v1::Stream description,
                         StreamCursor cursor)
    : hub_(hub),
      call_(call),
      description_(std::move(description)),
      opened_at_(hub->clock_->Now().monotonic),
      cursor_(std::move(cursor)),
      delivered_(cursor_.sequence()),
      since_(opened_at_) {}

void WatchStream::Begin() {
  hub_->turns_.Add(description_.peer(), [self = shared_from_this()] { self->Turn(); });
}

void WatchStream::Wake() {
  {
    const MutexLock lock(&mutex_);
    woken_ = true;
    // A pending write or question wakes it once it is over.
    if (turn_ || (pending_ != Pending::kNothing && !end_.has_value())) return;
    turn_ = true;
  }
  Begin();
}

void WatchStream::End(absl::Status status, bool cut) {
  {
    const MutexLock lock(&mutex_);
    if (!end_.has_value()) end_ = std::move(status);
    cut_ = cut_ || cut;
  }
  Wake();
}

v1::Stream WatchStream::Describe(uint64_t newest) const {
  v1::Stream stream = description_;
  const uint64_t sent = delivered();
  stream.set_sequence(sent);
  stream.set_lag(newest - std::min(sent, newest));
  return stream;
}

void WatchStream::Turn() {
  Send();
  std::optional<absl::Status> end;
  bool cut = false;
  bool writes = false;
  {
    const MutexLock lock(&mutex_);
    end = end_;
    cut = std::exchange(cut_, false);
    writes = pending_ == Pending::kWrite;
  }
  if (cut) call_->Abort(*end);
  if (end.has_value() && !writes) {
    // Unless the daemon stops, UNAVAILABLE means that the journal cannot be read.
    hub_->meters_.CountEnd(*end, StreamEnd::kStalledWrite,
                           hub_->draining_ ? StreamEnd::kShutdown : StreamEnd::kError);
    return call_->End(*end);
  }
  {
    const MutexLock lock(&mutex_);
    turn_ = false;
    if (!woken_) return;
  }
  Wake();
}

void WatchStream::Send() {
  {
    const MutexLock lock(&mutex_);
    woken_ = false;
    if (end_.has_value()) return;
  }
  if (beat_.exchange(false)) cursor_.RequestProgress();
  const bool draining = hub_->draining_;
  StreamCursor::Step step = cursor_.Next(hub_->MessageBytes());
  const bool writes = !step.message.empty();
  const bool reads = !writes && step.follows == StreamCursor::Follows::kReading;
  if (writes) {
    const grpc::Slice slice(std::exchange(step.message, {}));
    message_ = grpc::ByteBuffer(&slice, 1);
    hub_->in_flight_ += message_.Length();
  }
  if (step.events == 0) delivered_ = cursor_.sequence();
  {
    const MutexLock lock(&mutex_);
    step_ = step;
    if (writes) {
      pending_ = Pending::kWrite;
      since_ = hub_->clock_->Now().monotonic;
    } else if (reads) {
      pending_ = Pending::kReading;
    } else if (step.follows == StreamCursor::Follows::kMore) {
      woken_ = true;
    } else if (draining && !end_.has_value()) {
      end_ =
          WithReason("SHUTTING_DOWN",
                     absl::UnavailableError(absl::StrCat(
                         "vmeventd is shutting down; resume after sequence ", cursor_.sequence())));
    }
  }
  if (writes) call_->Write(&message_);
  if (!reads) return;
  // A stream that ends meanwhile takes no memory until its turn.
  hub_->log_->PostQuery(description_.peer(), [stream = weak_from_this()](const auto& journal) {
    const std::shared_ptr<WatchStream> self = stream.lock();
    return self == nullptr ? absl::StatusOr<bool>(true) : self->ReadJournal(journal);
  });
}

absl::StatusOr<bool> WatchStream::ReadJournal(const absl::StatusOr<JournalReader*>& journal) {
  const absl::Status status =
      journal.ok() ? cursor_.ReadJournal(*journal, hub_->MessageBytes()) : journal.status();
  {
    const MutexLock lock(&mutex_);
    pending_ = Pending::kNothing;
    if (!status.ok() && !end_.has_value()) end_ = ReadError(status);
  }
  Wake();
  return status.ok() ? absl::StatusOr<bool>(true) : status;
}

void WatchStream::CountMessage() {
  hub_->meters_.sent_messages.Add();
  hub_->meters_.sent_events.Add(step_.events);
  hub_->meters_.sent_bytes.Add(message_.Length());
  // An event from before the stream was opened was not late on its way.
  if (step_.published >= opened_at_ && step_.published < absl::InfiniteDuration()) {
    hub_->meters_.public_to_sent.Observe(hub_->clock_->Now().monotonic - step_.published);
  }
  delivered_ = cursor_.sequence();
}

void WatchStream::OnWriteDone(bool ok) {
  {
    const MutexLock lock(&mutex_);
    if (ok) CountMessage();
    hub_->in_flight_ -= message_.Length();
    message_.Clear();
    pending_ = Pending::kNothing;
    since_ = hub_->clock_->Now().monotonic;
    if (!ok && !end_.has_value()) end_ = absl::CancelledError("the client is gone");
    const bool waits = step_.follows == StreamCursor::Follows::kPublication;
    if (waits && !woken_ && !end_.has_value() && !hub_->draining_) return;
  }
  Wake();
}

void WatchStream::OnDone() { hub_->StreamDone(this); }

void WatchStream::CheckDeadline(absl::Duration now) {
  const absl::Duration write_timeout = hub_->options_.write_timeout;
  bool writes = false;
  {
    const MutexLock lock(&mutex_);
    writes = pending_ == Pending::kWrite;
    const absl::Duration limit = writes ? write_timeout : cursor_.interval();
    if (now < since_ + limit || end_.has_value()) return;
  }
  if (!writes) return RequestProgress();
  End(absl::ResourceExhaustedError(absl::StrCat("the client read nothing for ",
                                                absl::FormatDuration(write_timeout),
                                                "; resume after the last sequence received")),
      /*cut=*/true);
}

}  // namespace vmeventd
