#include "tests/support/event_stream.h"

#include <algorithm>
#include <chrono>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "tests/support/fail.h"
#include "tests/support/wait.h"

namespace vmeventd::e2e {

EventStream::EventStream(const std::shared_ptr<grpc::Channel>& channel,
                         const v1::WatchEventsRequest& request, Listener listener)
    : stub_(v1::VmEventService::NewStub(channel)),
      listener_(std::move(listener)),
      reader_(stub_->WatchEvents(&context_, request)),
      thread_([this] { Read(); }) {}

EventStream::~EventStream() {
  context_.TryCancel();
  thread_.join();
}

void EventStream::Read() {
  v1::WatchEventsResponse response;
  while (reader_->Read(&response)) {
    if (listener_) {
      for (const v1::Event& event : response.events()) listener_(event);
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    std::copy(response.events().begin(), response.events().end(), std::back_inserter(events_));
    if (response.has_progress()) progress_.push_back(response.progress());
    changed_.notify_all();
  }
  const grpc::Status status = reader_->Finish();
  const std::lock_guard<std::mutex> lock(mutex_);
  status_ = status;
  ended_ = true;
  changed_.notify_all();
}

template <typename Condition>
void EventStream::WaitFor(const std::string& what, const Condition& condition) {
  std::unique_lock<std::mutex> lock(mutex_);
  bool met = false;
  const auto settled = [&] {
    met = condition();
    return met || ended_;  // nothing more arrives once the stream has ended
  };
  StepUntil([&] { changed_.wait_for(lock, std::chrono::seconds(1)); }, settled);
  if (met) return;
  constexpr std::ptrdiff_t kShown = 50;
  const auto count = static_cast<std::ptrdiff_t>(events_.size());
  const std::vector<v1::Event> newest(events_.end() - std::min(count, kShown), events_.end());
  Fail(absl::StrCat("the stream did not deliver ", what, " but ", count,
                    " events, the newest of which are: ", TypesOf(newest),
                    ended_ ? "; it ended: " : "", status_.error_message()));
}

v1::Event EventStream::Wait(const std::string& what, const Predicate& predicate) {
  v1::Event found;
  size_t searched = 0;
  WaitFor(what, [&] {
    for (; searched < events_.size(); ++searched) {
      if (!predicate(events_[searched])) continue;
      found = events_[searched];
      return true;
    }
    return false;
  });
  return found;
}

v1::Event EventStream::Wait(const std::string& vm_name, v1::EventType type, int nth) {
  int seen = 0;
  return Wait(absl::StrCat(v1::EventType_Name(type), " of ", vm_name), [&](const v1::Event& event) {
    return event.vm().name() == vm_name && event.type() == type && ++seen == nth;
  });
}

v1::Progress EventStream::WaitProgress() {
  WaitFor("a position", [&] { return !progress_.empty(); });
  const std::lock_guard<std::mutex> lock(mutex_);
  return progress_.front();
}

grpc::Status EventStream::WaitEnd() {
  WaitFor("its end", [&] { return ended_; });
  const std::lock_guard<std::mutex> lock(mutex_);
  return status_;
}

std::vector<v1::Event> EventStream::events() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return events_;
}

std::vector<v1::Event> EventStream::EventsOf(const std::string& vm_name) const {
  std::vector<v1::Event> found;
  for (const v1::Event& event : events()) {
    if (event.vm().name() == vm_name) found.push_back(event);
  }
  return found;
}

std::string TypesOf(const std::vector<v1::Event>& events) {
  return absl::StrJoin(events, " ", [](std::string* out, const v1::Event& event) {
    absl::StrAppend(out, absl::StripPrefix(v1::EventType_Name(event.type()), "EVENT_TYPE_"));
  });
}

}  // namespace vmeventd::e2e
