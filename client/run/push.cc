#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/system.h"
#include "client/commands/print.h"
#include "client/output/json.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"
#include "client/run/run.h"

namespace vmeventd::client {
namespace {

constexpr size_t kMaxOfFile = 16 << 10;  // limit of a file with a secret, a URL or headers
constexpr size_t kMaxState = 64 << 10;
constexpr uint64_t kMaxSetAside = 64 << 20;
constexpr mode_t kForAll = 0644;

// The files of a push.
struct PushFiles {
  std::string directory;
  std::string cursor() const { return directory + "/cursor.json"; }
  std::string state() const { return directory + "/state.json"; }
  std::string lock() const { return directory + "/.cursor.json.lock"; }  // of a push that runs
  std::string set_aside() const { return directory + "/set-aside.jsonl"; }
  std::string retry() const { return directory + "/retry.jsonl"; }  // what to send again
  std::string name() const { return std::filesystem::path(directory).filename(); }
};

}  // namespace

absl::StatusOr<std::string> ReadOption(const char* option, const std::string& path, bool secret) {
  const auto failed = [&](absl::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrCat(option, ": ", EscapeForTerminal(path), " ", what));
  };
  struct stat found {};
  if (stat(path.c_str(), &found) != 0)
    return failed(absl::StrCat("cannot be read: ", strerror(errno)));
  if (secret && (found.st_mode & S_IRWXO) != 0) {
    return failed("may be read by every user of the host; chmod o-rwx it");
  }
  absl::StatusOr<std::string> content = ReadSmallFile(path, kMaxOfFile + 1);
  if (!content.ok()) return failed(absl::StrCat("cannot be read: ", content.status().message()));
  if (content->size() > kMaxOfFile)
    return failed(absl::StrCat("has more than ", kMaxOfFile, " bytes"));
  if (absl::StripAsciiWhitespace(*content).empty()) return failed("is empty");
  return content;
}

namespace {

// Parses the file that the option names; an error of `parse` completes "FILE ...". Empty: there is
// no file.
template <typename Parse>
auto ParseOption(const char* option, const std::string& path, const Parse& parse,
                 bool secret = true) -> decltype(parse(path)) {
  using Value = typename decltype(parse(path))::value_type;
  if (path.empty()) return Value();
  const absl::StatusOr<std::string> content = ReadOption(option, path, secret);
  if (!content.ok()) return content.status();
  auto parsed = parse(*content);
  if (parsed.ok()) return parsed;
  return absl::InvalidArgumentError(
      absl::StrCat(option, ": ", EscapeForTerminal(path), " ", parsed.status().message()));
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

absl::StatusOr<std::string> ParseUrlFile(const std::string& content) {
  const absl::string_view text = absl::StripAsciiWhitespace(content);
  return std::string(absl::StripAsciiWhitespace(text.substr(0, text.find('\n'))));
}

// The headers of a request. Their files are read for each, because they may be replaced.
absl::StatusOr<std::vector<std::string>> HeadersOf(const PushCommand& command,
                                                   const PushBody& body) {
  auto headers = ParseOption("--header-file", command.header_file, ParseHeaders);
  if (!headers.ok()) return headers.status();
  const auto secrets = ParseOption("--secret-file", command.secret_file, ParseSecrets);
  if (!secrets.ok()) return secrets.status();
  headers->insert(headers->begin(), {"User-Agent: vmevents",
                                     "Expect:", absl::StrCat("Content-Type: ", body.content_type)});
  if (!secrets->empty()) {
    headers->push_back(
        absl::StrCat(kSignatureHeader, ": ", Signature(*secrets, body.text, absl::Now())));
  }
  return headers;
}

// The libraries name them only as they connect.
absl::Status CheckReadable(const PushCommand& command) {
  const TlsOptions& tls = command.tls;
  for (const auto& [option, path] :
       {std::pair("--push-ca", &tls.ca_file), std::pair("--push-cert", &tls.cert_file),
        std::pair("--push-key", &tls.key_file),
        std::pair("--push-credentials", &command.credentials)}) {
    if (path->empty() || access(path->c_str(), R_OK) == 0) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(option, ": cannot read ", EscapeForTerminal(*path), ": ", strerror(errno)));
  }
  return absl::OkStatus();
}

absl::StatusOr<PushFiles> FilesOf(const PushCommand& command, const std::string& key) {
  if (!command.state_dir.empty()) {
    return PushFiles{std::filesystem::path(command.state_dir + "/").parent_path()};
  }
  if (!command.state_home.empty()) {
    return PushFiles{absl::StrCat(command.state_home, "/vmevents/push/", key)};
  }
  return absl::InvalidArgumentError(
      "push: no directory to save the position in; give --state-dir, or set $HOME");
}

// Makes the directory.
absl::Status MakeDirectory(const PushFiles& files) {
  const std::string shown = EscapeForTerminal(files.directory);
  std::error_code unknown;
  std::filesystem::create_directories(std::filesystem::path(files.directory).parent_path(),
                                      unknown);
  if (mkdir(files.directory.c_str(), S_IRWXU) != 0 && errno != EEXIST) {
    return absl::UnavailableError(absl::StrCat("cannot create ", shown, ": ", strerror(errno)));
  }
  struct stat found {};
  if (stat(files.directory.c_str(), &found) != 0 || (found.st_mode & S_IWOTH) == 0) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(
      shown,
      " may be written by every user of the host: chmod o-w it, or give another --state-dir"));
}

