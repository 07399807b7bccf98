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

void WatchStream::Wake() {
  if (!waits_for_turn_.exchange(true)) Begin();
}

void WatchStream::RequestProgress() {
  {
    const MutexLock lock(&mutex_);
    beat_ = true;
  }
  Wake();
}

v1::Stream WatchStream::Describe(uint64_t newest) {
  v1::Stream stream = description_;
  const uint64_t sent = delivered();
  stream.set_sequence(sent);
  stream.set_lag(newest - std::min(sent, newest));
  return stream;
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
  Advance().status().IgnoreError();
}

void WatchStream::FinishIfEnded() {
  absl::Status end;
  {
    const MutexLock lock(&mutex_);
    if (!end_.has_value() || cutting_ > 0) return;
    if (state_ != State::kIdle && state_ != State::kReading) return;
    state_ = State::kFinished;
    // While nothing stops it is the journal that is UNAVAILABLE.
    hub_->meters().CountEnd(*end_, StreamEnd::kStalledWrite,
                            draining_ ? StreamEnd::kShutdown : StreamEnd::kError);
    end = *end_;
  }
  call_->End(end);
}

absl::StatusOr<bool> WatchStream::Advance(const absl::StatusOr<JournalReader*>* journal) {
  FinishIfEnded();
  bool beat = false;
  {
    const MutexLock lock(&mutex_);
    again_ = true;
    const State waits = journal == nullptr ? State::kIdle : State::kReading;
    if (state_ != waits || cutting_ > 0) return true;
    again_ = false;
    // A call that ends while the disk hangs does not wait for it: only this thread leaves kReading,
    // unless the stream finishes.
    if (journal == nullptr) state_ = State::kBuilding;
    beat = std::exchange(beat_, false);
  }

  const Instant now = hub_->clock().Now();
  absl::StatusOr<std::optional<grpc::ByteBuffer>> next = std::nullopt;
  if (journal != nullptr && !journal->ok()) {
    next = journal->status();
  } else {
    next = cursor_.Next(beat, journal == nullptr ? nullptr : **journal, hub_->MessageBytes());
  }
  const absl::StatusOr<bool> read = next.ok() ? absl::StatusOr<bool>(true) : next.status();
  if (!read.ok()) next = ReadError(read.status());
  const bool write = next.ok() && next->has_value();
  const bool reads = next.ok() && !write && cursor_.needs_journal();
  const bool has_progressed = write && cursor_.caught_up() && cursor_.sent().events == 0;
  if (write) message_ = *std::move(*next);
  bool more = false;
  {
    const MutexLock lock(&mutex_);
    if (state_ == State::kFinished) return read;
    if (beat && !has_progressed) beat_ = true;
    if (write) {
      if (cursor_.sent().events == 0) delivered_ = cursor_.sequence();
      state_ = State::kWriting;
      since_ = now.monotonic;
    } else if (reads) {
      state_ = State::kReading;
    } else {
      state_ = State::kIdle;
      delivered_ = cursor_.sequence();
      if (!next.ok() && !end_.has_value()) end_ = next.status();
      more = again_ || cursor_.more();
      if (draining_ && !more && !end_.has_value()) {
        end_ = WithReason("SHUTTING_DOWN", absl::UnavailableError(absl::StrCat(
                                               "vmeventd is shutting down; resume after sequence ",
                                               cursor_.sequence())));
      }
    }
  }
  if (write) call_->Write(&message_);
  if (reads) {
    // A stream that ends meanwhile takes no memory until its turn.
    hub_->log()->PostQuery(description_.peer(), [stream = weak_from_this()](const auto& reader) {
      const std::shared_ptr<WatchStream> self = stream.lock();
      return self == nullptr ? absl::StatusOr<bool>(true) : self->Advance(&reader);
    });
  }
  if (more) Wake();
  FinishIfEnded();
  return read;
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
  bool more = false;
  {
    const MutexLock lock(&mutex_);
    if (ok) CountMessage();
    message_.Clear();
    state_ = State::kIdle;
    since_ = hub_->clock().Now().monotonic;
    if (!ok && !end_.has_value()) end_ = absl::CancelledError("the client is gone");
    more = again_ || beat_ || draining_ || !cursor_.waits();
  }
  FinishIfEnded();
  if (more) Wake();
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

void WatchStream::CheckDeadline(absl::Duration now) {
  const absl::Duration write_timeout = hub_->options().write_timeout;
  bool writing = false;
  {
    const MutexLock lock(&mutex_);
    writing = state_ == State::kWriting;
    const absl::Duration due = since_ + (writing ? write_timeout : progress_interval_);
    if (now < due || state_ == State::kFinished) return;
    if (!writing) beat_ = true;
  }
  if (!writing) return Wake();
  Cut(absl::ResourceExhaustedError(absl::StrCat("the client read nothing for ",
                                                absl::FormatDuration(write_timeout),
                                                "; resume after the last sequence received")));
}

}  // namespace vmeventd
