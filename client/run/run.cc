#include "client/run/run.h"

#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/loopback.h"
#include "client/commands/events.h"
#include "client/commands/print.h"
#include "client/commands/stats.h"
#include "client/commands/unknown_names.h"
#include "client/commands/uuid_names.h"
#include "client/connect/probe.h"
#include "client/connect/tls_probe.h"
#include "client/doctor/diagnosis.h"
#include "client/doctor/diagnosis_text.h"
#include "client/doctor/read_node.h"
#include "client/fleet/fleet_failure.h"
#include "client/nats/url.h"
#include "client/options/option_context.h"
#include "client/options/options.h"
#include "client/output/node_state.h"
#include "client/output/shell_quote.h"
#include "client/output/table_style.h"
#include "client/output/terminal_text.h"
#include "client/output/write_fully.h"
#include "client/run/console.h"
#include "client/run/pager.h"
#include "client/run/stop_signals.h"
#include "client/sources/ask_all.h"
#include "client/sources/daemon_info.h"
#include "client/sources/daemon_lists.h"
#include "client/sources/daemon_node.h"
#include "client/sources/fleet_lists.h"
#include "client/sources/make_source.h"
#include "client/sources/servers.h"

namespace vmeventd::client {
namespace {

// Returns whether the terminal is one that has no cursor to move.
bool IsDumb() { return absl::NullSafeStringView(getenv("TERM")) == "dumb"; }

// Returns whether standard output gets colours.
bool HasColor(const CommandLine& line) {
  if (line.color != ColorMode::kAuto) return line.color == ColorMode::kAlways;
  return absl::NullSafeStringView(getenv("NO_COLOR")).empty() && !IsDumb() &&
         isatty(STDOUT_FILENO) == 1;
}

// Size of the terminal that standard output is; zeros: it is none, or has no size.
winsize SizeOfTerminal() {
  winsize size{};
  ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
  return size;
}

// The terminal of standard input and output while a command draws whole frames on it: the alternate
// screen without a cursor, and keys that are read without Enter.
class LiveScreen {
 public:
  LiveScreen() {
    if (tcgetattr(STDIN_FILENO, &before_) == 0) {
      termios mode = before_;
      mode.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
      mode.c_cc[VSUSP] = _POSIX_VDISABLE;  // a shell would not know of the alternate screen
      changed_ = tcsetattr(STDIN_FILENO, TCSADRAIN, &mode) == 0;
    }
    WriteFully(STDOUT_FILENO, "\x1b[?1049h\x1b[?25l");
  }
  // Leaves the terminal as it was. One that has gone needs nothing.
  ~LiveScreen() {
    if (changed_) tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
    WriteFully(STDOUT_FILENO, "\x1b[?25h\x1b[?1049l");
  }
  LiveScreen(const LiveScreen&) = delete;
  LiveScreen& operator=(const LiveScreen&) = delete;

