#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/run/run.h"
#include "client/web/event_stream.h"

namespace vmeventd::client {

using WebQuery = std::vector<std::pair<std::string, std::string>>;

struct WebAnswer {
  int status = 200;
  const char* type = "application/json";
  std::string body;
  std::unique_ptr<EventStream> stream = nullptr;  // instead of a body
};

// An answer with a sentence for people.
WebAnswer ErrorAnswer(int status, absl::string_view sentence);

// Answers the page's files and the API's lists and streams, for the servers of the command line.
// Any thread; a list blocks its own as long as the servers take.
class WebApi {
 public:
  static constexpr int kMaxStreams = 64;
  static constexpr uint64_t kMaxEvents = 1000;  // limit of one list

  // `line` outlives it. `stop` ends the streams, which must be gone before it.
  WebApi(const CommandLine& line, std::stop_token stop) : line_(line), stop_(std::move(stop)) {}

  // Answers a GET or HEAD, decoded. An empty id of the last event: none.
  WebAnswer Answer(const std::string& path, const WebQuery& query,
                   const std::string& last_event_id);

 private:
  // Parses the query as the arguments of a command, but a pid, which it sets. INVALID_ARGUMENT
  // names what is wrong with it.
  absl::StatusOr<CommandLine> Parse(std::vector<std::string> arguments, const WebQuery& query,
                                    int64_t* pid) const;
  WebAnswer Follow(CommandLine query, const std::string& last_event_id);
  const CommandLine& line_;
  const std::stop_token stop_;
  std::atomic<int> streams_ = 0;
};

}  // namespace vmeventd::client
