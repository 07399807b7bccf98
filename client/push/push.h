#pragma once

#include <cstddef>
#include <functional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "client/connect/failure.h"
#include "client/connect/server_address.h"
#include "client/consume/delivery.h"
#include "client/output/formatter.h"
#include "vmeventd/internal/push_state.pb.h"

// The parts of a push: its destination, its requests, its batches, and the account of it.

namespace vmeventd::client {

// Destination of the events. The path and the query of its URL may be a secret, as Slack's are.
struct PushTarget {
  std::vector<std::string> nats;  // NATS servers of a fleet, instead of `url`
  std::string url;
  std::string shown;  // "https://hooks.example", safe for a terminal and without the secret
  std::string key;    // the name of its state directory: the host, and a hash of the URL
};

// Parses and checks the URL: of NATS servers, or by libcurl. What is not encrypted
// is for loopback, or with `insecure`. INVALID_ARGUMENT names the fault, without the path;
// FAILED_PRECONDITION: libcurl is missing.
absl::StatusOr<PushTarget> ParsePushTarget(absl::string_view url, bool insecure);

// Result of a request.
struct HttpAnswer {
  int status = 0;                   // HTTP's; 0: the head of no answer came whole
  std::string fault = {};           // reason why not; safe for a terminal
  absl::Duration retry_after = {};  // time that its Retry-After, a number or a date, asks to wait
  std::string body = {};            // beginning of the body
  std::string redirection = {};     // scheme and host that a redirection points to
  bool stopped = false;             // a stop broke it off
};

// POSTs a body with these headers, which are lines without their ends.
using HttpPost =
    std::function<HttpAnswer(const std::string& body, const std::vector<std::string>& headers)>;

// POSTs to one URL over connections that are used again. Follows no redirection. Without a CA the
// system's authorities count; TLS files are read as each connection begins, so that they may be
// replaced. A request that is under way at a stop has 5 s to end. One thread; the first call of a
// process, as ParsePushTarget(), precedes any other thread. FAILED_PRECONDITION: libcurl is
// missing: it brings 26 libraries, which every command would load.
absl::StatusOr<HttpPost> MakeHttpPost(const std::string& url, const TlsOptions& tls,
                                      absl::Duration timeout, std::stop_token stop);

// The result for people: why it was not delivered, or what a receiver that took it said. One line,
// safe for a terminal.
std::string ReasonOf(const HttpAnswer& answer);

enum class PushFormat { kCloudEvents, kJson, kTemplate };
// "cloudevents" and so on, as --format takes it.
absl::string_view NameOf(PushFormat format);

struct PushBody {
  std::string content_type;
  std::string text;
};
// Returns the body for the events, whose nodes have the name and the journal_id. `form` is the
// template of kTemplate, which was checked and is about one event. INTERNAL: an event cannot be
// written as JSON.
absl::StatusOr<PushBody> BodyOf(PushFormat format, const std::string& form,
                                Formatter::Events events);

// Returns the template, JSON in whose strings a field stands as "{{vm}} on {{node}}". The fields
// are the variables of EventVariables(), as "run_id"; and "text", which is cut after 1,000 columns,
// "subject", "severity", "event_id" and "journal_id". INVALID_ARGUMENT names the fault, such as an
// example's "REPLACE-...".
absl::StatusOr<std::string> CheckTemplate(const std::string& form);

// An event for a receiver to be tried with. It says that it is none, and is of no VM that exists.
NodeEvent TrialEvent(const std::string& node, absl::Time now);

// The line of an event that was set aside, and the event of such a line, which no cursor passes.
// INVALID_ARGUMENT: it is none.
std::string SetAsideLine(const NodeEvent& one, absl::string_view target, absl::string_view reason,
                         absl::Time now);
absl::StatusOr<NodeEvent> ParseSetAside(absl::string_view line);

// The signature of a request, by which a receiver knows who sent it and when. docs/act.md has a
// receiver's check.
inline constexpr char kSignatureHeader[] = "Vmevents-Signature";
// The secrets of a file, one a line: each of 16 to 1,024 bytes, at most 2, so that one can be
// replaced. INVALID_ARGUMENT names the fault, without the text.
absl::StatusOr<std::vector<std::string>> ParseSecrets(absl::string_view content);
// The HMAC-SHA256 in hexadecimal digits.
std::string HmacOf(absl::string_view secret, absl::string_view text);
// The header's value, "t=SECONDS,v1=HEX": HEX is the HmacOf "SECONDS.BODY" by a secret. Of
// two secrets there are two v1.
std::string Signature(const std::vector<std::string>& secrets, absl::string_view body,
                      absl::Time now);

// The state of a push; its file is the state as JSON.
using internal::PushState;
// Metrics for the node exporter's textfile collector. `name` distinguishes the pushes of a host.
std::string MetricsOf(const PushState& state, absl::string_view name);

// The state and the rest that `--status` shows.
struct PushStatus {
  PushState state;
  std::string name;
  bool running = false;
  CursorFile::Positions positions;
  std::string set_aside_file;
  size_t set_aside_now = 0;  // events of that file, and those that are to be sent again
};
// The status as one JSON object, without a newline; and its members for people.
std::string StatusJson(const PushStatus& status, absl::Time now);
std::string StatusText(const PushStatus& status, absl::Time now, absl::TimeZone zone);

// Account of a push, for its state file, its metrics and people, and its pauses. One thread.
class PushLog {
 public:
  struct Environment {
    std::function<void(const PushState&)> report;  // gets the state after each change
    PrintSentence note;
    std::function<bool(absl::Duration)> wait;  // returns whether to stop instead
    absl::Duration longest_pause = absl::Minutes(5);
    std::function<absl::Time()> now = absl::Now;
    std::function<double()> random = RandomFraction;
  };
  // Continues the counts of `state`.
  PushLog(PushState state, Environment environment)
      : env_(std::move(environment)), state_(std::move(state)) {}

