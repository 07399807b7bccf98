#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stop_token>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/cli/option.h"
#include "client/cli/option_file.h"
#include "client/cli/option_text.h"
#include "client/output/files.h"
#include "client/output/node_event.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"
#include "client/sinks/http.h"
#include "client/sinks/push_body.h"
#include "client/sinks/push_files.h"
#include "client/sinks/push_sink.h"
#include "client/sinks/pusher.h"
#include "client/sinks/set_aside_line.h"
#include "client/sinks/signature.h"
#include "client/sinks/sink_options.h"
#include "client/sinks/trial_event.h"

namespace vmeventd::client {
namespace {

constexpr char kBatchOption[] = "--batch";
constexpr char kTimeoutOption[] = "--timeout";
constexpr char kSecretFileOption[] = "--secret-file";
constexpr char kHeaderFileOption[] = "--header-file";

absl::Status CheckTimeout(absl::string_view text) {
  const auto timeout = ParseDurationText(text);
  if (timeout.ok() && *timeout >= absl::Seconds(1) && *timeout <= absl::Minutes(10)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError("is not a duration from 1s to 10m; use 30s, 1m30s, 10m");
}

void AddHttpOptions(CLI::App* app, SinkOptions* options) {
  AddOption(app, kBatchOption, "N", "for https://: at most N events in a request (default 100)",
            [options](const std::string& text) {
              constexpr uint64_t kMaxBatch = 1000;
              ReadNumber(text, kMaxBatch);
              (*options)[kBatchOption] = text;
            });
  AddChecked(app, kTimeoutOption, "DURATION",
             "for https://: request timeout, 1s to 10m (default 30s)", CheckTimeout,
             &(*options)[kTimeoutOption]);
  AddFile(app, kSecretFileOption,
          "for https://: sign each request with the secret in this file; while the secret is "
          "replaced, the file has two lines: the new and the old one",
          &(*options)[kSecretFileOption]);
  AddFile(app, kHeaderFileOption,
          "for https://: also send the headers in this file, one a line, such as \"Authorization: "
          "Bearer ...\"",
          &(*options)[kHeaderFileOption]);
}

// The maximum number of events in a request.
size_t BatchOf(const PushCommand& command) {
  size_t events = 100;
  const std::string text = OptionOf(command.follow.sink_options, kBatchOption);
  if (!text.empty()) (void)absl::SimpleAtoi(text, &events);  // it was checked
  return command.format == PushFormat::kTemplate ? 1 : events;
}

absl::Duration TimeoutOf(const PushCommand& command) {
  const auto timeout = ParseDurationText(OptionOf(command.follow.sink_options, kTimeoutOption));
  return timeout.ok() ? *timeout : absl::Seconds(30);
}

absl::StatusOr<std::vector<std::string>> ParseHeaders(absl::string_view content) {
  constexpr size_t kMaxHeaders = 30;
  std::vector<std::string> headers;
  for (absl::string_view line : absl::StrSplit(content, '\n', absl::SkipWhitespace())) {
    line = absl::StripAsciiWhitespace(line);
    const absl::string_view name = line.substr(0, line.find(':'));
    const bool clean = std::none_of(line.begin(), line.end(), absl::ascii_iscntrl);
    const bool named = !name.empty() && name.size() + 1 < line.size() &&
                       std::all_of(name.begin(), name.end(), [](char c) {
                         return absl::ascii_isalnum(c) || absl::StrContains("-_", c);
                       });
    if (!clean || !named) {
      return absl::InvalidArgumentError("has a line that is not a header; write NAME: VALUE");
    }
    headers.emplace_back(line);
  }
  if (headers.size() <= kMaxHeaders) return headers;
  return absl::InvalidArgumentError(
      absl::StrCat("has too many headers; write at most ", kMaxHeaders));
}

// The headers of a request. Their files are read for each request, because they may be replaced.
absl::StatusOr<std::vector<std::string>> HeadersOf(const PushCommand& command,
                                                   const PushBody& body) {
  const SinkOptions& options = command.follow.sink_options;
  auto headers = ParseOption(kHeaderFileOption, OptionOf(options, kHeaderFileOption), ParseHeaders);
  if (!headers.ok()) return headers.status();
  const auto secrets =
      ParseOption(kSecretFileOption, OptionOf(options, kSecretFileOption), ParseSecrets);
  if (!secrets.ok()) return secrets.status();
  headers->insert(headers->begin(), {"User-Agent: vmevents",
                                     "Expect:", absl::StrCat("Content-Type: ", body.content_type)});
  if (!secrets->empty()) {
    headers->push_back(
        absl::StrCat(kSignatureHeader, ": ", Signature(*secrets, body.text, absl::Now())));
  }
  return headers;
}

// Delivers events by requests, and sends the events again that AskToRetry() has moved to the retry
// file.
class HttpSink : public Pusher {
 public:
  HttpSink(const PushRun& push, HttpPost post)
      : Pusher(push.command.format, push.form, BatchOf(push.command),
               push.command.follow.asks_for_gaps(), push.log),
        command_(push.command),
        log_(push.log),
        files_(push.files),
        post_(std::move(post)) {}

  // The events go one by one: all of them at once would need too much memory. A line that is no
  // event is set aside again.
  absl::Status Tick() override {
    if (access(files_.retry().c_str(), F_OK) != 0) return absl::OkStatus();
    const auto content = ReadPlainFile(files_.retry(), kMaxSetAside);
    if (!content.ok()) return content.status();
    log_->Note("sending again what was set aside");
    std::string others;
    for (const absl::string_view line : absl::StrSplit(*content, '\n', absl::SkipEmpty())) {
      const absl::StatusOr<NodeEvent> one = ParseSetAside(line);
      if (!one.ok()) absl::StrAppend(&others, line, "\n");
      absl::Status status = one.ok() ? Consume({&*one, 1}) : absl::OkStatus();
      if (!status.ok()) return status;
    }
    if (!others.empty()) {
      if (absl::Status aside = Append(others); !aside.ok()) return aside;
    }
    if (unlink(files_.retry().c_str()) == 0) return absl::OkStatus();
    return absl::UnavailableError(
        absl::StrCat("cannot remove ", EscapeForTerminal(files_.retry()), ": ", strerror(errno)));
  }

 private:
  HttpAnswer Post(const PushBody& body) override {
    const auto headers = HeadersOf(command_, body);
    if (!headers.ok()) return {.fault = std::string(headers.status().message())};
    return post_(body.text, *headers);
  }
  absl::Status Append(const std::string& lines) override {
    return AppendDurably(files_.set_aside(), lines, kMaxSetAside);
  }

  const PushCommand& command_;
  PushLog* const log_;
  const PushFiles files_;
  const HttpPost post_;
};

absl::Status CheckHttpFiles(const PushCommand& command) { return HeadersOf(command, {}).status(); }

absl::StatusOr<std::unique_ptr<EventSink>> MakeHttpSink(const PushRun& push) {
  auto post = MakeHttpPost(push.target.urls.front(), push.command.tls, TimeoutOf(push.command),
                           push.stop->token());
  if (!post.ok()) return post.status();
  return std::make_unique<HttpSink>(push, *std::move(post));
}

absl::StatusOr<std::string> SendHttpTest(const PushCommand& command, const PushTarget& target,
                                         const std::string& form) {
  const auto post =
      MakeHttpPost(target.urls.front(), command.tls, TimeoutOf(command), std::stop_token());
  if (!post.ok()) return post.status();
  char host[HOST_NAME_MAX + 1] = "";
  gethostname(host, sizeof(host) - 1);
  const NodeEvent event = TrialEvent(host, absl::Now());
  const absl::StatusOr<PushBody> body = BodyOf(command.format, form, {&event, 1});
  if (!body.ok()) return body.status();
  const auto headers = HeadersOf(command, *body);
  if (!headers.ok()) return headers.status();
  const HttpAnswer answer = (*post)(body->text, *headers);
  const std::string summary = absl::StrCat(target.shown, ": ", ReasonOf(answer));
  if (answer.status / 100 != 2) return absl::UnavailableError(summary);
  return summary + "\n";
}

constexpr char kHttpHelp[] =
    R"(A web server accepts events with a response 2xx. Its response 410 ends the push.
An event to which it responds 400, 413 or 422 is set aside, in the file
set-aside.jsonl of the state directory.)";

}  // namespace

extern const PushSinkKind kHttpSink = {.what = "a web server",
                                       .url = "https://",
                                       .example = "https://HOST/PATH",
                                       .help = kHttpHelp,
                                       .scheme = "https://",
                                       .plain_scheme = "http://",
                                       .parse = ParseHttpTarget,
                                       .options = AddHttpOptions,
                                       .check_files = CheckHttpFiles,
                                       .send_test = SendHttpTest,
                                       .make = MakeHttpSink,
                                       .longest_pause = absl::Minutes(5)};

}  // namespace vmeventd::client
