#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/access/refusals.h"
#include "server/eventlog/event_log.h"
#include "server/events/event_matcher.h"
#include "server/stream/fan_out.h"
#include "server/stream/stream_call.h"
#include "server/stream/stream_meters.h"
#include "server/stream/watch_stream.h"

namespace vmeventd {

class WatchStream;

// Index of streams by the names of their filters, for filters without a wildcard. Keeps hashes of
// the names: a stream may be found for a name that is not its own. Not thread-safe; the owner
// locks. Does not own the streams.
class NameIndex {
 public:
  // Approximate memory of a name.
  static constexpr size_t kBytesOfName = 24;

  void Add(WatchStream* stream, const NameMatcher& names) {
    streams_.insert(stream);
    for (const std::string& name : names.exact()) wanted_.emplace(HashOf(name), stream);
  }
  // Removes the stream; `names` are those that it was added with.
  void Remove(WatchStream* stream, const NameMatcher& names) {
    streams_.erase(stream);
    for (const std::string& name : names.exact()) wanted_.erase({HashOf(name), stream});
  }

  bool empty() const { return streams_.empty(); }
  // Calls `visit` with each stream that may want events of `name`.
  template <typename Visit>
  void Find(absl::string_view name, const Visit& visit) const {
    const size_t hash = HashOf(name);
    for (auto it = wanted_.lower_bound({hash, nullptr}); it != wanted_.end() && it->first == hash;
         ++it) {
      visit(it->second);
    }
  }
  template <typename Visit>
  void FindAll(const Visit& visit) const {
    for (WatchStream* const stream : streams_) visit(stream);
  }

 private:
  static size_t HashOf(absl::string_view name) { return absl::HashOf(name); }

  absl::btree_set<std::pair<size_t, WatchStream*>> wanted_;
  absl::btree_set<WatchStream*> streams_;
};

// A checked WatchEventsRequest, without its filter.
struct WatchRequest {
  WatchStart start;
  std::optional<absl::Duration> progress_interval{};  // unset: the server's default
};

// Every open WatchEvents stream. Owns them; outlives the gRPC server. Any thread, unless stated
// otherwise. Calls gRPC without holding its lock.
class StreamHub {
 public:
  // The pointers outlive the hub, which subscribes to the log.
  StreamHub(EventLog* log, const Clock* clock, StreamOptions options, RefusalCounters* refusals)
      : log_(log),
        clock_(clock),
        options_(options),
        refusals_(refusals),
        searched_(log->range().newest),
        plain_(kPlainThreads,
               [this] {
                 WakeNamed();
                 WakeEach(&plain_);
               }),
        slow_(kSlowThreads, [this] { WakeEach(&slow_); }) {
    log->Subscribe({.published = [this] { WakeStreams(); }});
  }
  // Answers one call of `peer`, whose streams are counted together, or refuses it.
  void Open(StreamCall* call, const WatchRequest& request, const v1::EventFilter& filter,
            const std::string& peer);
  // Has the stream of that Progress.stream_id send a Progress once it has caught up. NOT_FOUND: no
  // such stream is open.
  absl::Status RequestProgress(const std::string& stream_id);
  // Ends a call with `status`, and counts that.
  void Refuse(StreamCall* call, const absl::Status& status) {
    meters_.CountRefusal(status);
    call->End(status);
  }

  // Has the streams look for new events, on other threads: those whose filter has names without
  // wildcards for events of these names and of the node, the others for every event. Never waits.
  // Pump thread.
  void WakeStreams() {
    plain_.AddAll();
    slow_.AddAll();
  }

  // Sends the beats and cuts the writes that are due. Returns the time until the next, Infinite if
  // no stream is open. Hub thread.
  absl::Duration CheckDeadlines();
  // Runs CheckDeadlines in time, until Stop.
  void Run();
  void Stop() {
    const MutexLock lock(&mutex_);
    stopped_ = true;
    changed_.NotifyAll();
  }

  // Call it once nothing more will be published: refuses new streams, and ends each one after its
  // last event. Streams that have not ended after `timeout` are cut. Returns when no stream is
  // open, or soon after.
  void Drain(absl::Duration timeout);

  int stream_count() const {
    const MutexLock lock(&mutex_);
    return static_cast<int>(streams_.size());
  }
  // Statistics of the open streams, `newest` being the newest event.
  StreamLag Lag(uint64_t newest) const;
  const StreamMeters& meters() const { return meters_; }

  // Removes a stream whose call is done and which is not used any more; the hub destroys it.
  void StreamDone(WatchStream* stream);
  // Size of one answer of the journal: less if more streams are open, so that all answers together
  // stay in bounds even if no client reads.
  size_t HistoryBytes() const;

 private:
  struct Entry {
    std::shared_ptr<WatchStream> stream;
    absl::Duration due;
    std::string peer;
    size_t filter_bytes;
    const FanOut* woken_for_each;  // threads that wake it for every event; null: index_ has it
  };
  struct Peer {
    int streams = 0;
    size_t filter_bytes = 0;
  };
  // Threads on which streams match their filters: those with patterns that have wildcards hold up
  // only each other.
  static constexpr int kPlainThreads = 2;
  static constexpr int kSlowThreads = 1;
  // Streams up to which a peer still gets one more if others have taken all, up to an eighth beyond
  // the limit.
  static constexpr int kFewStreams = 8;

  absl::Status OpenStream(StreamCall* call, const WatchRequest& request,
                          const v1::EventFilter& filter, const std::string& peer);
  absl::Status Register(Entry entry);
  // Returns whether one more stream of `peer`, with a filter of that size, may be open.
  absl::Status CheckLimits(const std::string& peer, size_t filter_bytes) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<std::shared_ptr<WatchStream>> Streams() const;
  // Wakes the streams that are woken on `fan_out` for every event.
  void WakeEach(const FanOut* fan_out) const;
  // Wakes the streams of index_ that new events may match.
  void WakeNamed();
  void WaitUntilEmpty(absl::Duration timeout) {
    const MutexLock lock(&mutex_);
    WaitUntil(&changed_, &mutex_, timeout,
              [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return streams_.empty(); });
  }

  EventLog* const log_;
  const Clock* const clock_;
  const StreamOptions options_;
  RefusalCounters* const refusals_;
  StreamMeters meters_;

  // Held until every matching stream is marked: no thread searches ahead of another one.
  Mutex index_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  NameIndex index_ ABSL_GUARDED_BY(index_mutex_);
  // Sequence up to which the streams of all events have been found. Written with index_mutex_.
  std::atomic<uint64_t> searched_;

  mutable Mutex mutex_;
  CondVar changed_;
  absl::flat_hash_map<WatchStream*, Entry> streams_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<uint64_t, WatchStream*> ids_ ABSL_GUARDED_BY(mutex_);  // ids of streams_
  // Times at which streams_ are to be checked, soonest first.
  std::set<std::pair<absl::Duration, WatchStream*>> due_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, Peer> peers_ ABSL_GUARDED_BY(mutex_);
  size_t filter_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // total of streams_
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;

  // Destroyed first: their threads use the rest.
  FanOut plain_;
  FanOut slow_;
};

}  // namespace vmeventd
