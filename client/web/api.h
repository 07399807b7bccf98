#pragma once

#include <atomic>
#include <memory>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "client/run/run.h"
#include "client/web/event_stream.h"

namespace vmeventd::client {

// Returns whether the Host header names this server: by an address in digits, as localhost, or by a
// name of the certificate, in PEM; empty: there is none. A page of another site that has its own
// name resolve to this server (DNS rebinding) has that name there.
bool IsOwnHost(absl::string_view host, const std::string& certificate);

// Returns whether the Authorization header has the token, as "Bearer TOKEN" or as the password of
// "Basic", with any user name. Its time depends on the token's length alone.
bool HasToken(absl::string_view authorization, absl::string_view token);

// A GET or HEAD, decoded.
struct WebRequest {
  std::string path;
  std::vector<std::pair<std::string, std::string>> query;
  std::string last_event_id;  // empty: none
  bool head = false;
};

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

  WebAnswer Answer(const WebRequest& request);

 private:
  using Query = std::vector<std::pair<std::string, std::string>>;

  // Parses the query as the arguments of a command, or answers what is wrong with it.
  std::variant<CommandLine, WebAnswer> Parse(std::vector<std::string> arguments,
                                             const Query& query) const;
  WebAnswer Follow(CommandLine query, const WebRequest& request);
  const CommandLine& line_;
  const std::stop_token stop_;
  std::atomic<int> streams_ = 0;
};

}  // namespace vmeventd::client
