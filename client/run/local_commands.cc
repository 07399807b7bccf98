#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/system.h"
#include "client/commands/commands.h"
#include "client/connect/failure.h"
#include "client/doctor/doctor.h"
#include "client/output/formatter.h"
#include "client/output/output.h"
#include "client/output/terminal_text.h"
#include "client/run/run.h"
#include "client/run/terminal.h"
#include "nlohmann/json.hpp"

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

std::string TableOf(const Contexts& contexts, bool headings) {
  ColumnLayout layout({{"CURRENT"}, {"NAME"}, {"SERVERS"}}, Painter(false));
  std::vector<std::vector<Cell>> rows;
  for (const Context& context : contexts.list) {
    rows.push_back({{context.name == contexts.current ? "*" : ""},
                    {EscapeForTerminal(context.name)},
                    {EscapeForTerminal(absl::StrJoin(context.servers, ", "))}});
  }
  const std::string lines = layout.Rows(rows, 0);
  return absl::StrCat(headings ? layout.Heading() : "", lines);
}

std::string TextOf(const Contexts& contexts, const CommandLine& line) {
  if (line.for_people()) return TableOf(contexts, line.headings);
  std::string names;
  std::vector<std::string> objects;
  for (const Context& context : contexts.list) {
    absl::StrAppend(&names, EscapeForTerminal(context.name), "\n");
    const nlohmann::ordered_json json = {{"name", context.name},
                                         {"current", context.name == contexts.current},
                                         {"servers", context.servers}};
    objects.push_back(JsonText(json));
  }
  return line.format == OutputFormat::kName ? names : TextOf(objects, line.format);
}

}  // namespace

std::optional<Failure> ListContexts(const Contexts& contexts, const CommandLine& line) {
  DescriptorOutput output(STDOUT_FILENO);
  return PrintText(TextOf(contexts, line), &output);
}

// Writes through links, which people use for such files.
std::optional<Failure> WriteContexts(const ContextWriteCommand& command) {
  std::error_code ignored;
  const std::string path = std::filesystem::weakly_canonical(command.path, ignored);
  const std::filesystem::path directory = std::filesystem::path(path).parent_path();
  std::filesystem::create_directories(directory, ignored);  // a failure shows in the write
  const absl::Status written =
      WriteFileAtomically(path.empty() ? command.path : path, command.content);
  if (written.ok() && !command.note.empty()) PrintNote(command.note);
  return FromPrint(written);
}

namespace {

absl::StatusOr<ConfiguredSources> ReadConfiguredSources() {
  constexpr char kConfiguration[] = "/etc/vmeventd/vmeventd.conf";
  constexpr size_t kMostBytes = 1 << 20;
  const auto content = ReadSmallFile(kConfiguration, kMostBytes);
  auto sources = SourcesOfConfiguration(content.ok() ? *content : "");
  if (sources.ok()) return sources;
  return absl::InvalidArgumentError(absl::StrCat(kConfiguration, ": ", sources.status().message(),
                                                 "; vmeventd --check-config --config ",
                                                 kConfiguration, " says more"));
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

}  // namespace

ExitCode RunDoctor(const CommandLine& line, const Terminal& terminal, Output* output) {
  DaemonAnswer answer = AskDaemon(line.server());
  ConfiguredSources sources;
  if (!answer.reachable()) {
    auto configured = ReadConfiguredSources();
    if (!configured.ok()) return Fail(configured.status());
    sources = *std::move(configured);
  }
  const auto facts = ReadNode(std::move(answer), sources, absl::SleepFor);
  if (!facts.ok()) return Fail(facts.status());
  const Diagnosis diagnosis = Diagnose(*facts);
  if (const auto failure = PrintText(TextOf(diagnosis, line, terminal), output)) {
    return Fail(*failure);
  }
  return diagnosis.findings.empty() ? ExitCode::kOk : ExitCode::kFailed;
}

}  // namespace vmeventd::client
