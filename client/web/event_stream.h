#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "client/run/run.h"

namespace vmeventd::client {

// Positions of a stream, by the index of the server.
using StreamPositions = std::map<size_t, WatchPosition>;

// The id of a server-sent event: "JOURNAL:SEQUENCE" of each server, separated by commas.
std::string ToEventId(const StreamPositions& positions);
// INVALID_ARGUMENT: it is no such id, or has more than `servers` positions.
absl::StatusOr<StreamPositions> ParseEventId(absl::string_view id, size_t servers);

// A watch as server-sent events, for one HTTP connection. Its events are
//   (none)   an event of the journal
//   gap      a GAP: events are missing, and the lists must be read again
//   open     the source delivers
//   note     a sentence: the source is lost, or there again
// The source is read as the client reads. One thread.
class EventStream {
 public:
  // Makes the source. The stop source outlives it; `note` may be called by any thread.
  using Make = std::function<std::unique_ptr<Source>(StopSource* stop, const PrintSentence& note)>;
  // Begins behind the positions. `zone` is that of the texts. `stop` ends the stream.
  EventStream(Make make, StreamPositions positions, absl::TimeZone zone, std::stop_token stop)
      : make_(std::move(make)),
        zone_(zone),
        positions_(std::move(positions)),
        on_stop_(std::move(stop), [this] { stop_.Stop(); }) {}

  void set_socket(int socket) { socket_ = socket; }  // the client's
  // Copies what there is to `buffer`; waits for it as long as the socket is open. At least one
  // byte: after 15 s a comment. -1: the stream has ended.
  ssize_t Read(char* buffer, size_t size);

 private:
  void Take(Source::Item item);
  void TakeEvents(NodeEvents events);
  void Push(const std::string& text);
  void Note(const std::string& sentence);
  void NoteOpen();

  const Make make_;  // lives as long as the stream: it counts the open ones
  const absl::TimeZone zone_;
  int socket_ = -1;
  StopSource stop_;
  StreamPositions positions_;
  bool begun_ = false;
  std::mutex mutex_;
  std::string text_ = "retry: 1000\n\n";  // guarded by mutex_, as is the next
  bool open_ = false;                     // the client has an `open`, and no `note` since
  const std::stop_callback<std::function<void()>> on_stop_;
  std::unique_ptr<Source> source_;  // null: it has ended
};

}  // namespace vmeventd::client
