#include "client/web/event_stream.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/consume/exec.h"
#include "client/output/formatter.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {
namespace {

constexpr size_t kMaxText = 1 << 20;  // limit of text that waits for the client
constexpr int kHeartbeatMs = 15000;

}  // namespace

std::string ToEventId(const StreamPositions& positions) {
  std::string id;
  size_t next = 0;
  for (const auto& [server, position] : positions) {
    for (; next < server; ++next) id += ',';
    absl::StrAppend(&id, position.journal_id, ":", position.sequence);
  }
  return id;
}

absl::StatusOr<StreamPositions> ParseEventId(absl::string_view id, size_t servers) {
  StreamPositions positions;
  size_t server = 0;
  for (const absl::string_view part : absl::StrSplit(id, ',')) {
    const std::pair<std::string, std::string> words = absl::StrSplit(part, absl::MaxSplits(':', 1));
    WatchPosition position{0, words.first};
    if (!part.empty() && (server >= servers || words.first.empty() ||
                          !absl::SimpleAtoi(words.second, &position.sequence))) {
      return absl::InvalidArgumentError(
          "is no position of this server; send the id of an event, JOURNAL:SEQUENCE");
    }
    if (!part.empty()) positions[server] = std::move(position);
    ++server;
  }
  return positions;
}

EventStream::EventStream(Make make, StreamPositions positions, bool one_server,
                         std::stop_token stop)
    : make_(std::move(make)),
      one_server_(one_server),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      positions_(std::move(positions)),
      on_stop_(std::move(stop), [this] { Stop(); }),
      thread_([this] { Run(); }) {}

EventStream::~EventStream() {
  Stop();
  thread_.join();
}

void EventStream::Run() {
  const MadeSource source = make_(&stop_, [this](const std::string& sentence) { Note(sentence); });
  if (const auto* failure = std::get_if<Failure>(&source)) {
    Note(failure->sentence);
  } else {
    std::get<std::unique_ptr<WatchSource>>(source)->Run(this);
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  ended_ = true;
  WakeEvent(wake_.get());
}

void EventStream::Stop() {
  stop_.Stop();
  WakeEvent(wake_.get());
}

ssize_t EventStream::Read(char* buffer, size_t size, int socket) {
  while (!stop_.stopped()) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (const size_t count = text_.copy(buffer, size); count > 0) {
        text_.erase(0, count);
        room_.notify_all();
        return static_cast<ssize_t>(count);
      }
      if (ended_) break;
    }
    pollfd watched[] = {{wake_.get(), POLLIN, 0}, {socket, POLLRDHUP, 0}};
    const int found = poll(watched, std::size(watched), kHeartbeatMs);
    if (found < 0 && errno == EINTR) continue;
    if (found < 0 || watched[1].revents != 0) break;
    if (found == 0) return static_cast<ssize_t>(absl::string_view(":\n\n").copy(buffer, size));
    uint64_t taken = 0;
    (void)!read(wake_.get(), &taken, sizeof(taken));
  }
  return -1;
}

bool EventStream::Push(const std::string& text) {
  std::unique_lock<std::mutex> lock(mutex_);
  room_.wait(lock, stop_.token(), [this] { return text_.size() < kMaxText; });
  text_ += text;
  WakeEvent(wake_.get());
  return !stop_.stopped();
}

void EventStream::Note(const std::string& sentence) {
  open_ = false;
  Push(absl::StrCat("event: note\ndata: ", JsonText({{"text", sentence}}), "\n\n"));
}

bool EventStream::OnOpen() { return open_.exchange(true) || Push("event: open\ndata: {}\n\n"); }

bool EventStream::OnEvents(NodeEvents events) {
  if (!OnOpen()) return false;
  for (NodeEvent& one : events) {
    const ServerPosition& behind = one.resume_after;
    if (!behind.position.journal_id.empty()) positions_[behind.server] = behind.position;
    if (one_server_) one.node.name.clear();
    const absl::StatusOr<std::string> json = ToJson(one.event, one.node);
    if (!json.ok()) {
      Note(std::string(json.status().message()));
      return false;
    }
    const bool gap = one.event.type() == v1::EVENT_TYPE_GAP;
    if (!Push(absl::StrCat("id: ", ToEventId(positions_), gap ? "\nevent: gap" : "",
                           "\ndata: ", *json, "\n\n"))) {
      return false;
    }
  }
  return true;
}

// An id alone moves the client's position.
bool EventStream::OnPosition(const ServerPosition& position) {
  if (position.position.journal_id.empty()) return true;
  WatchPosition& known = positions_[position.server];
  if (std::exchange(known, position.position) == position.position) return true;
  return Push(absl::StrCat("id: ", ToEventId(positions_), "\n\n"));
}

}  // namespace vmeventd::client
