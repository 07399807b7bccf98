#include "client/run/contexts.h"

#include <unistd.h>

#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/commands/lists.h"
#include "client/output/atomic_file.h"
#include "client/output/format_table.h"
#include "client/output/output.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

// The name, the servers, and "*" for the current one.
absl::StatusOr<std::string> FormatContexts(const Contexts& contexts, const CommandLine& line) {
  ColumnLayout layout({{"CURRENT"}, {"NAME"}, {"SERVERS"}}, Painter(false));
  std::vector<std::vector<Cell>> rows;
  std::string text;
  for (const Context& context : contexts.list) {
    const bool current = context.name == contexts.current;
    if (line.format == OutputFormat::kName) {
      absl::StrAppend(&text, EscapeForTerminal(context.name), "\n");
      continue;
    }
    rows.push_back({{current ? "*" : ""},
                    {EscapeForTerminal(context.name)},
                    {EscapeForTerminal(absl::StrJoin(context.servers, ", "))}});
    layout.Fit(rows.back());
  }
  if (line.format == OutputFormat::kName) return text;
  if (line.format == OutputFormat::kJson || line.format == OutputFormat::kYaml) {
    return absl::InvalidArgumentError("context list: has no such form; use -o table or name");
  }
  if (line.headings) text = layout.Heading();
  for (const std::vector<Cell>& row : rows) text += layout.Line(row);
  return text;
}

}  // namespace

std::optional<Failure> ListContexts(const Contexts& contexts, const CommandLine& line) {
  const absl::StatusOr<std::string> text = FormatContexts(contexts, line);
  if (!text.ok()) return Failure{ExitCode::kUsage, std::string(text.status().message())};
  DescriptorOutput output(STDOUT_FILENO);
  return PrintText(text, &output);
}

// Writes through links, which people use for such files.
std::optional<Failure> UseContext(const ContextUseCommand& command) {
  std::error_code ignored;
  const std::string path = std::filesystem::weakly_canonical(command.path, ignored);
  const absl::Status written =
      WriteFileAtomically(path.empty() ? command.path : path, command.content);
  return FromPrint(written);
}

}  // namespace vmeventd::client
