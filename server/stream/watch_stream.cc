#include "server/stream/watch_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error_reason.h"
#include "server/stream/stream_hub.h"

namespace vmeventd {

WatchStream::WatchStream(StreamHub* hub, StreamCall* call, v1::Stream description,
                         absl::Duration progress_interval, StreamCursor cursor)
    : hub_(hub),
      call_(call),
      description_(std::move(description)),
      progress_interval_(progress_interval),
      opened_at_(hub->clock().Now().monotonic),
      cursor_(std::move(cursor)),
      since_(opened_at_),
      delivered_(cursor_.sequence()) {}

void WatchStream::Begin() {
  hub_->turns()->Add(description_.peer(), [self = shared_from_this()] { self->Turn(); });
}

void WatchStream::SendNow() {
  {
    const MutexLock lock(&mutex_);
    woken_ = true;
    if (!CanTurn()) return;
  }
  Turn();
}

v1::Stream WatchStream::Describe(uint64_t newest) {
  v1::Stream stream = description_;
  const uint64_t sent = delivered();
  stream.set_sequence(sent);
  stream.set_lag(newest - std::min(sent, newest));
  return stream;
}

void WatchStream::Turn() {
  Send();
  Finish();
  const MutexLock lock(&mutex_);
  turn_ = false;
  if (woken_) WakeLocked();
}

void WatchStream::Send() {
  {
    const MutexLock lock(&mutex_);
    woken_ = false;
    if (pending_ != Pending::kNothing || end_.has_value()) return;
    if (std::exchange(beat_, false)) cursor_.RequestProgress();
  }
  StreamCursor::Step step = cursor_.Next(hub_->MessageBytes());
  const bool writes = !step.message.empty();
  const bool reads = !writes && step.follows == StreamCursor::Follows::kJournal;
  if (writes) {
    const grpc::Slice slice(std::exchange(step.message, {}));
    message_ = grpc::ByteBuffer(&slice, 1);
  }
  {
    const MutexLock lock(&mutex_);
    step_ = step;
    if (step.events == 0) delivered_ = cursor_.sequence();
    if (writes) {
      pending_ = Pending::kWrite;
      since_ = hub_->clock().Now().monotonic;
    } else if (reads) {
      pending_ = Pending::kJournal;
    } else if (step.follows == StreamCursor::Follows::kMore) {
      woken_ = true;
    } else if (draining_ && !woken_ && !end_.has_value()) {
      end_ =
          WithReason("SHUTTING_DOWN",
                     absl::UnavailableError(absl::StrCat(
                         "vmeventd is shutting down; resume after sequence ", cursor_.sequence())));
    }
  }
  if (writes) call_->Write(&message_);
  if (!reads) return;
  // A stream that ends meanwhile takes no memory until its turn.
  hub_->log()->PostQuery(description_.peer(), [stream = weak_from_this()](const auto& journal) {
    const std::shared_ptr<WatchStream> self = stream.lock();
    return self == nullptr ? absl::StatusOr<bool>(true) : self->ReadJournal(journal);
  });
}

void WatchStream::Finish() {
  absl::Status end;
  bool cut = false;
  bool finishes = false;
  bool drained = false;
  {
    const MutexLock lock(&mutex_);
    if (!end_.has_value() || finished_) return;
    end = *end_;
    cut = std::exchange(cut_, false);
    finishes = finished_ = pending_ != Pending::kWrite;
    drained = draining_;
  }
  if (cut) call_->Abort(end);
  if (!finishes) return;
  // While nothing stops it is the journal that is UNAVAILABLE.
  hub_->meters().CountEnd(end, StreamEnd::kStalledWrite,
                          drained ? StreamEnd::kShutdown : StreamEnd::kError);
  call_->End(end);
}

absl::StatusOr<bool> WatchStream::ReadJournal(const absl::StatusOr<JournalReader*>& journal) {
  const absl::Status status =
      journal.ok() ? cursor_.ReadJournal(*journal, hub_->MessageBytes()) : journal.status();
  const MutexLock lock(&mutex_);
  pending_ = Pending::kNothing;
  if (!status.ok()) {
    EndLocked(ReadError(status));
    return status;
  }
  WakeLocked();
  return true;
}

void WatchStream::CountMessage() {
  hub_->meters().sent_messages.Add();
  hub_->meters().sent_events.Add(step_.events);
  hub_->meters().sent_bytes.Add(message_.Length());
  // An event from before the stream was opened was not late on its way.
  if (step_.published >= opened_at_ && step_.published < absl::InfiniteDuration()) {
    hub_->meters().public_to_sent.Observe(hub_->clock().Now().monotonic - step_.published);
  }
  delivered_ = cursor_.sequence();
}

void WatchStream::OnWriteDone(bool ok) {
  const MutexLock lock(&mutex_);
  if (ok) CountMessage();
  message_.Clear();
  pending_ = Pending::kNothing;
  since_ = hub_->clock().Now().monotonic;
  if (!ok) return EndLocked(absl::CancelledError("the client is gone"));
  const bool waits = step_.follows == StreamCursor::Follows::kPublication;
  if (!waits || woken_ || draining_ || end_.has_value()) WakeLocked();
}

void WatchStream::OnDone() { hub_->StreamDone(this); }

void WatchStream::CheckDeadline(absl::Duration now) {
  const absl::Duration write_timeout = hub_->options().write_timeout;
  const MutexLock lock(&mutex_);
  const bool writes = pending_ == Pending::kWrite;
  if (end_.has_value() || now < since_ + (writes ? write_timeout : progress_interval_)) return;
  if (writes) {
    return CutLocked(absl::ResourceExhaustedError(
        absl::StrCat("the client read nothing for ", absl::FormatDuration(write_timeout),
                     "; resume after the last sequence received")));
  }
  beat_ = true;
  WakeLocked();
}

}  // namespace vmeventd