 private:
  termios before_{};
  bool changed_ = false;  // whether the terminal's mode was changed
};

Form FormOf(const CommandLine& line) {
  const bool csv = line.format == OutputFormat::kCsv;  // a table without blanks
  return line.for_people() || csv             ? Form::kTable
         : line.format == OutputFormat::kName ? Form::kName
                                              : Form::kJson;
}

TableStyle StyleOf(const CommandLine& line) {
  TableStyle style;
  style.color = HasColor(line);
  style.zone = line.zone;
  style.headings = line.headings;
  style.nodes = line.servers.addresses.size() > 1 || line.servers.fleet;
  style.invocation = InvocationOf(line.servers);
  style.completes = line.completes;
  style.before = line.before;
  style.wide = line.format == OutputFormat::kWide;
  if (line.cut) style.width = SizeOfTerminal().ws_col;
  if (const auto* why = std::get_if<WhyCommand>(&line.command)) style.markdown = why->markdown;
  style.node_events = line.prints_gaps();
  style.brief = isatty(STDOUT_FILENO) == 1;  // programs that read the table want every date
  style.now = absl::Now;
  return style;
}

ExitCode RunTopOf(const TopCommand& command, const CommandLine& line, Output* output,
                  const PrintSentence& note) {
  const bool live = isatty(STDOUT_FILENO) == 1 && !IsDumb() && !command.once;
  // Runs before anything that may start a thread.
  StopSource& stop =
      StopBySignals(STDOUT_FILENO, live && isatty(STDIN_FILENO) == 1 ? STDIN_FILENO : -1);
  std::optional<LiveScreen> screen;
  TopEnvironment environment;
  environment.live = live;
  environment.style = [&] {
    if (live && !screen) screen.emplace();
    TableStyle style = StyleOf(line);
    const winsize size = SizeOfTerminal();
    if (live || style.width > 0) style.width = size.ws_col > 0 ? size.ws_col : 80;
    style.brief = true;
    // The last line stays free: a newline there would scroll.
    return std::pair(style, size.ws_row > 1 ? size.ws_row - 1 : 24);
  };
  environment.wait = [&stop](absl::Duration duration) { return stop.WaitFor(duration); };
  // A frame shows which nodes are away.
  const auto lists =
      ListsOf(line.servers, line.is_json(), live ? [](const std::string& /*sentence*/) {} : note);
  const auto failure = RunTop(command, lists.get(), output, environment);
  screen.reset();  // the failure is printed on the restored terminal
  return failure ? Fail(*failure) : ExitCode::kOk;
}

std::string TextOf(const Diagnosis& diagnosis, const CommandLine& line) {
  if (!line.for_people()) return DiagnosisLines(diagnosis, FormOf(line));
  constexpr size_t kLeastWidth = 40;
  constexpr size_t kUsualWidth = 80;
  const size_t columns = SizeOfTerminal().ws_col;
  return DiagnosisText(diagnosis, columns == 0 ? kUsualWidth : std::max(columns, kLeastWidth),
                       HasColor(line));
}

// Reason why the server does not answer.
std::string WhySilent(const ServerAddress& server, const Failure& failure,
                      const ProbeResult& probe) {
  if (server.is_unix()) return failure.sentence;
  std::string fault = ExplainTlsFault(server);
  if (!fault.empty()) return fault;
  // If something listens there, the sentence names this very command.
  if (probe.error != 0 || failure.code != ExitCode::kUnreachable) return failure.sentence;
  return absl::StrCat(ToText(server),
                      " does not answer as vmeventd does: it is the port of another program, or "
                      "that of --metrics-listen, or it hangs; name an address of --listen with "
                      "--server");
}

// Finds what is wrong with a daemon and, if it is here, on this node.
absl::StatusOr<Diagnosis> DiagnoseNode(const DaemonNode& daemon, const CommandLine& line) {
  const ServerAddress& server = daemon.address;
  NodeFacts facts;
  facts.address = ToText(server);
  // The client of another user, by sudo, has neither this environment nor its contexts.
  if (line.servers.addresses.size() == 1 && line.servers.by_option) {
    facts.client = line.servers.client;
  } else if (server.path != kSystemSocket) {
    const std::string text = server.is_unix() ? absl::StrCat("unix:", server.path) : facts.address;
    absl::StrAppend(&facts.client, " --server ", QuoteForShell(text), TlsOptionsOf(server));
  }
  NodeVms all;
  auto failure = ReadInfo(daemon, &facts.info);
  if (!failure && !facts.info.waits_for().empty()) return Diagnose(facts);
  if (!failure) {
    ServiceStates states;
    failure = ReadHealth({}, daemon, &states);
    facts.is_serving = !failure;
    if (failure && failure->code == ExitCode::kFailed) failure.reset();
  }
  if (!failure) failure = DaemonLists(daemon).ReadVms({}, /*stopped_too=*/false, &all);
  for (NodeVm& vm : all) facts.vms.push_back(std::move(vm.vm));
  if (failure) {
    const ProbeResult probe = Probe(server);
    return DiagnoseSilence(server, WhySilent(server, *failure, probe), probe, facts.client);
  }
  if (server.is_unix() || IsLoopback(server.host)) {
    if (const auto read = ReadNode(&facts); !read.ok()) return read;
  }
  return Diagnose(facts);
}

// `doctor`: prints what is wrong on each node, and fails if anything is.
ExitCode RunDoctor(const CommandLine& line, Output* output) {
  const std::vector<DaemonNode> nodes = NodesOf(line.servers);
  std::vector<absl::StatusOr<Diagnosis>> diagnoses(nodes.size());
  AskAll(nodes.size(), [&](size_t i) { diagnoses[i] = DiagnoseNode(nodes[i], line); });
  bool is_well = true;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!diagnoses[i].ok()) return Fail(diagnoses[i].status());
    is_well = is_well && diagnoses[i]->findings.empty();
    std::string text = TextOf(*diagnoses[i], line);
    if (nodes.size() > 1 && line.for_people()) {
      text = absl::StrCat(i == 0 ? "" : "\n", EscapeForTerminal(nodes[i].name), ":\n", text);
    }
    if (const auto failure = PrintText(text, output)) return Fail(*failure);
  }
  return is_well ? ExitCode::kOk : ExitCode::kFailed;
}

