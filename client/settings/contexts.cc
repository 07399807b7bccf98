#include "client/settings/contexts.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

// Errors are values.
#define TOML_EXCEPTIONS 0
#include "toml++/toml.h"

namespace vmeventd::client {
namespace {

constexpr char kKeys[] =
    "servers, tls-ca, tls-cert, tls-key, tls-server-name, credentials and nats-domain";

// Reads one file.
class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {
    const size_t slash = path.rfind('/');
    directory_ = slash == std::string::npos ? "" : path.substr(0, slash + 1);
  }

  absl::StatusOr<Contexts> Read(const std::string& content) {
    const toml::parse_result file = toml::parse(content, path_);
    if (!file) {
      const toml::parse_error& error = file.error();
      return Wrong(absl::StrCat("line ", error.source().begin.line,
                                ": no TOML: ", std::string(error.description())));
    }
    for (const auto& [key, value] : file.table()) {
      absl::Status status;
      if (key.str() == "current") {
        status = TakeText(std::string(key.str()), value, &contexts_.current);
      } else if (key.str() == "contexts" && value.is_table()) {
        status = TakeContexts(*value.as_table(), "");
      } else if (value.is_table()) {
        status = Wrong(absl::StrCat("the section [", std::string(key.str()),
                                    "] is not known; use [contexts.NAME]"));
      } else {
        status = Wrong(absl::StrCat("\"", std::string(key.str()),
                                    "\" is not known here; use current = \"NAME\" "
                                    "and sections [contexts.NAME]"));
      }
      if (!status.ok()) return status;
    }
    return contexts_;
  }

