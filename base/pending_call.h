#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/time/time.h"
#include "base/detached_threads.h"

namespace vmeventd {

// A call that a file system can delay without limit. Its user waits a little for it, and takes the
// result later if it is late. One thread at a time.
template <typename T>
class PendingCall {
 public:
  // Does `call` on a thread of `threads`, unless the result of the previous one was not taken yet,
  // and waits for that one or this one, at most `patience`. Returns its result; unset: it has not
  // ended. `call` may refer only to what it owns.
  std::optional<T> Within(DetachedThreads* threads, absl::Duration patience,
                          std::function<T()> call) {
    if (later_ == nullptr) {
      later_ = std::make_shared<Later>();
      threads->Run([later = later_, call = std::move(call)] {
        later->result = call();
        later->done = true;
      });
    }
    if (!later_->done) {
      threads->StartMissing();
      threads->WaitForJobs(patience);
    }
    if (!later_->done) return std::nullopt;
    return std::move(std::exchange(later_, nullptr)->result);
  }

  // Returns whether a call was begun whose result was not taken.
  bool under_way() const { return later_ != nullptr; }

 private:
  struct Later {
    std::atomic<bool> done = false;  // set last
    std::optional<T> result;
  };

  std::shared_ptr<Later> later_;  // null: nothing is under way
};

}  // namespace vmeventd
