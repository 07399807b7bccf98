#include "client/options/hints.h"

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/spelling.h"
#include "client/cli/values.h"
#include "client/output/shell_quote.h"

namespace vmeventd::client {
namespace {

// Proposals for words of other programs. A word may have several; the first one that has no name,
// or whose option or command exists where the word was typed, counts.
constexpr ForeignWords kWords[] = {
    {"show", {"list"}},
    {"remove del cancel abort", {"withdraw"}},
    {"list list-units instances domains machines", {"vms"}},
    {"log journal event audit last dmesg journalctl", {"events", ", or watch for what happens"}},
    {"crash crashed coredumpctl failed failures", {"crashes"}},
    {"follow monitor subscribe qemu-monitor-event stream", {"watch"}},
    {"wait", {"watch", " NAME --type stopped --count 1"}},
    {"show inspect dominfo domstate timeline reason cause domjobinfo domid domuuid domcontrol "
     "domblkerror dumpxml",
     {"why", " NAME"}},
    {"nodeinfo hostname uri cluster-info system", {"info"}},
    {"stat domstats", {"top"}},
    {"maintenance maintain", {"intent", " declare", "it says who is about to stop a VM, and why"}},
    {"ping healthz is-active", {"health"}},
    {"check diagnose debug", {"doctor"}},
    {"nodes node hosts", {"info", ", or fleet for many nodes"}},
    {"intents declare withdraw", {"intent"}},
    {"config context contexts get-contexts current-context use use-context connect set-context "
     "delete-context",
     {"--context", " NAME", "the contexts are in ~/.config/vmevents/config.toml, see vmevents(1)"}},
    {"explain", {"why", " NAME, or help"}},
    {"gaps gap missed", {"events", " --type gap"}},
    {"trouble problems", {"vms", " --trouble, or status"}},
    {"webhook post notify", {"push"}},
    {"start stop restart shutdown destroy reboot reset kill rm delete run create apply edit pause "
     "unpause suspend resume undefine define scale drain cordon migrate save managedsave dump "
     "poweroff exec attach console login ssh",
     {"", "",
      "vmevents starts, stops and changes no VM: use virsh, qm or systemctl, and declare who does "
      "it with `intent declare`"}},
    {"-H --header", {"--header-file"}},
    {"--token", {"--token-file"}},
    {"--token", {"--header-file", "", "a line of it is \"Authorization: Bearer TOKEN\""}},
    {"--token --header",
     {"", "", "vmeventd knows its clients by certificates: give --tls-cert and --tls-key"}},
    {"-k --insecure --cacert --ca --certificate-authority",
     {"--push-ca", "", "the receiver's certificate is checked"}},
    {"-k --insecure --insecure-skip-tls-verify --certificate-authority --tlscacert --cacert --tls "
     "--tlsverify",
     {"--tls-ca", "", "the server's certificate is checked"}},
    {"--client-certificate --tlscert --cert", {"--tls-cert"}},
    {"--client-key --tlskey --key", {"--tls-key"}},
    {"-m -r --message --comment --description", {"--reason"}},
    {"-n --iterations -b --no-stream", {"--once"}},
    {"-n --namespace -N", {"--vm", "", "VMs have no namespaces"}},
    {"--sort --order-by", {"--sort-by"}},
    {"--sort-by --sort", {"-o", " json, and sort with jq"}},
    {"--lines --tail --pager-end -e", {"-n"}},
    {"--max --max-count --head", {"--limit"}},
    {"--reverse", {"--newest-first"}},
    {"-S --since-time --start --start-time --begin --after -b --boot", {"--since"}},
    {"-U --until-time --end --end-time --before", {"--until"}},
    {"--grep -g --event --events --kind -t", {"--type"}},
    {"-p --priority --severity --level", {"--class", " crash"}},
    {"--filter", {"--vm", ", --type, --class, --cause or --source"}},
    {"-u --unit --for --domain --field-selector --name-filter", {"--vm"}},
    {"--selector --labels", {"--label"}},
    {"--all-namespaces --persistent", {"--all"}},
    {"--state-running --running --active", {"--state", " running"}},
    {"--state-paused --paused", {"--state", " paused"}},
    {"--state-shutoff --inactive --stopped --exited", {"--state", " stopped"}},
    {"--failed --crashed --crash", {"--class", " crash"}},
    {"-c --connect -H --host -M --machine -s --uri --address --addr --socket --endpoint",
     {"--server"}},
    {"-P --port", {"--server", " HOST:PORT"}},
    {"-P --port", {"--listen", " HOST:PORT"}},
    {"--kubeconfig --cluster", {"--context"}},
    {"--json -j --yaml", {"-o", " json"}},
    {"--wide --full --show-labels --details --long -x", {"-o", " wide"}},
    {"--name --quiet -q --names", {"-o", " name"}},
    {"--format --template --output-fields", {"-o"}},
    {"--no-legend --noheadings --noheader --no-header", {"--no-headers"}},
    {"--timestamp --timestamps", {"", "", "each event is shown with its time"}},
    {"--after-cursor --cursor --show-cursor", {"--cursor-file"}},
    {"--previous", {"why", " NAME, which shows how the run before ended"}},
    {"-d --delay", {"--interval"}},
    {"-v -V", {"--version"}},
    {"-?", {"--help"}},
    {"-w --watch --watch-only", {"watch"}},
    {"-f --follow --loop", {"", "", "watch follows by itself, and events with -f"}},
};

// "--since is an option of watch and events".
std::string Elsewhere(const CLI::App& program, absl::string_view option) {
  std::vector<std::string> commands;
  for (const CLI::App* command : CommandsOf(program)) {
    if (absl::c_linear_search(OptionsOf(*command), option)) commands.push_back(command->get_name());
  }
  if (commands.empty()) return "";
  return absl::StrCat("; ", option, " is an option of ", absl::StrJoin(commands, ", "));
}

// Returns whether the command takes options alone, as doctor does.
bool TakesNoWords(const CLI::App& command) {
  return command.get_parent() != nullptr && command.get_subcommands({}).empty() &&
         absl::c_all_of(command.get_options(),
                        [](const CLI::Option* one) { return one->nonpositional(); });
}

// A proposal for a word that may be a VM's name.
std::string WhyInstead(const CLI::App& command, absl::string_view name) {
  if (TakesNoWords(command)) {
    return absl::StrCat("; ", command.get_name(), " takes no VM; write `vmevents why ",
                        QuoteForShell(name), "`");
  }
  const std::string argument = absl::StrCat(" ", name);
  return DidYouMean({"why", argument});
}

}  // namespace

std::vector<const CLI::App*> CommandsOf(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* one) { return !one->get_group().empty(); });
}