// Shows the heartbeats of a fleet's nodes. With `health`, a silent node is a failure.
std::optional<Failure> ShowFleet(const CommandLine& line, Formatter* formatter, Output* output,
                                 const PrintSentence& note) {
  Formatter::Heartbeats nodes;
  auto failure = FleetLists(FleetOf(line.servers, note)).ReadNodes(&nodes);
  const absl::Time now = absl::Now();
  if (!failure) failure = PrintText(formatter->FormatFleet(nodes, now), output);
  if (failure || !std::holds_alternative<HealthCommand>(line.command)) return failure;
  for (const v1::NodeHeartbeat& node : nodes) {
    if (StateOf(node, now) == NodeState::kUp) continue;
    return Failure{ExitCode::kUnreachable,
                   absl::StrCat(EscapeForTerminal(node.node()), " publishes nothing now")};
  }
  return std::nullopt;
}

// Runs the command of a line: an overload for each kind of command, the last one for those that ask
// daemons alone.
class LineRunner {
 public:
  // All must outlive the runner.
  LineRunner(const CommandLine& line, Formatter* formatter, Output* output,
             const PrintSentence& note)
      : line_(line), formatter_(formatter), output_(output), note_(note) {}

  ExitCode operator()(const FollowCommand& command) {
    return RunFollow(command, line_, formatter_);
  }
  ExitCode operator()(const PushCommand& command) { return RunPush(command, line_, output_); }
  ExitCode operator()(const ProxyCommand& /*command*/) { return RunProxy(line_); }
  ExitCode operator()(const WebCommand& command) { return RunWeb(command, line_); }
  ExitCode operator()(const TopCommand& command) {
    return RunTopOf(command, line_, output_, note_);
  }
  ExitCode operator()(const DoctorCommand& /*command*/) { return RunDoctor(line_, output_); }

  ExitCode operator()(const WhyCommand& command) {
    return Result(RunWhy(command, InvocationOf(line_.servers), Lists().get(), formatter_, output_,
                         absl::Now()));
  }
  ExitCode operator()(const StatsCommand& command) {
    std::string empty;
    const auto lists = Lists();
    return ListResult(RunList(command, lists.get(), line_.zone, formatter_, output_, &empty),
                      empty);
  }
  ExitCode operator()(const StatusCommand& command) {
    return Result(RunList(command, Lists().get(), formatter_, output_));
  }
  ExitCode operator()(const IntentsCommand& command) {
    return Result(RunList(command, Lists().get(), formatter_, output_));
  }
  ExitCode operator()(const EventsCommand& command) {
    EventsCommand list = command;
    return ShowList(&list, list.request.mutable_filter());
  }
  ExitCode operator()(const VmsCommand& command) {
    VmsCommand list = command;
    if (!list.order && !list.runs && line_.for_people() && isatty(STDOUT_FILENO) == 1) {
      list.order = VmOrder::kTrouble;
    }
    return ShowList(&list, &list.filter);
  }

