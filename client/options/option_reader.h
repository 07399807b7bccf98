#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/connect/server_address.h"
#include "client/consume/source.h"
#include "vmeventd/v1/vm_events.pb.h"

// The option table, the values of the options that were given, and what follows from the table for
// completion and complaints. Pure.

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace vmeventd::client {

// Inputs of the parser besides the arguments.
struct OptionContext {
  std::string server_variable;       // $VMEVENTS_SERVER, empty: not set
  TlsOptions tls_variables;          // $VMEVENTS_TLS_CA and so on; empty: not set
  std::string credentials_variable;  // $VMEVENTS_CREDENTIALS
  std::string xdg_runtime_dir;       // $XDG_RUNTIME_DIR
  std::string state_home;            // $XDG_STATE_HOME, else ~/.local/state; empty: there is none
  std::string user;                  // $SUDO_USER, else $USER, else by the uid
  unsigned uid = 0;
  std::string config_path;       // path of the configuration file; empty: there is none
  bool config_required = false;  // the user named it, so that it must exist
  // Reads the configuration file. NOT_FOUND: it does not exist. PERMISSION_DENIED: another error.
  std::function<absl::StatusOr<std::string>(const std::string& path)> read_config;
  // Returns whether a path exists, or may exist: see DefaultServerAddress().
  std::function<bool(const std::string& path)> may_exist;
  absl::Time now;
  absl::TimeZone zone;
};

// Defines all commands and options, with their help.
void Define(CLI::App* app);

// The options of a command line that was parsed. A getter that finds a fault notes it in status()
// unless there is one already, and returns what is harmless. INVALID_ARGUMENT names the option, the
// fault and the correct form, for people.
class OptionReader {
 public:
  // `program` must outlive it.
  OptionReader(const CLI::App& program, const OptionContext& context);

  const OptionContext& context() const { return context_; }
  // The words of the command, such as "intent" and "declare"; the second may be empty.
  const std::string& command() const { return command_; }
  const std::string& action() const { return action_; }

  // Looks up an option by its name, or an argument: the command's, or else the program's.
  bool Has(const std::string& name) const { return !Texts(name).empty(); }
  // Returns whether the command knows it, given or not.
  bool Knows(const std::string& name) const { return Find(name) != nullptr; }
  bool Flag(const std::string& name);
  // The texts as typed; empty if it was not given.
  std::vector<std::string> Texts(const std::string& name) const;
  std::string Text(const std::string& name) const;
  // The text as typed; an empty one is a fault, of which `cure` completes the sentence.
  std::string TextWith(const std::string& name, absl::string_view cure);
  // Reads a text for the server: not empty, and UTF-8, as the protocol requires.
  std::string Word(const std::string& name);
  // Checks another text likewise; returns whether it is valid.
  bool IsWord(absl::string_view option, absl::string_view text);
  // Reads a number of at least 1.
  std::optional<uint64_t> Count(const std::string& name);
  // Reads a number of at least 1, and at most `most`; `cure` completes the sentence of a larger
  // one.
  std::optional<uint64_t> CountTo(const std::string& name, uint64_t most, absl::string_view cure);
  std::optional<absl::Time> Time(const std::string& name);
  // Stays as it is where the option was not given.
  void Duration(const std::string& name, absl::Duration* duration);
  // Reads the index of the text in ValuesOf(name); stays as it is where the option was not given.
  // `noun` completes "is not ...".
  void Choice(const std::string& name, absl::string_view noun, size_t* index);
  // The four of --tls-ca and so on.
  TlsOptions Tls() const;
  // --from, --journal and --since.
  WatchStart Start();
  // Reads all options that select events or VMs, and the names on the command line.
  v1::EventFilter Filter();
  std::vector<v1::VmState> States();

  void Wrong(absl::string_view sentence) { Check(absl::InvalidArgumentError(sentence)); }
  // Returns whether it is OK.
  bool Check(const absl::Status& status);
  const absl::Status& status() const { return status_; }

 private:
  const CLI::Option* Find(const std::string& name) const;
  // The parts between the commas of all texts.
  std::vector<std::string> Words(const std::string& name);
  // Names of VMs: of a list, its words and the text as a whole, because a name may have commas.
  std::vector<std::string> VmNames(const std::string& name) const;
  template <typename Enum>
  std::vector<Enum> Names(const std::string& name);
  WatchStart From();

  OptionContext context_;              // has the time zone of --utc
  std::vector<const CLI::App*> apps_;  // the innermost first
  std::string command_;
  std::string action_;
  absl::Status status_;
};

// The command that the shells' scripts run: its arguments are the words before the cursor, of which
// the last may be incomplete or empty.
inline constexpr char kCompleteCommand[] = "__complete";

// The arguments in this program's own words: "crashes" of the table of aliases becomes
// "events --type stopped --class crash --newest-first".
std::vector<std::string> WithoutAliases(const CLI::App& app,
                                        const std::vector<std::string>& arguments);

// The script for bash, zsh or fish, which asks `vmevents __complete`; none for another shell.
std::optional<std::string> CompletionScript(absl::string_view shell);

// The values of an option or an argument, as typed: "guest-down". `name` is that of the option, or
// the name that the help gives its value. Empty: any text.
std::vector<std::string> ValuesOf(const std::string& name);

// Candidates for the word at the cursor.
struct Completions {
  std::string lines;  // one candidate a line, a tab and its description after it
  // The command whose output lists more, such as the names of VMs; empty: none.
  std::vector<std::string> command;
  bool contexts = false;  // the names of the configuration file's contexts
};

// Completes from the option table. `app` has parsed nothing.
Completions Complete(const CLI::App& app, const std::vector<std::string>& words);

// Complete a complaint, as "; did you mean --since?" does: with this program's name for what
// kubectl, journalctl, virsh and docker call so, or with one that is spelled alike. Empty: nothing
// comes close. The first is for a word that `command` does not know, the second for a value that
// the option does not take.
std::string HintFor(const CLI::App& command, absl::string_view typed);
std::string HintForValue(const std::string& option, absl::string_view typed);

}  // namespace vmeventd::client