 private:
  absl::Status Wrong(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": ", what));
  }

  // [contexts.node1.example] is a table in a table; its context is "node1.example".
  absl::Status TakeContexts(const toml::table& table, const std::string& prefix) {
    for (const auto& [key, value] : table) {
      const std::string name = absl::StrCat(prefix, std::string(key.str()));
      if (!value.is_table()) {
        return Wrong(absl::StrCat("\"", name, "\" is no section; use [contexts.NAME]"));
      }
      absl::Status status = TakeContext(*value.as_table(), name);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status TakeContext(const toml::table& table, const std::string& name) {
    Context context = {name, {}, {}, ""};
    toml::table nested;
    bool own = table.empty();
    for (const auto& [key, value] : table) {
      if (value.is_table()) {
        nested.insert(key, *value.as_table());
        continue;
      }
      own = true;
      absl::Status status = TakeOfContext(std::string(key.str()), value, &context);
      if (!status.ok()) return status;
    }
    if (own && context.servers.empty()) {
      return Wrong(absl::StrCat("the context \"", name, "\" has no servers"));
    }
    if (own) contexts_.list.push_back(std::move(context));
    return TakeContexts(nested, absl::StrCat(name, "."));
  }

  absl::Status TakeOfContext(absl::string_view key, const toml::node& value, Context* context) {
    if (key == "servers" || key == "server") return TakeServers(key, value, context);
    if (key == "tls-ca") return TakeFile(key, value, &context->tls.ca_file);
    if (key == "tls-cert") return TakeFile(key, value, &context->tls.cert_file);
    if (key == "tls-key") return TakeFile(key, value, &context->tls.key_file);
    if (key == "credentials") return TakeFile(key, value, &context->credentials);
    if (key == "nats-domain") return TakeText(key, value, &context->nats_domain);
    if (key == "tls-server-name") return TakeText(key, value, &context->tls.server_name);
    return Wrong(absl::StrCat("\"", key, "\" of the context \"", context->name,
                              "\" is not known; the keys are ", kKeys));
  }

  absl::Status TakeServers(absl::string_view key, const toml::node& value, Context* context) {
    if (!value.is_array()) return TakeText(key, value, &context->servers.emplace_back());
    for (const toml::node& one : *value.as_array()) {
      absl::Status status = TakeText(key, one, &context->servers.emplace_back());
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status TakeText(absl::string_view key, const toml::node& value, std::string* text) const {
    *text = value.value_or(std::string());
    if (value.is_string() && !text->empty()) return absl::OkStatus();
    return Wrong(absl::StrCat("\"", key, "\" needs one text in quotes"));
  }

  absl::Status TakeFile(absl::string_view key, const toml::node& value, std::string* file) const {
    absl::Status status = TakeText(key, value, file);
    if (status.ok() && !absl::StartsWith(*file, "/")) *file = absl::StrCat(directory_, *file);
    return status;
  }

  const std::string path_;
  std::string directory_;
  Contexts contexts_;
};

// A basic string of TOML.
std::string Quoted(absl::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) {
      absl::StrAppend(&quoted, "\\u00", absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad2));
      continue;
    }
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

}  // namespace

const Context* Contexts::Find(const std::string& name) const {
  const auto found = std::find_if(list.begin(), list.end(),
                                  [&name](const Context& context) { return context.name == name; });
  return found == list.end() ? nullptr : &*found;
}

std::string ConfigPath(const std::string& own, const std::string& xdg_config_home,
                       const std::string& home) {
  if (!own.empty()) return own;
  if (!xdg_config_home.empty()) return absl::StrCat(xdg_config_home, "/vmevents/config.toml");
  return home.empty() ? "" : absl::StrCat(home, "/.config/vmevents/config.toml");
}

absl::StatusOr<Contexts> ParseContexts(const std::string& content, const std::string& path) {
  return Reader(path).Read(content);
}

absl::StatusOr<std::string> WithContext(const std::string& content, const Context& context,
                                        const std::string& path) {
  std::string section = absl::StrCat("[contexts.", Quoted(context.name), "]\nservers = [");
  absl::StrAppend(&section,
                  absl::StrJoin(context.servers, ", ",
                                [](std::string* out, const std::string& server) {
                                  absl::StrAppend(out, Quoted(server));
                                }),
                  "]\n");
  const std::pair<const char*, const std::string&> texts[] = {
      {"tls-ca", context.tls.ca_file},      {"tls-cert", context.tls.cert_file},
      {"tls-key", context.tls.key_file},    {"tls-server-name", context.tls.server_name},
      {"credentials", context.credentials}, {"nats-domain", context.nats_domain},
  };
  for (const auto& [key, text] : texts) {
    if (!text.empty()) absl::StrAppend(&section, key, " = ", Quoted(text), "\n");
  }
  std::string added = content;
  if (!added.empty()) added += absl::EndsWith(added, "\n") ? "\n" : "\n\n";
  added += section;
  const absl::StatusOr<Contexts> parsed = ParseContexts(added, path);
  if (!parsed.ok()) return parsed.status();
  return added;
}

namespace {

// The line of "current = NAME".
std::vector<std::string>::iterator FindCurrent(std::vector<std::string>* lines) {
  for (auto line = lines->begin(); line != lines->end(); ++line) {
    absl::string_view key = absl::StripLeadingAsciiWhitespace(*line);
    if (absl::StartsWith(key, "[")) break;  // the keys before the first section are over
    if (!absl::ConsumePrefix(&key, "current")) continue;
    if (absl::StartsWith(absl::StripLeadingAsciiWhitespace(key), "=")) return line;
  }
  return lines->end();
}

// Adds the lines, counted from 0, on which the sections below `table` begin; `section` is that of
// the context.
void FindSections(const toml::table& table, const std::string& prefix, const std::string& name,
                  std::set<size_t>* begins, std::optional<size_t>* section) {
  for (const auto& [key, value] : table) {
    const toml::table* const child = value.as_table();
    if (child == nullptr) continue;
    const std::string path = absl::StrCat(prefix, std::string(key.str()));
    const size_t line = child->source().begin.line;
    if (line > 0) begins->insert(line - 1);
    if (line > 0 && path == name) *section = line - 1;
    FindSections(*child, absl::StrCat(path, "."), name, begins, section);
  }
}

// The line on which a section begins: with the comments right above its heading.
size_t BeginOf(size_t heading, const std::vector<std::string>& lines) {
  const auto is_comment = [](absl::string_view line) {
    return absl::StartsWith(absl::StripLeadingAsciiWhitespace(line), "#");
  };
  while (heading > 0 && is_comment(lines[heading - 1])) --heading;
  return heading;
}

}  // namespace

std::string WithCurrent(const std::string& content, const std::string& name) {
  const std::string line = absl::StrCat("current = ", Quoted(name));
  std::vector<std::string> lines = absl::StrSplit(content, '\n');
  const auto present = FindCurrent(&lines);
  if (present == lines.end()) return absl::StrCat(line, "\n", content);
  *present = line;
  return absl::StrJoin(lines, "\n");
}

absl::StatusOr<std::string> WithoutContext(const std::string& content, const std::string& name,
                                           const std::string& path) {
  const absl::Status by_hand = absl::InvalidArgumentError(
      absl::StrCat(path, ": the context \"", name, "\" has no section [contexts.", Quoted(name),
                   "] of its own; delete it with an editor"));
  const toml::parse_result file = toml::parse(content, path);
  const absl::StatusOr<Contexts> before = ParseContexts(content, path);
  if (!before.ok()) return before.status();
  std::set<size_t> begins;
  std::optional<size_t> section;
  for (const auto& [key, value] : file.table()) {
    if (key.str() == "contexts" && value.is_table()) {
      FindSections(*value.as_table(), "", name, &begins, &section);
    }
  }
  std::vector<std::string> lines = absl::StrSplit(content, '\n');
  if (!section || !absl::StartsWith(absl::StripLeadingAsciiWhitespace(lines[*section]), "[")) {
    return by_hand;
  }
  const auto next = begins.upper_bound(*section);
  const size_t end = next == begins.end() ? lines.size() : BeginOf(*next, lines);
  lines.erase(lines.begin() + static_cast<ptrdiff_t>(BeginOf(*section, lines)),
              lines.begin() + static_cast<ptrdiff_t>(end));
  if (next == begins.end()) {
    while (!lines.empty() && lines.back().empty()) lines.pop_back();
    if (!lines.empty()) lines.emplace_back();  // the last line ends
  }
  if (before->current == name) {
    const auto current = FindCurrent(&lines);
    if (current != lines.end()) lines.erase(current);
  }
  std::string without = absl::StrJoin(lines, "\n");
  // A file may have its other contexts in other ways than in sections.
  const absl::StatusOr<Contexts> after = ParseContexts(without, path);
  const std::string current = before->current == name ? "" : before->current;
  const bool right = after.ok() && after->Find(name) == nullptr && after->current == current &&
                     after->list.size() + 1 == before->list.size();
  return right ? absl::StatusOr<std::string>(std::move(without)) : by_hand;
}

}  // namespace vmeventd::client
