#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/cli/option_file.h"
#include "client/commands/print.h"
#include "client/nats/url.h"
#include "client/output/files.h"
#include "client/output/json.h"
#include "client/output/output.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"
#include "client/run/console.h"
#include "client/run/run.h"
#include "client/run/stop_signals.h"
#include "client/sinks/cursor_file.h"
#include "client/sinks/delivery.h"
#include "client/sinks/push_body.h"
#include "client/sinks/push_files.h"
#include "client/sinks/push_log.h"
#include "client/sinks/push_metrics.h"
#include "client/sinks/push_status.h"
#include "client/sinks/sink_options.h"
#include "client/sinks/sink_table.h"
#include "client/sources/make_source.h"
#include "client/sources/servers.h"
#include "client/sources/watch_positions.h"

namespace vmeventd::client {
namespace {

constexpr mode_t kForAll = 0644;  // mode of the file with metrics

absl::StatusOr<std::string> ParseUrlFile(const std::string& content) {
  const absl::string_view text = absl::StripAsciiWhitespace(content);
  return std::string(absl::StripAsciiWhitespace(text.substr(0, text.find('\n'))));
}

// Checks whether the options and the files that they name fit the target.
absl::Status CheckFit(const PushCommand& command, const PushTarget& target) {
  for (const PushSinkKind* const other : command.sinks->of_push) {
    if (other == target.kind || OptionOf(command.follow.sink_options, other->flag).empty())
      continue;
    return absl::InvalidArgumentError(
        absl::StrCat("push: ", target.shown, " is not ", other->what, "; remove ", other->flag));
  }
  return target.kind->check == nullptr ? absl::OkStatus() : target.kind->check(command, target);
}

absl::Status CheckFiles(const PushCommand& command, const PushSinkKind& kind) {
  absl::Status status;
  if (kind.check_files != nullptr) status = kind.check_files(command);
  // The libraries report an unreadable file only when they connect.
  if (status.ok()) status = CheckReadable("--push-ca", command.tls.ca_file);
  if (status.ok()) status = CheckReadable("--push-cert", command.tls.cert_file);
  if (status.ok()) status = CheckReadable("--push-key", command.tls.key_file);
  return status;
}

ExitCode ShowStatus(const PushFiles& files, const CommandLine& line, Output* output) {
  auto state = ReadState(files);
  if (absl::IsNotFound(state.status())) {
    return Fail(Failure{ExitCode::kNotFound,
                        absl::StrCat("no push has run in ", EscapeForTerminal(files.directory))});
  }
  if (!state.ok()) return Fail(state.status());
  PushStatus status = {
      *std::move(state), files.name(), IsPushRunning(files), {}, files.set_aside()};
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

// Moves the file of the events that were set aside to the file from which the push sends again.
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
  PrintNote(
      absl::StrCat("the events of ", file, " are sent again ",
                   IsPushRunning(files) ? "by the push that runs" : "once this push is started"));
  return ExitCode::kOk;
}

// "after the event 42, its position", "from now on".
std::string BeginOf(const PushRun& push, absl::TimeZone zone) {
  const WatchStart& start = push.command.follow.watch.start;
  const std::vector<std::string> servers = CursorKeys(push.servers);
  for (const std::string& server : servers) {
    const auto position = push.cursor->Find(server);
    if (!position) continue;
    return servers.size() > 1 ? "from its positions"
                              : absl::StrCat("after event ", position->sequence, ", its position");
  }
  if (std::holds_alternative<FromOldest>(start)) return "from the oldest event";
  if (const auto* time = std::get_if<FromTime>(&start)) {
    return absl::StrCat("from ", LocalTimeText(time->time, zone));
  }
  if (const auto* after = std::get_if<FromSequence>(&start)) {
    return absl::StrCat("after event ", after->sequence);
  }
  return "from now on (--from oldest: all events)";
}

// Writes the state and the metrics. If that fails, the push continues, and the failure is reported
// once.
auto ReporterOf(const PushFiles& files, const std::string& metrics_file) {
  return [files, metrics_file, reported = absl::OkStatus()](const PushState& state) mutable {
    const absl::StatusOr<std::string> json = ToJson(state);
    absl::Status status =
        json.ok() ? WriteFileAtomically(files.state(), *json + "\n") : json.status();
    if (status.ok() && !metrics_file.empty()) {
      status = WriteFileAtomically(metrics_file, MetricsOf(state, files.name()), kForAll);
    }
    if (!status.ok() && status != reported) PrintNote(std::string(status.message()));
    reported = status;
  };
}

// Delivers the events after the cursor. After an error it starts again, until a stop, the receiver,
// or a failure that cannot be retried ends it.
ExitCode Deliver(const PushRun& push, absl::TimeZone zone, EventSink* sink) {
  const Servers& servers = push.servers;
  const std::vector<std::string> keys = CursorKeys(servers);
  for (bool announced = false;;) {
    std::optional<ExitCode> code;
    absl::Status status = sink->Open();
    if (status.ok()) {
      const auto source = MakeSource(push.command.follow.watch, servers, push.cursor->positions(),
                                     push.stop, PrintNote);
      if (!std::exchange(announced, true)) {
        PrintNote(absl::StrCat("delivering to ", push.target.shown, " the events of ",
                               servers.fleet ? ToText(*servers.fleet) : absl::StrJoin(keys, ", "),
                               " ", BeginOf(push, zone)));
      }
      Delivery delivery({.consumer = sink, .cursor = push.cursor, .servers = keys});
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
    auto parsed = ParsePushTarget(*command.sinks, command.url_file.empty() ? command.url : *url,
                                  command.insecure_http || command.only_asks());
    if (!parsed.ok()) return wrong(parsed.status());
    target = *std::move(parsed);
  }
  if (!command.only_asks()) {
    if (absl::Status fits = CheckFit(command, target); !fits.ok()) return wrong(fits);
  }
  const auto files = FilesOf(command, target.key);
  if (!files.ok()) return wrong(files.status());
  if (command.status) return ShowStatus(*files, line, output);
  if (command.retry_set_aside) return AskToRetry(*files);

  const auto form =
      ParseOption("--template", command.template_file, CheckTemplate, /*secret=*/false);
  if (!form.ok()) return wrong(form.status());
  if (absl::Status status = CheckFiles(command, *target.kind); !status.ok()) return wrong(status);

  if (command.test) {
    if (target.kind->send_test == nullptr) {
      return wrong(absl::InvalidArgumentError(
          absl::StrCat("--test: ", target.shown, " takes no event for a test")));
    }
    const auto answer = target.kind->send_test(command, target, *form);
    if (!answer.ok()) return Fail(answer.status());
    const auto failure = PrintText(answer, output);
    return failure ? Fail(*failure) : ExitCode::kOk;
  }

  // Runs before anything that may start a thread. Nothing is printed on standard output.
  StopSource& stop = StopBySignals(/*output=*/-1);
  if (absl::Status made = MakeDirectory(*files); !made.ok()) return Fail(made);
  const auto cursor = CursorFile::Open(files->cursor(), CursorKeys(line.servers));
  if (!cursor.ok()) return Fail(cursor.status());
  auto state = ReadState(*files);
  if (!state.ok() && !absl::IsNotFound(state.status())) return Fail(state.status());
  PushState begin = state.ok() ? *std::move(state) : PushState();
  begin.set_target(target.shown);
  begin.set_format(std::string(NameOf(command.format)));
  begin.clear_ended();

  PushLog::Environment environment = {
      .report = ReporterOf(*files, command.metrics_file),
      .note = PrintNote,
      .wait = [&stop](absl::Duration duration) { return stop.WaitFor(duration); },
      .longest_pause = target.kind->longest_pause};
  environment.report(begin);
  PushLog log(std::move(begin), std::move(environment));
  const PushRun push = {command, target, line.servers, *files, *form, cursor->get(), &log, &stop};
  const auto sink = target.kind->make(push);
  return sink.ok() ? Deliver(push, line.zone, sink->get()) : Fail(sink.status());
}

}  // namespace vmeventd::client
