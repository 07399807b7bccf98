#include "client/run/run.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <mutex>
#include <type_traits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "base/text.h"
#include "client/doctor/doctor.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

Formatter MakeFormatter(const CommandLine& line) {
  const bool on_terminal = isatty(STDOUT_FILENO) == 1;
  TableStyle style;
  style.color = HasColor(line);
  style.zone = line.zone;
  style.headings = line.headings;
  style.nodes = line.servers.size() > 1 || line.fleet;
  style.client = line.client;
  style.wide = line.format == OutputFormat::kWide;
  if (line.cut) style.width = SizeOfTerminal(STDOUT_FILENO).columns;
  if (const auto* why = std::get_if<WhyCommand>(&line.command)) style.markdown = why->markdown;
  style.brief = on_terminal;  // programs that read the table want every date
  style.now = absl::Now;
  const Form form = line.for_people()                    ? Form::kTable
                    : line.format == OutputFormat::kName ? Form::kName
                                                         : Form::kJson;
  return Formatter(form, std::move(style));
}

// The pager for a command with a long answer, if there is a terminal and a pager.
std::unique_ptr<Pager> MakePager(const CommandLine& line) {
  const bool lists = std::holds_alternative<EventsCommand>(line.command) ||
                     std::holds_alternative<VmsCommand>(line.command);
  if (!lists || !line.pager || isatty(STDOUT_FILENO) == 0) return nullptr;
  const std::string command = PagerCommand();
  return command.empty() ? nullptr : Pager::Start(command);
}

ExitCode RunTopOf(const TopCommand& command, const CommandLine& line, Output* output) {
  StopSource stop;
  // Runs before anything that may start a thread.
  const auto signals = StopSignals::Create(&stop, STDOUT_FILENO);
  if (!signals.ok()) return Fail(signals.status());
  std::optional<LiveScreen> screen(std::in_place, STDIN_FILENO, STDOUT_FILENO);
  TopEnvironment environment;
  environment.live = isatty(STDOUT_FILENO) == 1 && !command.once;
  environment.style = [&] {
    TableStyle style = {.color = HasColor(line), .zone = line.zone, .width = 80};
    if (environment.live) screen->Enter();
    style.brief = true;
    style.now = absl::Now;
    const TerminalSize size = SizeOfTerminal(STDOUT_FILENO);
    if (size.columns > 0) style.width = size.columns;
    // The last line stays free: a newline there would scroll.
    return std::pair(style, size.rows > 1 ? size.rows - 1 : 24);
  };
  environment.wait = [&](absl::Duration duration) { return screen->Wait(duration, stop.token()); };
  const auto failure = RunTop(command, CommandContext(line.server(), nullptr, output), environment);
  screen.reset();  // the failure is for the terminal as it was
  return failure ? Fail(*failure) : ExitCode::kOk;
}

// The line that shows why the server does not answer.
std::string LineFor(const ServerAddress& server, const ProbeResult& probe) {
  const bool other = probe.error == 0 && probe.daemon == 0;  // another program listens there
  if (server.is_unix() && other) {
    return absl::StrCat("ss -xlp | grep -F ", QuoteForShell(server.path));
  }
  if (server.path == kSystemSocket) {
    return "systemctl enable --now vmeventd && systemctl status vmeventd";
  }
  if (server.is_unix()) return "ss -xlp | grep vmeventd";  // where it listens
  if (server.tls) {
    return absl::StrCat("openssl s_client -connect ", QuoteForShell(ToText(server)), " -CAfile ",
                        QuoteForShell(server.tls->ca_file), " </dev/null");
  }
  return absl::StrCat(
      IsLoopback(server.host) ? "" : absl::StrCat("ssh ", QuoteForShell(server.host), " "),
      other ? absl::StrCat("ss -tlnp | grep -F :", server.port) : "systemctl status vmeventd");
}

