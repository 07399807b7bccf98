#include "server/stream/watch_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error_reason.h"
#include "server/stream/stream_hub.h"

namespace vmeventd {

WatchStream::WatchStream(StreamHub* hub, StreamCall* call, std::string peer,
                         absl::Duration progress_interval, StreamCursor cursor)
    : hub_(hub),
      call_(call),
      peer_(std::move(peer)),
      progress_interval_(progress_interval),
      opened_at_(hub->clock().Now().monotonic),
      cursor_(std::move(cursor)),
      since_(opened_at_),
      delivered_(cursor_.sequence()) {}

void WatchStream::Begin() {
  hub_->turns()->Add(peer_, [self = shared_from_this()] { self->Turn(); });
}

void WatchStream::Wake() {
  if (!waits_for_turn_.exchange(true)) Begin();
}

void WatchStream::RequestProgress() {
  {
    const MutexLock lock(&mutex_);
    progress_requested_ = true;
  }
  Wake();
}

void WatchStream::Drain() {
  {
    const MutexLock lock(&mutex_);
    draining_ = true;
  }
  Wake();
}

void WatchStream::Turn() {
  waits_for_turn_ = false;
  hub_->meters().turns.Add();
  if (Advance().value_or(false)) Wake();
}

void WatchStream::FinishIfEnded() {
  absl::Status end;
  {
    const MutexLock lock(&mutex_);
    if (!end_.has_value() || cutting_ > 0) return;
    if (state_ != State::kIdle && state_ != State::kReading) return;
    state_ = State::kFinished;
    hub_->meters().CountEnd(*end_, draining_);
    end = *end_;
  }
  call_->End(end);
}

absl::StatusOr<bool> WatchStream::Advance(const absl::StatusOr<JournalReader*>* journal) {
  FinishIfEnded();
  bool beat = false;
  bool progress = false;
  {
    const MutexLock lock(&mutex_);
    again_ = true;
    const State waits = journal == nullptr ? State::kIdle : State::kReading;
    if (state_ != waits || cutting_ > 0) return false;
    again_ = false;
    // A call that ends while the disk hangs does not wait for it: only this thread leaves kReading,
    // unless the stream finishes.
    if (journal == nullptr) state_ = State::kBuilding;
    beat = std::exchange(beat_, false);
    progress = std::exchange(progress_requested_, false);
  }

  const Instant now = hub_->clock().Now();
  absl::StatusOr<std::optional<grpc::ByteBuffer>> next = std::nullopt;
  if (journal != nullptr && !journal->ok()) {
    next = journal->status();
  } else {
    next = journal == nullptr ? cursor_.Next(beat)
                              : cursor_.Next(beat, **journal, hub_->HistoryBytes());
    // Progress on demand waits until there is nothing else to send.
    if (progress && next.ok() && !next->has_value() && cursor_.caught_up()) {
      next = cursor_.Next(/*beat=*/true);
    }
  }
  const absl::Status read = next.status();
  if (absl::IsDataLoss(read)) {
    next = WithReason("JOURNAL_DAMAGED",
                      absl::OutOfRangeError(absl::StrCat(
                          read.message(),
                          ": the journal is damaged, and a restart of vmeventd replaces it; "
                          "start from a snapshot")));
  }
  const bool write = next.ok() && next->has_value();
  const bool has_progressed = write && cursor_.caught_up() && cursor_.sent().events == 0;
  if (write) message_ = *std::move(*next);
  {
    const MutexLock lock(&mutex_);
    if (state_ == State::kFinished) {
      if (absl::IsDataLoss(read)) return read;
      return false;
    }
    if (progress && !has_progressed) progress_requested_ = true;
    if (write) {
      if (cursor_.sent().events == 0) delivered_ = cursor_.sequence();
      state_ = State::kWriting;
      since_ = now.monotonic;
    } else if (next.ok() && cursor_.needs_journal()) {
      state_ = State::kReading;
    } else {
      state_ = State::kIdle;
      delivered_ = cursor_.sequence();
      if (!next.ok() && !end_.has_value()) end_ = next.status();
      again_ = again_ || cursor_.more();
      if (draining_ && !again_ && !end_.has_value()) {
        end_ = WithReason("SHUTTING_DOWN", absl::UnavailableError(absl::StrCat(
                                               "vmeventd is shutting down; resume after sequence ",
                                               cursor_.sequence())));
      }
      if (absl::IsDataLoss(read)) return read;
      return again_ || end_.has_value();
    }
  }
  if (write) {
    call_->Write(&message_);
  } else {
    // A stream that ends meanwhile takes no memory until its turn.
    hub_->log()->PostQuery(peer_,
                           [stream = weak_from_this()](const absl::StatusOr<JournalReader*>& reader)
                               -> absl::StatusOr<bool> {
                             const std::shared_ptr<WatchStream> self = stream.lock();
                             if (self == nullptr) return true;
                             const absl::StatusOr<bool> more = self->Advance(&reader);
                             if (!more.ok() || *more) self->Wake();
                             if (!more.ok()) return more.status();
                             return true;
                           });
  }
  // If the call ended before the state was kReading, finish it now.
  FinishIfEnded();
  return false;
}

void WatchStream::CountMessage() {
  hub_->meters().sent_messages.Add();
  hub_->meters().sent_events.Add(cursor_.sent().events);
  hub_->meters().sent_bytes.Add(message_.Length());
  // An event from before the stream was opened was not late on its way.
  const absl::Duration published = cursor_.sent().published;
  if (published >= opened_at_ && published < absl::InfiniteDuration()) {
    hub_->meters().public_to_sent.Observe(hub_->clock().Now().monotonic - published);
  }
  delivered_ = cursor_.sequence();
}

void WatchStream::OnWriteDone(bool ok) {
  {
    const MutexLock lock(&mutex_);
    if (ok) CountMessage();
    message_.Clear();
    state_ = State::kIdle;
    since_ = hub_->clock().Now().monotonic;
    if (!ok && !end_.has_value()) end_ = absl::CancelledError("the client is gone");
  }
  FinishIfEnded();
  Wake();
}

void WatchStream::OnCancel() {
  {
    const MutexLock lock(&mutex_);
    if (!end_.has_value()) end_ = absl::CancelledError("the call was cancelled");
  }
  FinishIfEnded();
}

void WatchStream::OnDone() { hub_->StreamDone(this); }

void WatchStream::Cut(const absl::Status& status) {
  {
    const MutexLock lock(&mutex_);
    if (state_ == State::kFinished) return;
    if (!end_.has_value()) end_ = status;
    ++cutting_;  // no End before Abort has returned
  }
  call_->Abort(status);
  {
    const MutexLock lock(&mutex_);
    --cutting_;
  }
  FinishIfEnded();
}

absl::Duration WatchStream::CheckDeadline(absl::Duration now) {
  bool beat = false;
  {
    const MutexLock lock(&mutex_);
    if (state_ == State::kFinished) return absl::InfiniteDuration();
    if (state_ == State::kWriting) {
      if (now < since_ + hub_->options().write_timeout) {
        // The write may end in a moment, and a beat is due an interval after that.
        return std::min(since_ + hub_->options().write_timeout, now + progress_interval_);
      }
    } else {
      if (now < since_ + progress_interval_) {
        // A write may begin meanwhile, and must be checked in time.
        return std::min(since_ + progress_interval_, now + hub_->options().write_timeout);
      }
      beat = beat_ = true;
    }
  }
  if (beat) {
    Wake();
  } else {
    Cut(absl::ResourceExhaustedError(absl::StrCat(
        "the client read nothing for ", absl::FormatDuration(hub_->options().write_timeout),
        "; resume after the last sequence received")));
  }
  return now + std::min(progress_interval_, hub_->options().write_timeout);
}

}  // namespace vmeventd
