#include "server/stream/stream_hub.h"

#include <malloc.h>

#include <algorithm>

#include "absl/strings/escaping.h"
#include "base/error_reason.h"
#include "base/random_bytes.h"
#include "base/thread_name.h"
#include "server/events/event_matcher.h"
#include "watcher/core/proto_time.h"
#include "watcher/core/shutting_down.h"

namespace vmeventd {
namespace {

v1::Stream Describe(const v1::EventFilter& filter, const CallPeer& peer, absl::Time now) {
  v1::Stream stream;
  stream.set_stream_id(absl::BytesToHexString(RandomBytes(8)));
  stream.set_peer(peer.peer);
  for (const std::string& name : peer.certificate_names) stream.add_certificate_names(name);
  if (filter.ByteSizeLong() > 0) *stream.mutable_filter() = filter;
  *stream.mutable_open_time() = ToTimestamp(now);
  return stream;
}

}  // namespace

StreamHub::StreamHub(EventLog* log, const Clock* clock, StreamOptions options, int threads)
    : log_(log), clock_(clock), options_(options) {
  log->Subscribe([this](bool published) {
    if (published) WakeStreams();
  });
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this] {
      SetThreadName("streams");
      turns_.Run();
    });
  }
}

StreamHub::~StreamHub() {
  turns_.Stop();
  for (std::thread& thread : threads_) thread.join();
}

void StreamHub::WakeStreams() {
  if (wake_waits_.exchange(true)) return;
  turns_.Add("", [this] {
    wake_waits_ = false;
    for (const auto& stream : Streams()) stream->Wake();
  });
}

void StreamHub::Open(StreamCall* call, const WatchRequest& request, const v1::EventFilter& filter,
                     const CallPeer& peer) {
  const absl::Status status = OpenStream(call, request, filter, peer);
  if (!status.ok()) Refuse(call, status);
}

absl::Status StreamHub::OpenStream(StreamCall* call, const WatchRequest& request,
                                   const v1::EventFilter& filter, const CallPeer& peer) {
  const absl::StatusOr<StreamBegin> begin = log_->Begin(request.start);
  if (!begin.ok()) return begin.status();
  const absl::Duration interval = request.progress_interval.value_or(options_.progress_interval);
  v1::Stream description = Describe(filter, peer, clock_->Now().wall);
  // A name takes at most twice as much in the matcher as in the description, and a selector of
  // labels at most 2 KiB.
  const size_t bytes =
      3 * description.SpaceUsedLong() + size_t{2'048} * static_cast<size_t>(filter.labels_size());
  if (absl::Status held = call->Hold(bytes); !held.ok()) return held;
  const auto stream = std::make_shared<WatchStream>(
      this, call, description,
      StreamCursor(log_, clock_, *begin, EventMatcher(filter), request.durable_only,
                   description.stream_id(), interval));
  {
    const MutexLock lock(&mutex_);
    if (draining_) return ShuttingDown();
    streams_[stream->id()] = stream;
  }
  meters_.opened.Add();
  // Events may wake the stream once it is registered, but it takes no turn before it answers its
  // call.
  call->AnswerBy(stream.get());
  stream->Begin();
  return absl::OkStatus();
}

v1::ListStreamsResponse StreamHub::List(const StreamPage& page, uint64_t newest) const {
  constexpr size_t kMaxPageBytes = size_t{1} << 19;
  v1::ListStreamsResponse response;
  size_t bytes = 0;
  for (const auto& stream : Streams()) {
    if (stream->id() <= page.after) continue;
    if (response.streams_size() == page.size || bytes > kMaxPageBytes) {
      response.set_next_page_token(response.streams().rbegin()->stream_id());
      break;
    }
    *response.add_streams() = stream->Describe(newest);
    bytes += response.streams().rbegin()->ByteSizeLong();
  }
  return response;
}

void StreamHub::StreamDone(WatchStream* stream) {
  std::shared_ptr<WatchStream> released;  // destroyed without the lock
  const MutexLock lock(&mutex_);
  const auto found = streams_.find(stream->id());
  if (found == streams_.end()) return;
  released = std::move(found->second);
  streams_.erase(found);
  ++ended_;
  if (streams_.empty()) changed_.NotifyAll();
}

size_t StreamHub::MessageBytes() const {
  // 1,000 streams of one peer take another 20 MiB, and its connections 12 MiB in the relay.
  constexpr size_t kAllBytes = size_t{16} << 20;
  constexpr size_t kMinBytes = size_t{8} << 10;
  const size_t left = kAllBytes - std::min<size_t>(kAllBytes, in_flight_);
  return std::min(options_.message_bytes, std::max(kMinBytes, left / 16));
}

void StreamHub::TrimMemory(absl::Duration now) {
  // glibc holds what many streams have freed, because it lies between what is still used.
  constexpr int kManyStreams = 100;
  constexpr absl::Duration kSettleTime = absl::Seconds(10);
  {
    const MutexLock lock(&mutex_);
    if (ended_ < kManyStreams) return;
    if (trim_at_ == absl::InfiniteDuration()) trim_at_ = now + kSettleTime;
    if (now < trim_at_) return;
    trim_at_ = absl::InfiniteDuration();
    ended_ = 0;
  }
  malloc_trim(0);
}

std::vector<std::shared_ptr<WatchStream>> StreamHub::Streams() const {
  std::vector<std::shared_ptr<WatchStream>> out;
  const MutexLock lock(&mutex_);
  out.reserve(streams_.size());
  for (const auto& [id, stream] : streams_) out.push_back(stream);
  return out;
}

void StreamHub::CheckDeadlines() {
  const absl::Duration now = clock_->Now().monotonic;
  for (const auto& stream : Streams()) stream->CheckDeadline(now);
  TrimMemory(now);
}

void StreamHub::Drain(absl::Duration timeout) {
  draining_ = true;
  for (const auto& stream : Streams()) stream->Wake();
  WaitUntilEmpty(timeout);
  for (const auto& stream : Streams()) {
    stream->End(
        WithReason("SHUTTING_DOWN",
                   absl::UnavailableError("vmeventd is shutting down and the client did not read "
                                          "in time; resume after the last sequence received")),
        /*cut=*/true);
  }
  WaitUntilEmpty(absl::Milliseconds(200));
}

StreamLag StreamHub::Lag(uint64_t newest) const {
  StreamLag lag;
  for (const auto& stream : Streams()) {
    const uint64_t delivered = stream->delivered();
    if (delivered >= newest) continue;
    ++lag.behind;
    lag.summed_events += newest - delivered;
    lag.max_events = std::max(lag.max_events, newest - delivered);
  }
  return lag;
}

}  // namespace vmeventd
