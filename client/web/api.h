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
#include "client/options/options.h"
#include "client/web/event_stream.h"

namespace vmeventd::client {

using WebQuery = std::vector<std::pair<std::string, std::string>>;

struct WebAnswer {
  int status = 200;
  const char* type = "application/json";
  std::string body;
  std::unique_ptr<EventStream> stream = nullptr;  // instead of a body
};

// Returns an answer that contains a sentence for people.
WebAnswer ErrorAnswer(int status, absl::string_view sentence);

// Serves the page's files, and the API's lists and streams for the servers of the command line. Any
// thread; a list blocks the calling thread until the servers have answered.
class WebApi {
 public:
  static constexpr int kMaxStreams = 64;
  static constexpr uint64_t kMaxListedEvents = 1000;  // maximum number of events in one list

  // `line` must outlive the API. `stop` ends the streams, which must be destroyed before the API.
  WebApi(const CommandLine& line, std::stop_token stop) : line_(line), stop_(std::move(stop)) {}

  // Answers a GET or HEAD; the arguments are decoded. Empty `last_event_id`: the request has none.
  WebAnswer Answer(const std::string& path, const WebQuery& query,
                   const std::string& last_event_id);

 private:
  // Parses the query as options of a command, in addition to `values`; only the parameter "pid" is
  // stored in `*pid`. INVALID_ARGUMENT names the fault.
  absl::StatusOr<CommandLine> Parse(const std::string& command, OptionValues values,
                                    const WebQuery& query, int64_t* pid) const;
  WebAnswer Follow(CommandLine query, const std::string& last_event_id);
  const CommandLine& line_;
  const std::stop_token stop_;
  std::atomic<int> streams_ = 0;
};

}  // namespace vmeventd::client
