#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/system.h"
#include "base/text.h"
#include "client/commands/commands.h"
#include "client/connect/failure.h"
#include "client/doctor/doctor.h"
#include "client/output/formatter.h"
#include "client/output/output.h"
#include "client/output/terminal_text.h"
#include "client/run/run.h"
#include "client/run/terminal.h"

namespace vmeventd::client {
namespace {

// Formats JSON objects as lines or as YAML documents.
std::string TextOf(const std::vector<std::string>& objects, OutputFormat format) {
  std::string text;
  for (const std::string& object : objects) {
    if (format == OutputFormat::kJson) absl::StrAppend(&text, object, "\n");
    if (format == OutputFormat::kYaml) absl::StrAppend(&text, "---\n", YamlOfJson(object));
  }
  return text;
}

absl::StatusOr<ConfiguredSources> ReadConfiguredSources() {
  constexpr char kConfiguration[] = "/etc/vmeventd/vmeventd.conf";
  constexpr size_t kMaxBytes = 1 << 20;
  const auto content = ReadSmallFile(kConfiguration, kMaxBytes);
  auto sources = SourcesOfConfiguration(content.ok() ? *content : "");
  if (sources.ok()) return sources;
  return absl::InvalidArgumentError(absl::StrCat(kConfiguration, ": ", sources.status().message(),
                                                 "; vmeventd --check-config --config ",
                                                 kConfiguration, " says more"));
}

constexpr char kSystemSocket[] = "/run/vmeventd/vmeventd.sock";

// The line that shows why the server does not answer.
std::string LineFor(const ServerAddress& server) {
  if (server.path == kSystemSocket) {
    return "systemctl enable --now vmeventd && systemctl status vmeventd";
  }
  if (server.is_unix()) return "ss -xlp | grep vmeventd";  // where it listens
  if (server.tls) {
    return absl::StrCat("openssl s_client -connect ", QuoteForShell(ToText(server)), " -CAfile ",
                        QuoteForShell(server.tls->ca_file), " </dev/null");
  }
  return absl::StrCat("ssh ", QuoteForShell(server.host), " systemctl status vmeventd");
}

DaemonAnswer AskDaemon(const ServerAddress& server) {
  DaemonAnswer answer;
  answer.address = ToText(server);
  const auto failure = WithServer(server, nullptr, nullptr, [&](const CommandContext& context) {
    auto failed = ReadInfo(context, &answer.info);
    NodeVms all;
    if (!failed) failed = DaemonLists(context).ReadVms({}, &all);
    for (NodeVm& vm : all) answer.vms.push_back(std::move(vm.vm));
    return failed;
  });
  if (failure) {
    const ProbeResult probe = Probe(server);
    answer.failure = failure->sentence;
    answer.forbidden = probe.error == EACCES;
    answer.group = probe.group;
    answer.line = LineFor(server);
    if (!server.is_unix()) {
      const std::string fault = ExplainTlsFault(server);
      if (!fault.empty()) answer.failure = fault;
    }
  }
  return answer;
}

std::string TextOf(const Diagnosis& diagnosis, const CommandLine& line, const Terminal& terminal) {
  if (line.format == OutputFormat::kName) return DiagnosisNames(diagnosis);
  if (!line.for_people()) return TextOf(DiagnosisJson(diagnosis), line.format);
  constexpr size_t kLeastWidth = 40;
  constexpr size_t kUsualWidth = 80;
  const size_t columns = SizeOfTerminal(STDOUT_FILENO).columns;
  return DiagnosisText(diagnosis, columns == 0 ? kUsualWidth : std::max(columns, kLeastWidth),
                       HasColor(line, terminal));
}

ExitCode ShowDiagnosis(const Diagnosis& diagnosis, const CommandLine& line,
                       const Terminal& terminal, Output* output) {
  if (const auto failure = PrintText(TextOf(diagnosis, line, terminal), output)) {
    return Fail(*failure);
  }
  return diagnosis.findings.empty() ? ExitCode::kOk : ExitCode::kFailed;
}

}  // namespace

ExitCode RunDoctor(const CommandLine& line, const Terminal& terminal, Output* output) {
  const ServerAddress& server = line.server();
  DaemonAnswer answer = AskDaemon(server);
  const bool is_here = server.is_unix() || IsLoopback(server.host);
  const std::string command =
      server.path == kSystemSocket
          ? "vmevents doctor"
          : absl::StrCat("vmevents --server ", QuoteForShell(answer.address), " doctor");
  if (!is_here) {
    NodeFacts facts;
    facts.is_root = true;  // no right of this user's is missing
    facts.is_here = false;
    facts.command = command;
    facts.daemon = std::move(answer);
    return ShowDiagnosis(Diagnose(facts), line, terminal, output);
  }
  ConfiguredSources sources;
  if (!answer.reachable()) {
    auto configured = ReadConfiguredSources();
    if (!configured.ok()) return Fail(configured.status());
    sources = *std::move(configured);
  }
  auto facts = ReadNode(std::move(answer), sources, absl::SleepFor);
  if (!facts.ok()) return Fail(facts.status());
  facts->command = command;
  return ShowDiagnosis(Diagnose(*facts), line, terminal, output);
}

}  // namespace vmeventd::client
