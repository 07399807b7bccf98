#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "client/connect/stop_source.h"
#include "client/output/node_event.h"
#include "client/output/print_sentence.h"
#include "client/output/watch_position.h"
#include "client/sources/source.h"
#include "client/web/event_id.h"

namespace vmeventd::client {

// A watch as server-sent events, for one HTTP connection. The event names are
//   (none)   an event of the journal
//   gap      a GAP: events are missing, and the lists must be read again
//   open     the source delivers
//   note     a sentence: the source is lost, or connected again
// The source is read when the client reads. One thread.
class EventStream {
 public:
  // Makes the source. `stop` outlives the source; `note` may be called by any thread.
  using Make = std::function<std::unique_ptr<Source>(StopSource* stop, const PrintSentence& note)>;
  // Starts after the positions. `zone` is used for times in texts. `stop` ends the stream.
  EventStream(Make make, StreamPositions positions, absl::TimeZone zone, std::stop_token stop)
      : make_(std::move(make)),
        zone_(zone),
        positions_(std::move(positions)),
        on_stop_(std::move(stop), [this] { stop_.Stop(); }) {}

  void set_socket(int socket) { socket_ = socket; }  // the socket to the client
  // Copies the waiting text to `buffer`. Waits for at least one byte while the socket is open;
  // after 15 s without events it returns a comment. -1: the stream has ended.
  ssize_t Read(char* buffer, size_t size);

 private:
  void Take(Source::Item item);
  void TakeEvents(NodeEvents events);
  void Push(const std::string& text);
  void Note(const std::string& sentence);
  void NoteOpen();

  const Make make_;  // lives as long as the stream, because it counts the open streams
  const absl::TimeZone zone_;
  int socket_ = -1;
  StopSource stop_;
  StreamPositions positions_;
  bool begun_ = false;
  std::mutex mutex_;
  std::string text_ = "retry: 1000\n\n";  // guarded by mutex_, like `open_`
  bool open_ = false;                     // the client got `open`, and no `note` since then
  const std::stop_callback<std::function<void()>> on_stop_;
  std::unique_ptr<Source> source_;  // null: it has ended
};

}  // namespace vmeventd::client