DaemonAnswer AskDaemon(const ServerAddress& server) {
  DaemonAnswer answer;
  answer.address = ToText(server);
  const CommandContext daemon(server);
  NodeVms all;
  auto failure = ReadInfo(daemon, &answer.info);
  if (!failure) failure = DaemonLists(daemon).ReadVms({}, /*stopped_too=*/false, &all);
  for (NodeVm& vm : all) answer.vms.push_back(std::move(vm.vm));
  if (failure) {
    const ProbeResult probe = Probe(server);
    answer.failure = failure->sentence;
    answer.forbidden = probe.error == EACCES;
    answer.group = probe.group;
    answer.line = LineFor(server, probe);
    if (!server.is_unix()) {
      const std::string fault = ExplainTlsFault(server);
      // The sentence names this command where something listens there.
      if (probe.error == 0 && failure->code == ExitCode::kUnreachable) {
        answer.failure = absl::StrCat(answer.address,
                                      " does not answer as vmeventd does: it is the port of "
                                      "another program, or that of --metrics-listen, or it hangs; "
                                      "name an address of --listen with --server");
      }
      if (!fault.empty()) answer.failure = fault;
    }
  }
  return answer;
}

std::string TextOf(const Diagnosis& diagnosis, const CommandLine& line) {
  if (line.format == OutputFormat::kName) return DiagnosisNames(diagnosis);
  if (!line.for_people()) return DiagnosisJson(diagnosis);
  constexpr size_t kLeastWidth = 40;
  constexpr size_t kUsualWidth = 80;
  const size_t columns = SizeOfTerminal(STDOUT_FILENO).columns;
  return DiagnosisText(diagnosis, columns == 0 ? kUsualWidth : std::max(columns, kLeastWidth),
                       HasColor(line));
}

// `doctor`: prints what is wrong on this node, and fails where anything is.
ExitCode RunDoctor(const CommandLine& line, Output* output) {
  const ServerAddress& server = line.server();
  DaemonAnswer answer = AskDaemon(server);
  NodeFacts facts;
  if (answer.reachable() && (server.is_unix() || IsLoopback(server.host))) {
    auto read = ReadNode(answer.info);
    if (!read.ok()) return Fail(read.status());
    facts = *std::move(read);
  }
  // The client of another user, by sudo, has neither this environment nor its contexts.
  if (absl::StrContains(line.client, " --server ")) {
    facts.client = line.client;
  } else if (server.path != kSystemSocket) {
    absl::StrAppend(&facts.client, " --server ", QuoteForShell(answer.address),
                    TlsOptionsOf(server));
  }
  facts.daemon = std::move(answer);
  const Diagnosis diagnosis = Diagnose(facts);
  if (const auto failure = PrintText(TextOf(diagnosis, line), output)) return Fail(*failure);
  return diagnosis.findings.empty() ? ExitCode::kOk : ExitCode::kFailed;
}

// A command in a sentence asks the same server, unless it is for another host or names one.
std::string WithClient(const std::string& sentence, const CommandLine& line) {
  constexpr char kThere[] = "`vmevents doctor` on the node";
  constexpr char kNamed[] = "`vmevents --server ";
  const std::string own = absl::StrCat("`", line.client, " ");
  const bool here =
      line.servers.size() == 1 && (line.server().is_unix() || IsLoopback(line.server().host));
  return absl::StrReplaceAll(sentence, {{kThere, here ? absl::StrCat(own, "doctor`") : kThere},
                                        {kNamed, kNamed},
                                        {"`vmevents ", own}});
}

