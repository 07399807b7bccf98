#include "client/web/event_stream.h"

#include <poll.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/output/json.h"
#include "client/output/json_with_texts.h"
#include "client/web/event_id.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {

constexpr absl::Duration kHeartbeat = absl::Seconds(15);
// Delay until the end of the client's connection is noticed.
constexpr absl::Duration kReadSlice = absl::Milliseconds(500);

ssize_t EventStream::Read(char* buffer, size_t size) {
  if (!std::exchange(begun_, true)) {
    source_ = make_(&stop_, [this](const std::string& sentence) { Note(sentence); });
  }
  for (absl::Duration idle; !stop_.stopped();) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (const size_t count = text_.copy(buffer, size); count > 0) {
        text_.erase(0, count);
        return static_cast<ssize_t>(count);
      }
    }
    pollfd client = {socket_, POLLRDHUP, 0};
    if (source_ == nullptr || poll(&client, 1, 0) > 0) break;
    if (idle >= kHeartbeat)
      return static_cast<ssize_t>(absl::string_view(":\n\n").copy(buffer, size));
    Take(source_->Next(kReadSlice));
    idle += kReadSlice;
  }
  return -1;
}

void EventStream::Take(Source::Item item) {
  if (std::holds_alternative<Source::Ended>(item)) {
    source_.reset();
  } else if (std::holds_alternative<Source::Opened>(item)) {
    NoteOpen();
  } else if (auto* events = std::get_if<NodeEvents>(&item)) {
    TakeEvents(std::move(*events));
  } else if (const auto* moved = std::get_if<ServerPosition>(&item)) {
    if (moved->position.journal_id.empty()) return;
    // An id alone moves the client's position.
    WatchPosition& known = positions_[moved->server];
    if (std::exchange(known, moved->position) == moved->position) return;
    Push(absl::StrCat("id: ", ToEventId(positions_), "\n\n"));
  }
}

void EventStream::TakeEvents(NodeEvents events) {
  NoteOpen();
  for (NodeEvent& one : events) {
    const ServerPosition& behind = one.resume_after;
    if (!behind.position.journal_id.empty()) positions_[behind.server] = behind.position;
    const absl::StatusOr<std::string> json = ToJsonWithTexts(one, zone_);
    if (!json.ok()) {
      Note(std::string(json.status().message()));
      source_.reset();
      return;
    }
    const bool gap = one.event.type() == v1::EVENT_TYPE_GAP;
    Push(absl::StrCat("id: ", ToEventId(positions_), gap ? "\nevent: gap" : "", "\ndata: ", *json,
                      "\n\n"));
  }
}

void EventStream::Push(const std::string& text) {
  const std::lock_guard<std::mutex> lock(mutex_);
  text_ += text;
}

void EventStream::Note(const std::string& sentence) {
  const std::lock_guard<std::mutex> lock(mutex_);
  open_ = false;
  absl::StrAppend(&text_, "event: note\ndata: ", JsonText({{"text", sentence}}), "\n\n");
}

void EventStream::NoteOpen() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!std::exchange(open_, true)) text_ += "event: open\ndata: {}\n\n";
}

}  // namespace vmeventd::client
