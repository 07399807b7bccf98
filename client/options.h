#ifndef VMEVENTD_CLIENT_OPTIONS_H_
#define VMEVENTD_CLIENT_OPTIONS_H_

#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "client/commands/commands.h"
#include "client/commands/watch_loop.h"
#include "client/connect/exit_code.h"
#include "client/connect/server_address.h"

namespace vmeventd::client {

enum class OutputFormat { kTable, kJson };
enum class ColorMode { kAuto, kAlways, kNever };

// The parsed and checked command line.
struct CommandLine {
  ServerAddress server;
  OutputFormat format = OutputFormat::kTable;
  ColorMode color = ColorMode::kAuto;
  std::variant<WatchCommand, EventsCommand, VmsCommand, VmCommand, DeclareIntentCommand,
               WithdrawIntentCommand, InfoCommand, HealthCommand>
      command;
};

// The command line is already answered: by --help, --version or a complaint.
struct Answered {
  ExitCode code = ExitCode::kOk;
  std::string out;  // for standard output
  std::string err;  // for standard error: a sentence, safe for a terminal
};

// What the options depend on besides the arguments.
struct OptionContext {
  std::string server_variable;  // $VMEVENTS_SERVER, empty: not set
  TlsOptions tls_variables;     // $VMEVENTS_TLS_CA and so on; empty: not set
  std::string xdg_runtime_dir;  // $XDG_RUNTIME_DIR
  unsigned uid = 0;
  // Whether a path exists, or may exist: see DefaultServerAddress().
  std::function<bool(const std::string& path)> may_exist;
  absl::Time now;
  absl::TimeZone zone;
};

// `arguments` without the program's name. Pure.
std::variant<CommandLine, Answered> ParseCommandLine(const std::vector<std::string>& arguments,
                                                     const OptionContext& context);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_OPTIONS_H_
