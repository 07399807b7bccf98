#include "client/sources/watch_stream.h"

#include <chrono>
#include <utility>

namespace vmeventd::client {

WatchStream::WatchStream(v1::VmEventService::StubInterface* stub,
                         const v1::WatchEventsRequest& request, const std::stop_token& stop)
    : reader_(stub->AsyncWatchEvents(&call_, request, &queue_, nullptr)),
      on_stop_(stop, [this] { call_.TryCancel(); }) {}

WatchStream::~WatchStream() {
  call_.TryCancel();
  static_cast<void>(Finish());
  queue_.Shutdown();
}

WatchStream::Step WatchStream::Wait(absl::Duration limit) {
  const auto deadline = std::chrono::system_clock::now() + absl::ToChronoNanoseconds(limit);
  while (true) {
    if (!std::exchange(waits_, true)) reader_->Read(&response_, nullptr);
    void* tag = nullptr;
    bool ok = false;
    if (queue_.AsyncNext(&tag, &ok, deadline) != grpc::CompletionQueue::GOT_EVENT) {
      return Step::kNothing;
    }
    waits_ = false;
    if (!ok) return Step::kEnd;
    if (std::exchange(started_, true)) return Step::kMessage;
  }
}

grpc::Status WatchStream::Finish() {
  if (std::exchange(finished_, true)) return status_;
  void* tag = nullptr;
  bool ok = false;
  if (waits_) queue_.Next(&tag, &ok);
  reader_->Finish(&status_, nullptr);
  queue_.Next(&tag, &ok);
  return status_;
}

}  // namespace vmeventd::client
