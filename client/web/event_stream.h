#pragma once

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "base/system.h"
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
// The source runs on a thread of its own, and waits while its text is not read.
class EventStream : private WatchSink {
 public:
  // Makes the source, on the stream's thread. The stop source outlives it.
  using Make = std::function<MadeSource(StopSource* stop, const PrintSentence& note)>;
  // Begins behind the positions. `one_server`: no node's name is shown. `stop` ends the stream.
  EventStream(Make make, StreamPositions positions, bool one_server, std::stop_token stop);
  ~EventStream() override;

  // Copies what there is to `buffer`; waits for it as long as `socket`, the client's, is open. At
  // least one byte: after 15 s a comment. -1: the stream has ended.
  ssize_t Read(char* buffer, size_t size, int socket);

 private:
  bool OnOpen() override;
  bool OnVms(const NodeVms& /*vms*/) override { return true; }
  bool OnEvents(NodeEvents events) override;
  bool OnPosition(const ServerPosition& position) override;
  bool one_by_one() const override { return false; }
  void Run();
  void Note(const std::string& sentence);
  void Stop();
  // Waits for room. False: the stream has ended.
  bool Push(const std::string& text);

  const Make make_;
  const bool one_server_;
  const UniqueFd wake_;  // an eventfd: there is text, or the end
  StopSource stop_;
  StreamPositions positions_;  // the source's thread
  std::atomic<bool> open_ = false;
  std::mutex mutex_;
  std::condition_variable_any room_;
  std::string text_ = "retry: 1000\n\n";  // guarded by mutex_, as is the next
  bool ended_ = false;
  const std::stop_callback<std::function<void()>> on_stop_;
  std::jthread thread_;
};

}  // namespace vmeventd::client
