#ifndef VMEVENTD_SERVER_STREAM_HUB_H_
#define VMEVENTD_SERVER_STREAM_HUB_H_

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "server/event_store.h"
#include "server/history.h"
#include "server/refusals.h"
#include "server/request_checks.h"
#include "server/stream_meters.h"
#include "server/watch_stream.h"
#include "watcher/io/clock.h"
#include "watcher/io/mutex.h"

namespace vmeventd {

// Every open WatchEvents stream. Owns them; outlives the gRPC server. Methods are for any thread
// where they do not say otherwise. Calls gRPC without holding its lock.
class StreamHub : public WatchStreamOwner {
 public:
  // All outlive the hub.
  StreamHub(const EventStore* store, History* history, const Clock* clock, StreamOptions options,
            RefusalCounters* refusals)
      : store_(store), history_(history), clock_(clock), options_(options), refusals_(refusals) {}
  ~StreamHub() override = default;

  // Answers one call of `peer`, whose streams are counted together. Never null: a call that is
  // refused gets a reactor that has finished with the reason.
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Open(grpc::CallbackServerContext* context,
                                                   const v1::WatchEventsRequest& request,
                                                   const std::string& peer);
  // The reactor of a call that is refused with `status`.
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Refuse(const absl::Status& status);

  // Lets each stream look for new events. Pump thread.
  void WakeStreams();

  // Sends the beats and cuts the writes that are due. Returns the time until the next, Infinite
  // where no stream is open. Hub thread.
  absl::Duration CheckDeadlines();
  // CheckDeadlines in time, until Stop.
  void Run();
  void Stop();

  // Nothing more will be published: refuses new streams, and ends each one after its last event.
  // What has not ended after `timeout` is cut. Returns when no stream is open, or soon after.
  void Drain(absl::Duration timeout);

  int stream_count() const;
  // Of the open streams, `newest` being the newest event.
  StreamLag Lag(uint64_t newest) const;
  const StreamMeters& meters() const { return meters_; }

  void StreamDone(WatchStream* stream) override;

 private:
  struct Entry {
    std::shared_ptr<WatchStream> stream;
    absl::Duration due;
    std::string peer;
  };

  absl::StatusOr<WatchStream*> OpenStream(grpc::CallbackServerContext* context,
                                          const v1::WatchEventsRequest& request,
                                          const std::string& peer);
  absl::Status Register(std::shared_ptr<WatchStream> stream, absl::Duration due,
                        const std::string& peer);
  std::vector<std::shared_ptr<WatchStream>> Streams() const;
  void WaitUntilEmpty(absl::Duration timeout);

  const EventStore* const store_;
  History* const history_;
  const Clock* const clock_;
  const StreamOptions options_;
  RefusalCounters* const refusals_;
  StreamMeters meters_;

  mutable Mutex mutex_;
  CondVar changed_;
  absl::flat_hash_map<WatchStream*, Entry> streams_ ABSL_GUARDED_BY(mutex_);
  // When each of streams_ is to be checked, soonest first.
  std::set<std::pair<absl::Duration, WatchStream*>> due_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, int> peers_ ABSL_GUARDED_BY(mutex_);  // streams of each
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_STREAM_HUB_H_