  const PushState& state() const { return state_; }
  void Note(const std::string& sentence) const { env_.note(sentence); }
  // GAPs of the whole node that nobody asked for.
  void LeftOut(Formatter::Events events);
  // The receiver took the events.
  void Delivered(Formatter::Events events);
  void SetAside(Formatter::Events events, const std::string& reason);
  // A request was not delivered.
  void Failed(const std::string& reason);
  // Waits before the next attempt: twice as long each time, and for `at_least`. The events wait, if
  // there are any. Returns whether to stop instead.
  bool Retry(const std::string& reason, Formatter::Events events, absl::Duration at_least = {});
  // What is wrong although events are delivered; empty: nothing. Noted once.
  void Warn(const std::string& warning);
  // The receiver can be reached again.
  void Recovered();
  // `why` there is no connection to the source; empty: there is one. Called again and again.
  void Loss(const std::string& why);
  // The push ends by itself.
  void Ended(const std::string& why);

 private:
  void Done(Formatter::Events events);
  // Reports each reason once, until something is delivered.
  void NoteFailure(const std::string& reason, absl::string_view then);
  void SetFailing(const std::string& reason);

  const Environment env_;
  PushState state_;
  Backoff backoff_{absl::Seconds(1), env_.longest_pause};
  std::string noted_;  // the reason that was noted since the last success
  bool lost_ = false;  // the source
};

// Destination of a push. Consume() returns once each event was acknowledged or durably set
// aside, so that the cursor may pass it. One thread.
class PushSink : public EventConsumer {
 public:
  // Called before each source begins, behind the cursor, which it may move. After an error of this
  // and the others the push pauses, and begins again with another source. FAILED_PRECONDITION: it
  // ends.
  virtual absl::Status Open() { return absl::OkStatus(); }
  // Called before each item of the source, at least once a second.
  virtual absl::Status Tick() { return absl::OkStatus(); }
  // Called at a stop, while the source is connected.
  virtual void Leave() {}
};

// Delivers events by requests, and repeats what fails, for ever.
class Pusher : public PushSink {
 public:
  // The longest pause that a receiver can ask for.
  static constexpr absl::Duration kLongestRetryAfter = absl::Hours(1);

  // `limit` of the events of a request, `form` (see BodyOf()), and whether `gaps` of the whole
  // node are sent. `log` outlives the pusher.
  Pusher(PushFormat format, std::string form, size_t limit, bool gaps, PushLog* log)
      : format_(format), form_(std::move(form)), limit_(limit), gaps_(gaps), log_(log) {}

  size_t together() const override { return limit_; }
  // CANCELLED: it was stopped, or the receiver wants no more (410) and the log has Ended().
  absl::Status Consume(Formatter::Events events) override;

 protected:
  virtual HttpAnswer Post(const PushBody& body) = 0;
  // Appends the lines to those that were set aside.
  virtual absl::Status Append(const std::string& lines) = 0;

 private:
  // OUT_OF_RANGE: the events are too many for one request, or one of them is wrong.
  absl::Status Send(Formatter::Events events);
  absl::Status SetAside(Formatter::Events events, const std::string& reason);

  const PushFormat format_;
  const std::string form_;
  const size_t limit_;
  const bool gaps_;
  PushLog* const log_;
};

}  // namespace vmeventd::client