absl::StatusOr<PushState> ReadState(const PushFiles& files) {
  const absl::StatusOr<std::string> content = ReadPlainFile(files.state(), kMaxState);
  if (!content.ok()) return content.status();
  PushState state;
  if (ParsePayload(*content, &state).ok()) return state;
  return absl::FailedPreconditionError(
      absl::StrCat(EscapeForTerminal(files.state()), " is not the state of a push"));
}

bool Runs(const PushFiles& files) {
  const UniqueFd lock(open(files.lock().c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  return lock.valid() && flock(lock.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

ExitCode ShowStatus(const PushFiles& files, const CommandLine& line, Output* output) {
  auto state = ReadState(files);
  if (absl::IsNotFound(state.status())) {
    return Fail(Failure{ExitCode::kNotFound,
                        absl::StrCat("no push has run in ", EscapeForTerminal(files.directory))});
  }
  if (!state.ok()) return Fail(state.status());
  PushStatus status = {*std::move(state), files.name(), Runs(files), {}, files.set_aside()};
  for (const std::string& file : {files.set_aside(), files.retry()}) {
    const auto lines = ReadPlainFile(file, kMaxSetAside);
    if (!lines.ok()) continue;
    status.set_aside_now += static_cast<size_t>(std::count(lines->begin(), lines->end(), '\n'));
  }
  if (auto positions = CursorFile::Read(files.cursor()); positions.ok()) {
    status.positions = *std::move(positions);
  }
  const absl::Time now = absl::Now();
  const std::string text = line.for_people() ? StatusText(status, now, line.zone)
                           : line.format == OutputFormat::kName
                               ? EscapeForTerminal(status.name) + "\n"
                               : StatusJson(status, now) + "\n";
  const auto failure = PrintText(text, output);
  return failure ? Fail(*failure) : ExitCode::kOk;
}

// Moves the file of what was set aside to where the push looks for what to send again.
ExitCode AskToRetry(const PushFiles& files) {
  const std::string file = EscapeForTerminal(files.set_aside());
  if (access(files.retry().c_str(), F_OK) == 0) {
    return Fail(absl::UnavailableError(
        absl::StrCat(EscapeForTerminal(files.retry()),
                     " is not sent yet; see `vmevents push --status`, and try again later")));
  }
  if (renameat2(AT_FDCWD, files.set_aside().c_str(), AT_FDCWD, files.retry().c_str(),
                RENAME_NOREPLACE) != 0) {
    return errno == ENOENT
               ? Fail(Failure{ExitCode::kNotFound, absl::StrCat("nothing is set aside in ", file)})
               : Fail(absl::UnavailableError(
                     absl::StrCat("cannot move ", file, ": ", strerror(errno))));
  }
  PrintNote(absl::StrCat("the events of ", file, " are sent again ",
                         Runs(files) ? "by the push that runs" : "once this push is started"));
  return ExitCode::kOk;
}

// Sends one event that is no VM's, and prints what the receiver says.
ExitCode SendTest(const PushCommand& command, const PushTarget& target, const std::string& form,
                  Output* output) {
  const auto post = MakeHttpPost(target.url, command.tls, command.timeout, std::stop_token());
  if (!post.ok()) return Fail(post.status());
  char host[HOST_NAME_MAX + 1] = "";
  gethostname(host, sizeof(host) - 1);
  const NodeEvent event = TrialEvent(host, absl::Now());
  const absl::StatusOr<PushBody> body = BodyOf(command.format, form, {&event, 1});
  if (!body.ok()) return Fail(body.status());
  const auto headers = HeadersOf(command, *body);
  if (!headers.ok()) return Fail(headers.status());
  const HttpAnswer answer = (*post)(body->text, *headers);
  const std::string said = absl::StrCat(target.shown, ": ", ReasonOf(answer));
  if (answer.status / 100 != 2) return Fail(absl::UnavailableError(said));
  const auto failure = PrintText(said + "\n", output);
  return failure ? Fail(*failure) : ExitCode::kOk;
}

// Delivers by requests, and again what AskToRetry() has moved.
class HttpSink : public Pusher {
 public:
  HttpSink(const PushRun& push, PushFiles files, std::string form, HttpPost post)
      : Pusher(push.command.format, std::move(form),
               push.command.format == PushFormat::kTemplate ? 1 : push.command.batch,
               push.command.follow.asks_for_gaps(), push.log),
        command_(push.command),
        files_(std::move(files)),
        post_(std::move(post)) {}

  // The events go one by one: all of them at once would need too much memory. A line that is no
  // event is set aside again.
  absl::Status Tick() override {
    if (access(files_.retry().c_str(), F_OK) != 0) return absl::OkStatus();
    const auto content = ReadPlainFile(files_.retry(), kMaxSetAside);
    if (!content.ok()) return content.status();
    PrintNote("sending again what was set aside");
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
  const PushFiles files_;
  const HttpPost post_;
};

// "after the event 42, its position", "from now on".
std::string BeginOf(const PushRun& push) {
  const WatchStart& start = push.command.follow.watch.start;
  const std::vector<std::string> servers = CursorKeys(push.line);
  for (const std::string& server : servers) {
    const auto position = push.cursor->Find(server);
    if (!position) continue;
    return servers.size() > 1 ? "from its positions"
                              : absl::StrCat("after event ", position->sequence, ", its position");
  }
  if (std::holds_alternative<FromOldest>(start)) return "from the oldest event";
  if (const auto* time = std::get_if<FromTime>(&start)) {
    return absl::StrCat("from ", LocalTimeText(time->time, push.line.zone));
  }
  if (const auto* after = std::get_if<FromSequence>(&start)) {
    return absl::StrCat("after event ", after->sequence);
  }
  return "from now on (--from oldest: all events)";
}

// Writes the state and the metrics. A fault of theirs stops no delivery; it is noted once.
auto ReporterOf(const PushFiles& files, const std::string& metrics_file) {
  return [files, metrics_file, noted = absl::OkStatus()](const PushState& state) mutable {
    const absl::StatusOr<std::string> json = ToJson(state);
    absl::Status status =
        json.ok() ? WriteFileAtomically(files.state(), *json + "\n") : json.status();
    if (status.ok() && !metrics_file.empty()) {
      status = WriteFileAtomically(metrics_file, MetricsOf(state, files.name()), kForAll);
    }
    if (!status.ok() && status != noted) PrintNote(std::string(status.message()));
    noted = status;
  };
}

// Delivers from behind the cursor, each time after an error, until a stop, the receiver, or a
// failure that cannot be retried ends it.
ExitCode Deliver(const PushRun& push, PushSink* sink) {
  const CommandLine& line = push.line;
  for (bool announced = false;;) {
    std::optional<ExitCode> code;
    absl::Status status = sink->Open();
    if (status.ok()) {
      const auto source =
          MakeSource(push.command.follow, line, push.cursor->positions(), push.stop, PrintNote);
      if (!std::exchange(announced, true)) {
        PrintNote(
            absl::StrCat("delivering to ", push.target.shown, " the events of ",
                         line.fleet ? ToText(*line.fleet) : absl::StrJoin(CursorKeys(line), ", "),
                         " ", BeginOf(push)));
      }
      Delivery delivery({.consumer = sink, .cursor = push.cursor, .servers = CursorKeys(line)});
      while (!code && (status = sink->Tick()).ok() && (status = delivery.status()).ok()) {
        Source::Item item = source->Next(absl::Seconds(1));
        if (const auto* ended = std::get_if<Source::Ended>(&item)) code = ended->code;
        delivery.Deliver(std::move(item));  // a failure is in its status
        push.log->Loss(source->loss());
      }
      if (push.stop->stopped() && source->loss().empty()) sink->Leave();
    }
    if (!push.log->state().ended().empty()) return ExitCode::kGone;
    if (push.stop->stopped()) return ExitCode::kOk;
    if (code) return *code;
    if (absl::IsFailedPrecondition(status)) return Fail(status);
    const std::string reason = EscapeForTerminal(status.message());
    push.log->Failed(reason);
    if (push.log->Retry(reason, {})) return ExitCode::kOk;
  }
}

}  // namespace

ExitCode RunPush(const PushCommand& command, const CommandLine& line, Output* output) {
  const auto wrong = [](const absl::Status& status) {
    return Fail(Failure{ExitCode::kUsage, std::string(status.message())});
  };
  PushTarget target;
  if (!command.url.empty() || !command.url_file.empty()) {
    const auto url = ParseOption("--url-file", command.url_file, ParseUrlFile);
    if (!url.ok()) return wrong(url.status());
    auto parsed = ParsePushTarget(command.url_file.empty() ? command.url : *url,
                                  command.insecure_http || command.only_asks());
    if (!parsed.ok()) return wrong(parsed.status());
    target = *std::move(parsed);
  }
  if (!command.only_asks() && target.nats.empty() != command.cluster.empty()) {
    return wrong(absl::InvalidArgumentError(
        absl::StrCat("push: ", target.shown,
                     target.nats.empty() ? " is not a NATS server; remove --cluster"
                                         : " needs --cluster NAME, the cluster of this node")));
  }
  const auto files = FilesOf(command, target.key);
  if (!files.ok()) return wrong(files.status());
  if (command.status) return ShowStatus(*files, line, output);
  if (command.retry_set_aside) return AskToRetry(*files);

  const auto form =
      ParseOption("--template", command.template_file, CheckTemplate, /*secret=*/false);
  if (!form.ok()) return wrong(form.status());
  if (const auto now = HeadersOf(command, {}); !now.ok()) return wrong(now.status());
  if (absl::Status readable = CheckReadable(command); !readable.ok()) return wrong(readable);

  if (command.test) return SendTest(command, target, *form, output);

  // Runs before anything that may start a thread. Nothing is printed on standard output.
  StopSource& stop = StopBySignals(/*output=*/-1);
  if (absl::Status made = MakeDirectory(*files); !made.ok()) return Fail(made);
  const auto cursor = CursorFile::Open(files->cursor(), CursorKeys(line));
  if (!cursor.ok()) return Fail(cursor.status());
  auto state = ReadState(*files);
  if (!state.ok() && !absl::IsNotFound(state.status())) return Fail(state.status());
  PushState begin = state.ok() ? *std::move(state) : PushState();
  begin.set_target(target.shown);
  begin.set_format(std::string(NameOf(command.format)));
  begin.clear_ended();
  begin.clear_failing_since();
  begin.clear_waiting_since();

  PushLog::Environment environment = {
      .report = ReporterOf(*files, command.metrics_file),
      .note = PrintNote,
      .wait = [&stop](absl::Duration duration) { return stop.WaitFor(duration); },
      .longest_pause = target.nats.empty() ? absl::Minutes(5) : absl::Minutes(1)};
  environment.report(begin);
  PushLog log(std::move(begin), std::move(environment));
  const PushRun push = {command, line, target, cursor->get(), &log, &stop};
  if (!target.nats.empty()) return Deliver(push, MakeFleetSink(push).get());
  auto post = MakeHttpPost(target.url, command.tls, command.timeout, stop.token());
  if (!post.ok()) return Fail(post.status());
  HttpSink sink(push, *files, *form, *std::move(post));
  return Deliver(push, &sink);
}

}  // namespace vmeventd::client