  ExitCode operator()(const FleetCommand& /*command*/) {
    return Result(ShowFleet(line_, formatter_, output_, note_));
  }
  ExitCode operator()(const FleetCreateCommand& command) {
    const auto connection = ConnectNats(*line_.servers.fleet);
    const absl::StatusOr<std::string> made = connection.ok()
                                                 ? CreateFleet(connection->get(), command)
                                                 : absl::StatusOr<std::string>(connection.status());
    if (made.ok()) return Result(PrintText(made, output_));
    return Result(ExplainFleetFailure(ToText(*line_.servers.fleet), InvocationOf(line_.servers),
                                      made.status()));
  }

  template <typename Command>
  ExitCode operator()(const Command& command) {
    if (line_.servers.fleet) return Result(ShowFleet(line_, formatter_, output_, note_));
    return Result(
        RunCommand(command, CommandContext(NodesOf(line_.servers), formatter_, output_, note_)));
  }

 private:
  std::unique_ptr<ListSource> Lists() const {
    return ListsOf(line_.servers, line_.is_json(), note_);
  }

  // A list of events or VMs. `filter` is that of `list`.
  template <typename Command>
  ExitCode ShowList(Command* list, v1::EventFilter* filter) {
    const auto lists = Lists();
    std::string empty;
    std::optional<Failure> failure = TakeUuids(lists.get(), filter);
    if (!failure) failure = RunList(*list, lists.get(), formatter_, output_, &empty);
    if (!failure) failure = CheckNames(*filter, InvocationOf(line_.servers), lists.get());
    return ListResult(failure, empty);
  }

  // `empty` says why the list is empty; it is empty itself if the list is not.
  ExitCode ListResult(const std::optional<Failure>& failure, const std::string& empty) {
    if (!failure && !empty.empty() && line_.for_people()) note_(empty);
    return Result(failure);
  }

  // The exit code of the command; explains its failure.
  ExitCode Result(const std::optional<Failure>& failure) {
    if (!failure) return ExitCode::kOk;
    note_(absl::StrCat(failure->sentence,
                       failure->code == ExitCode::kUnreachable && !line_.origin.empty()
                           ? absl::StrCat(" (", line_.origin, " names this server)")
                           : ""));
    return failure->code;
  }

  const CommandLine& line_;
  Formatter* const formatter_;
  Output* const output_;
  const PrintSentence& note_;
};

ExitCode RunLine(const CommandLine& line) {
  Formatter formatter(FormOf(line), StyleOf(line));
  // Wait until the pager, which would hide them, has ended.
  std::mutex mutex;
  std::vector<std::string> notes;
  const PrintSentence note = [&](const std::string& sentence) {
    const std::lock_guard<std::mutex> lock(mutex);
    // Several lists of a command may report the same fault.
    if (!absl::c_linear_search(notes, sentence)) notes.push_back(sentence);
  };
  const bool is_long = std::holds_alternative<EventsCommand>(line.command) ||
                       std::holds_alternative<VmsCommand>(line.command);
  // A terminal without cursor control, such as an editor's, cannot use a pager.
  const bool pages = line.pager && !IsDumb();
  FILE* const pager = is_long && pages && isatty(STDOUT_FILENO) == 1 ? StartPager() : nullptr;
  DescriptorOutput output(pager == nullptr ? STDOUT_FILENO : fileno(pager));
  ExitCode code = std::visit(LineRunner(line, &formatter, &output, note), line.command);
  if (pager != nullptr) {
    // The shell prints why it cannot run its command.
    const int status = pclose(pager);
    if (WIFEXITED(status) && WEXITSTATUS(status) >= 126) code = ExitCode::kFailed;
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