ExitCode RunCommandOf(const CommandLine& line, Formatter* formatter, Output* output,
                      const PrintSentence& note) {
  const auto run = [&](const auto& command) -> ExitCode {
    using Command = std::decay_t<decltype(command)>;
    std::optional<Failure> failure;
    if constexpr (std::is_same_v<Command, FollowCommand>) {
      return RunFollow(command, line, formatter);
    } else if constexpr (std::is_same_v<Command, PushCommand>) {
      return RunPush(command, line, output);
    } else if constexpr (std::is_same_v<Command, WebCommand>) {
      return RunWeb(command, line);
    } else if constexpr (std::is_same_v<Command, TopCommand>) {
      return RunTopOf(command, line, output);
    } else if constexpr (std::is_same_v<Command, DoctorCommand>) {
      return RunDoctor(line, output);
    } else if constexpr (std::is_same_v<Command, WhyCommand>) {
      failure =
          RunWhy(command, Where(line), ListsOf(line, note).get(), formatter, output, absl::Now());
    } else if constexpr (std::is_same_v<Command, FleetCommand>) {
      Formatter::Heartbeats nodes;
      failure = FleetLists(FleetOf(line, note)).ReadNodes(&nodes);
      if (!failure) failure = PrintText(formatter->FormatFleet(nodes, absl::Now()), output);
    } else if constexpr (std::is_same_v<Command, FleetCreateCommand>) {
      const auto connection = ConnectNats(*line.fleet);
      const absl::StatusOr<std::string> made =
          connection.ok() ? CreateFleet(connection->get(), command)
                          : absl::StatusOr<std::string>(connection.status());
      failure =
          made.ok()
              ? PrintText(made, output)
              : std::optional<Failure>(ExplainFleetFailure(ToText(*line.fleet), made.status()));
    } else if constexpr (std::is_same_v<Command, EventsCommand> ||
                         std::is_same_v<Command, VmsCommand>) {
      const auto lists = ListsOf(line, note);
      Command list = command;
      std::string empty;
      failure = TakeUuids(lists.get(), &list.filter);
      if (!failure) failure = RunList(list, lists.get(), formatter, output, &empty);
      if (!failure) failure = CheckNames(list.filter, Where(line), lists.get());
      if (!failure && !empty.empty() && line.for_people()) note(empty);
    } else {
      failure = RunCommand(command, CommandContext(line.server(), formatter, output));
    }
    if (!failure) return ExitCode::kOk;
    note(absl::StrCat(failure->sentence,
                      failure->code == ExitCode::kUnreachable && !line.origin.empty()
                          ? absl::StrCat(" (", line.origin, " names this server)")
                          : ""));
    return failure->code;
  };
  return std::visit(run, line.command);
}

ExitCode RunLine(const CommandLine& line) {
  Formatter formatter = MakeFormatter(line);
  // Wait until the pager, which would hide them, has ended.
  std::mutex mutex;
  std::vector<std::string> notes;
  const auto note = [&](const std::string& sentence) {
    const std::lock_guard<std::mutex> lock(mutex);
    notes.push_back(WithClient(sentence, line));
  };
  std::unique_ptr<Pager> pager = MakePager(line);
  DescriptorOutput output(pager == nullptr ? STDOUT_FILENO : pager->descriptor());
  ExitCode code = RunCommandOf(line, &formatter, &output, note);
  if (pager != nullptr && !pager->Wait()) {
    note(
        "cannot run the pager, so nothing was shown: correct $VMEVENTS_PAGER or $PAGER, or use "
        "--no-pager");
    code = ExitCode::kFailed;
  }
  for (const std::string& sentence : notes) PrintNote(sentence);
  return code;
}

}  // namespace

ExitCode Run(const std::vector<std::string>& arguments, const OptionContext& context) {
  const auto parsed = ParseCommandLine(arguments, context);
  if (const auto* line = std::get_if<CommandLine>(&parsed)) return RunLine(*line);
  const auto& answered = std::get<Answered>(parsed);
  if (!answered.err.empty()) PrintNote(answered.err);
  DescriptorOutput output(STDOUT_FILENO);
  const auto failure = PrintText(answered.out, &output);
  return failure ? Fail(*failure) : answered.code;
}

}  // namespace vmeventd::client
