#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/system.h"
#include "client/connect/connection.h"
#include "client/consume/delivery.h"
#include "client/output/formatter.h"
#include "client/output/output.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"
#include "client/push/http.h"
#include "client/push/push_state.h"
#include "client/push/pusher.h"
#include "client/push/request.h"
#include "client/run/push_fleet.h"
#include "client/run/run.h"
#include "client/run/terminal.h"

namespace vmeventd::client {
namespace {

constexpr size_t kMaxOfFile = 16 << 10;  // limit of a file with a secret, a URL or headers
constexpr size_t kMaxState = 64 << 10;
constexpr size_t kMaxCursor = 1 << 20;
constexpr uint64_t kMaxSetAside = 64 << 20;
constexpr mode_t kForAll = 0644;

// The files of a push.
struct Places {
  std::string directory;
  std::string cursor() const { return directory + "/cursor.json"; }
  std::string state() const { return directory + "/state.json"; }
  std::string lock() const { return directory + "/lock"; }
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

absl::StatusOr<std::string> UrlOf(const PushCommand& command) {
  if (command.url_file.empty()) return command.url;
  const absl::StatusOr<std::string> content = ReadOption("--url-file", command.url_file);
  if (!content.ok()) return content.status();
  const absl::string_view text = absl::StripAsciiWhitespace(*content);
  return std::string(absl::StripAsciiWhitespace(text.substr(0, text.find('\n'))));
}

absl::StatusOr<std::vector<std::string>> HeadersOf(const PushCommand& command) {
  std::vector<std::string> headers = {"User-Agent: vmevents", "Expect:"};
  if (command.header_file.empty()) return headers;
  const absl::StatusOr<std::string> content = ReadOption("--header-file", command.header_file);
  if (!content.ok()) return content.status();
  constexpr int kMaxHeaders = 32;
  for (absl::string_view line : absl::StrSplit(*content, '\n', absl::SkipWhitespace())) {
    line = absl::StripAsciiWhitespace(line);
    const size_t colon = line.find(':');
    const bool clean = std::none_of(line.begin(), line.end(), absl::ascii_iscntrl);
    const bool named =
        colon != line.npos && colon > 0 && colon + 1 < line.size() &&
        std::all_of(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(colon),
                    [](char c) { return absl::ascii_isalnum(c) || absl::StrContains("-_", c); });
    if (!clean || !named) {
      return absl::InvalidArgumentError(
          absl::StrCat("--header-file: ", EscapeForTerminal(command.header_file),
                       " has a line that is not a header; write NAME: VALUE"));
    }
    headers.emplace_back(line);
  }
  if (headers.size() > kMaxHeaders) {
    return absl::InvalidArgumentError("--header-file: has too many headers; write at most 30");
  }
  return headers;
}

absl::StatusOr<std::vector<std::string>> SecretsOf(const PushCommand& command) {
  if (command.secret_file.empty()) return std::vector<std::string>();
  const absl::StatusOr<std::string> content = ReadOption("--secret-file", command.secret_file);
  if (!content.ok()) return content.status();
  auto secrets = ParseSecrets(*content);
  if (secrets.ok()) return secrets;
  return absl::InvalidArgumentError(absl::StrCat(
      "--secret-file: ", EscapeForTerminal(command.secret_file), " ", secrets.status().message()));
}

absl::StatusOr<Pusher::Credentials> CredentialsOf(const PushCommand& command) {
  absl::StatusOr<std::vector<std::string>> headers = HeadersOf(command);
  if (!headers.ok()) return headers.status();
  absl::StatusOr<std::vector<std::string>> secrets = SecretsOf(command);
  if (!secrets.ok()) return secrets.status();
  return Pusher::Credentials{*std::move(headers), *std::move(secrets)};
}

absl::StatusOr<std::string> TemplateOf(const PushCommand& command) {
  if (command.template_file.empty()) return "";
  absl::StatusOr<std::string> form =
      ReadOption("--template", command.template_file, /*secret=*/false);
  if (!form.ok()) return form;
  const absl::Status fault = FillTemplate(*form, {}, {}).status();
  if (fault.ok()) return form;
  return absl::InvalidArgumentError(
      absl::StrCat("--template: ", EscapeForTerminal(command.template_file), " ", fault.message()));
}

// The libraries name them only as they connect.
absl::Status CheckFiles(const PushCommand& command) {
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

absl::StatusOr<Places> PlacesOf(const PushCommand& command, const std::string& key) {
  if (!command.state_dir.empty()) {
    return Places{std::filesystem::path(command.state_dir + "/").parent_path()};
  }
  if (!command.state_home.empty()) {
    return Places{absl::StrCat(command.state_home, "/vmevents/push/", key)};
  }
  return absl::InvalidArgumentError(
      "push: no directory to save the position in; give --state-dir, or set $HOME");
}

// The lock of a push that runs. FAILED_PRECONDITION: another one has it.
absl::StatusOr<UniqueFd> Lock(const Places& places) {
  return LockFile(places.lock(), absl::StrCat("another vmevents push runs in ",
                                              EscapeForTerminal(places.directory),
                                              "; give this one a --state-dir of its own"));
}

absl::StatusOr<PushState> ReadState(const Places& places) {
  const absl::StatusOr<std::string> content = ReadPlainFile(places.state(), kMaxState);
  if (!content.ok()) return content.status();
  absl::StatusOr<PushState> state = ParsePushState(*content);
  if (state.ok()) return state;
  return absl::FailedPreconditionError(
      absl::StrCat(EscapeForTerminal(places.state()), " ", state.status().message()));
}

bool Runs(const Places& places) {
  const UniqueFd lock(open(places.lock().c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  return lock.valid() && flock(lock.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

ExitCode ShowStatus(const Places& places, const CommandLine& line, Output* output) {
  auto state = ReadState(places);
  if (absl::IsNotFound(state.status())) {
    return Fail(Failure{ExitCode::kNotFound,
                        absl::StrCat("no push has run in ", EscapeForTerminal(places.directory))});
  }
  if (!state.ok()) return Fail(state.status());
  PushStatus status = {*std::move(state), places.name(), Runs(places), "", places.set_aside()};
  for (const std::string& file : {places.set_aside(), places.retry()}) {
    const auto lines = ReadPlainFile(file, kMaxSetAside);
    if (!lines.ok()) continue;
    status.set_aside_now += static_cast<size_t>(std::count(lines->begin(), lines->end(), '\n'));
  }
  if (auto cursor = ReadPlainFile(places.cursor(), kMaxCursor); cursor.ok()) {
    status.positions = *std::move(cursor);
  }
  const absl::Time now = absl::Now();
  const std::string json = StatusJson(status, now);
  const std::string text = line.for_people() ? StatusText(status, now, line.zone)
                           : line.format == OutputFormat::kName
                               ? EscapeForTerminal(status.name) + "\n"
                           : line.format == OutputFormat::kYaml ? "---\n" + YamlOfJson(json)
                                                                : json + "\n";
  const auto failure = PrintText(text, output);
  return failure ? Fail(*failure) : ExitCode::kOk;
}

// Moves the file of what was set aside to where the push looks for what to send again.
ExitCode AskToRetry(const Places& places) {
  const std::string file = EscapeForTerminal(places.set_aside());
  if (renameat2(AT_FDCWD, places.set_aside().c_str(), AT_FDCWD, places.retry().c_str(),
                RENAME_NOREPLACE) != 0) {
    const int error = errno;
    if (error == EEXIST || access(places.retry().c_str(), F_OK) == 0) {
      return Fail(absl::UnavailableError(
          absl::StrCat(EscapeForTerminal(places.retry()),
                       " is not sent yet; see `vmevents push --status`, and try again later")));
    }
    if (error == ENOENT) {
      return Fail(Failure{ExitCode::kNotFound, absl::StrCat("nothing is set aside in ", file)});
    }
    return Fail(absl::UnavailableError(absl::StrCat("cannot move ", file, ": ", strerror(error))));
  }
  PrintNote(absl::StrCat("the events of ", file, " are sent again ",
                         Runs(places) ? "by the push that runs" : "once this push is started"));
  return ExitCode::kOk;
}

// Delivers what AskToRetry() has moved. A line that is no event is set aside again. CANCELLED: the
// delivery ends.
absl::Status Retry(const Places& places, Delivery* delivery) {
  if (access(places.retry().c_str(), F_OK) != 0) return absl::OkStatus();
  const auto content = ReadPlainFile(places.retry(), kMaxSetAside);
  if (!content.ok()) return content.status();
  NodeEvents events;
  std::string others;
  for (const absl::string_view line : absl::StrSplit(*content, '\n', absl::SkipEmpty())) {
    absl::StatusOr<NodeEvent> one = ParseSetAside(line);
    if (one.ok()) {
      events.push_back(*std::move(one));
    } else {
      absl::StrAppend(&others, line, "\n");
    }
  }
  PrintNote(absl::StrCat("sending again what was set aside (events: ", events.size(), ")"));
  if (!delivery->OnEvents(std::move(events))) return absl::CancelledError();
  if (!others.empty()) {
    absl::Status aside = AppendDurably(places.set_aside(), others, kMaxSetAside);
    if (!aside.ok()) return aside;
  }
  if (unlink(places.retry().c_str()) == 0) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("cannot remove ", EscapeForTerminal(places.retry()), ": ", strerror(errno)));
}

// "after the event 42, its position", "from now on".
std::string BeginOf(const PushCommand& command, const CommandLine& line, const CursorFile& cursor,
                    const std::vector<std::string>& servers) {
  const WatchStart& start = command.follow.watch.start;
  for (const std::string& server : servers) {
    const auto position = cursor.Find(server);
    if (!position) continue;
    return servers.size() > 1 ? "from its positions"
                              : absl::StrCat("after event ", position->sequence, ", its position");
  }
  if (std::holds_alternative<FromOldest>(start)) return "from the oldest event";
  if (const auto* time = std::get_if<FromTime>(&start)) {
    return absl::StrCat("from ", LocalTimeText(time->time, line.zone));
  }
  if (const auto* after = std::get_if<FromSequence>(&start)) {
    return absl::StrCat("after event ", after->sequence);
  }
  return "from now on (--from oldest: all events)";
}

// Writes the state and the metrics. A fault of theirs stops no delivery; it is noted once.
auto ReporterOf(const Places& places, const std::string& metrics_file) {
  return [places, metrics_file, noted = absl::OkStatus()](const PushState& state) mutable {
    absl::Status status = WriteFileAtomically(places.state(), ToJson(state));
    if (status.ok() && !metrics_file.empty()) {
      status = WriteFileAtomically(metrics_file, MetricsOf(state, places.name()), kForAll);
    }
    if (!status.ok() && status != noted) PrintNote(std::string(status.message()));
    noted = status;
  };
}

}  // namespace

ExitCode RunPush(const PushCommand& command, const CommandLine& line, Output* output) {
  const auto wrong = [](const absl::Status& status) {
    return Fail(Failure{ExitCode::kUsage, std::string(status.message())});
  };
  PushTarget target;
  if (!command.url.empty() || !command.url_file.empty()) {
    const auto url = UrlOf(command);
    if (!url.ok()) return wrong(url.status());
    auto parsed = ParsePushTarget(*url, command.insecure_http || command.only_asks());
    if (!parsed.ok()) return wrong(parsed.status());
    target = *std::move(parsed);
  }
  if (!command.only_asks() && target.nats.empty() != command.cluster.empty()) {
    return wrong(absl::InvalidArgumentError(
        absl::StrCat("push: ", target.shown,
                     target.nats.empty() ? " is not a NATS server; remove --cluster"
                                         : " needs --cluster NAME, the cluster of this node")));
  }
  const auto places = PlacesOf(command, target.key);
  if (!places.ok()) return wrong(places.status());
  if (command.status) return ShowStatus(*places, line, output);
  if (command.retry_set_aside) return AskToRetry(*places);

  const auto form = TemplateOf(command);
  if (!form.ok()) return wrong(form.status());
  if (const auto now = CredentialsOf(command); !now.ok()) return wrong(now.status());
  if (absl::Status files = CheckFiles(command); !files.ok()) return wrong(files);

  StopSource stop;
  // Runs before anything that may start a thread. Nothing is printed on standard output.
  constexpr int kNoOutput = -1;
  const auto signals = StopSignals::Create(&stop, kNoOutput);
  if (!signals.ok()) return Fail(signals.status());
  std::error_code unknown;
  std::filesystem::create_directories(std::filesystem::path(places->directory).parent_path(),
                                      unknown);
  if (mkdir(places->directory.c_str(), S_IRWXU) != 0 && errno != EEXIST) {
    return Fail(absl::UnavailableError(absl::StrCat(
        "cannot create ", EscapeForTerminal(places->directory), ": ", strerror(errno))));
  }
  const auto lock = Lock(*places);
  if (!lock.ok()) return Fail(lock.status());
  auto state = ReadState(*places);
  if (!state.ok() && !absl::IsNotFound(state.status())) return Fail(state.status());
  PushState begin = state.ok() ? *std::move(state) : PushState();
  begin.target = target.shown;
  begin.format = std::string(NameOf(command.format));
  begin.ended.clear();
  begin.failing_since = begin.waiting_since = absl::InfinitePast();

  const std::vector<std::string> servers = CursorKeys(line);
  const auto cursor = CursorFile::Open(places->cursor(), servers);
  if (!cursor.ok()) return Fail(cursor.status());
  const PushLog::Report report = ReporterOf(*places, command.metrics_file);
  report(begin);
  PushLog log(std::move(begin), report, PrintNote, absl::Now);
  const auto announce = [&] {
    PrintNote(absl::StrCat("delivering to ", target.shown, " the events of ",
                           line.fleet ? ToText(*line.fleet) : absl::StrJoin(servers, ", "), " ",
                           BeginOf(command, line, **cursor, servers)));
  };
  if (!target.nats.empty()) {
    return RunFleetPush(command, line, target, cursor->get(), &log, &stop, announce);
  }

  const auto post = MakeHttpPost({target.url, command.tls, command.timeout}, stop.token());
  if (!post.ok()) return Fail(post.status());
  Pusher::Environment environment;
  environment.format = command.format;
  environment.form = *form;
  environment.credentials = [&command] { return CredentialsOf(command); };
  environment.post = *post;
  environment.set_aside = [&places](const std::string& lines) {
    return AppendDurably(places->set_aside(), lines, kMaxSetAside);
  };
  environment.wait = [&stop](absl::Duration duration) { return stop.WaitFor(duration); };
  environment.log = &log;
  environment.now = absl::Now;
  Batcher::Limits limits = command.batch;
  limits.events = std::min(limits.events, MostEventsOf(command.format));
  Pusher pusher(limits.events, std::move(environment));

  const MadeSource source =
      MakeSource(command.follow, line, PositionsIn(cursor->get()), &stop, PrintNote);
  if (const auto* failure = std::get_if<Failure>(&source)) return Fail(*failure);
  announce();
  Delivery::Options options;
  options.servers = servers;
  options.consumer = &pusher;
  options.cursor = cursor->get();
  Delivery delivery(std::move(options));
  Batcher batcher(limits, stop.token());
  ExitCode code = ExitCode::kOk;
  std::thread follower([&] {
    code = std::get<std::unique_ptr<Source>>(source)->Run(&batcher);
    batcher.Close();
  });
  absl::Status retried;
  batcher.Run(&delivery, [&] {
    retried = Retry(*places, &delivery);
    return retried.ok();
  });
  stop.Stop();
  follower.join();
  if (!retried.ok() && !absl::IsCancelled(retried)) return Fail(retried);
  code = delivery.CodeOf(code, PrintNote);
  return absl::IsNotFound(delivery.status()) ? ExitCode::kGone : code;
}

}  // namespace vmeventd::client
