#include "client/sources/reconnecting_source.h"

#include <algorithm>
#include <utility>

#include "absl/time/time.h"

namespace vmeventd::client {
namespace {

constexpr absl::Duration kFirstPause = absl::Milliseconds(100);
constexpr absl::Duration kLongestPause = absl::Seconds(5);

}  // namespace

ReconnectingSource::ReconnectingSource(Environment environment)
    : env_(std::move(environment)), backoff_(kFirstPause, kLongestPause) {}

Source::Item ReconnectingSource::Next(absl::Duration timeout) {
  while (ready_.empty()) {
    if (!ended_ && stopped()) Close(ExitCode::kOk);
    if (ended_) return Ended{*ended_};
    if (pause_ > absl::ZeroDuration()) {
      const absl::Duration part = std::min(pause_, timeout);
      if (Pause(part)) {
        Close(ExitCode::kOk);
        continue;
      }
      pause_ -= part;
      timeout -= part;
      if (pause_ > absl::ZeroDuration()) return Nothing{};
    }
    if (!open_) {
      open_ = Open();
    } else if (!Read(&timeout) && ready_.empty()) {
      return Nothing{};
    }
  }
  Item item = std::move(ready_.front());
  ready_.pop_front();
  return item;
}

void ReconnectingSource::Add(Item item) {
  if (const auto* events = std::get_if<NodeEvents>(&item)) {
    reported_ = events->back().resume_after.position;
    backoff_.Reset();
  }
  ready_.push_back(std::move(item));
}

void ReconnectingSource::AddPosition(const std::optional<WatchPosition>& position) {
  if (!position || position == reported_) return;
  reported_ = position;
  backoff_.Reset();
  Add(ServerPosition{0, *position});
}

void ReconnectingSource::Close(std::optional<ExitCode> code, bool at_once) {
  open_ = false;
  ended_ = code;
  if (!code && !at_once) pause_ = backoff_.Next(env_.random());
}

void ReconnectingSource::NoteLoss(const std::string& why) {
  loss_reported_ = true;
  if (std::exchange(last_reason_, why) != why) Note(why);
}

void ReconnectingSource::NoteEstablished(const std::string& again) {
  ever_established_ = true;
  last_reason_.clear();
  if (std::exchange(loss_reported_, false)) Note(again);
}

}  // namespace vmeventd::client