std::vector<std::string> OptionsOf(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    if (!option->nonpositional()) continue;
    const std::vector<std::string> own = absl::StrSplit(option->get_name(false, true), ',');
    names.insert(names.end(), own.begin(), own.end());
  }
  return names;
}

std::string HintFor(const CLI::App& command, absl::string_view typed) {
  typed = typed.substr(0, typed.find('='));
  const bool is_option = absl::StartsWith(typed, "-");
  std::vector<std::string> names;
  const CLI::App* program = &command;
  for (const CLI::App* one = &command; one != nullptr; one = one->get_parent()) {
    const std::vector<std::string> options = OptionsOf(*one);
    names.insert(names.end(), options.begin(), options.end());
    for (const CLI::App* below : one->get_subcommands({})) names.push_back(below->get_name());
    program = one;
  }
  // A one-letter option may be followed by its value without a blank.
  const bool is_letter = is_option && !absl::StartsWith(typed, "--");
  const absl::string_view word = typed.substr(0, is_letter ? 2 : typed.npos);
  const Proposal known = FindProposal(kWords, word, [&](const Proposal& proposal) {
    return proposal.name.empty() || absl::c_linear_search(names, proposal.name);
  });
  if (!known.empty()) return DidYouMean(known);
  if (std::string elsewhere = Elsewhere(*program, typed); !elsewhere.empty()) return elsewhere;
  if (is_letter && typed.size() == 2) return "";  // every letter is near to every other
  if (!is_option && absl::c_any_of(typed, absl::ascii_isdigit)) {
    return WhyInstead(command, typed);  // no command has a digit, and most VMs have one
  }
  const std::string nearest = NearestName(typed, names);
  if (nearest.empty() && !is_option && !typed.empty() && TakesNoWords(command)) {
    return WhyInstead(command, typed);
  }
  return DidYouMean({nearest});
}

}  // namespace vmeventd::client
