#include "client/settings/contexts.h"

#include <algorithm>
#include <sstream>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace vmeventd::client {
namespace {

constexpr char kKeys[] = "servers, tls-ca, tls-cert, tls-key, tls-server-name and credentials";

// Reads one file.
class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {
    const size_t slash = path.rfind('/');
    directory_ = slash == std::string::npos ? "" : path.substr(0, slash + 1);
  }

  absl::StatusOr<Contexts> Read(const std::string& content) {
    std::istringstream stream(content);
    for (const CLI::ConfigItem& item : CLI::ConfigTOML().from_config(stream)) {
      // CLI11's marks of the beginning and the end of a section.
      if (item.name == "++" || item.name == "--") continue;
      const absl::Status status = Take(item);
      if (!status.ok()) return status;
    }
    for (const Context& context : contexts_.list) {
      if (context.servers.empty()) {
        return Wrong(absl::StrCat("the context \"", context.name, "\" has no servers"));
      }
    }
    return contexts_;
  }

 private:
  absl::Status Wrong(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": ", what));
  }

  absl::Status Take(const CLI::ConfigItem& item) {
    if (item.parents.empty()) {
      if (item.name != "current") {
        return Wrong(absl::StrCat("\"", item.name,
                                  "\" is not known here; use current = \"NAME\" "
                                  "and sections [contexts.NAME]"));
      }
      return TakeText(item, &contexts_.current);
    }
    if (item.parents.front() != "contexts" || item.parents.size() < 2) {
      return Wrong(absl::StrCat("the section [", absl::StrJoin(item.parents, "."),
                                "] is not known; use [contexts.NAME]"));
    }
    // CLI11 splits "node1.example", also in quotes.
    std::string name = absl::StrJoin(item.parents.begin() + 1, item.parents.end(), ".");
    name.erase(std::remove(name.begin(), name.end(), '"'), name.end());
    return TakeOfContext(item, ContextOf(name));
  }

  Context* ContextOf(const std::string& name) {
    for (Context& context : contexts_.list) {
      if (context.name == name) return &context;
    }
    contexts_.list.push_back({name, {}, {}, ""});
    return &contexts_.list.back();
  }

  absl::Status TakeOfContext(const CLI::ConfigItem& item, Context* context) {
    if (item.name == "servers" || item.name == "server") {
      context->servers.insert(context->servers.end(), item.inputs.begin(), item.inputs.end());
      return absl::OkStatus();
    }
    if (item.name == "tls-ca") return TakeFile(item, &context->tls.ca_file);
    if (item.name == "tls-cert") return TakeFile(item, &context->tls.cert_file);
    if (item.name == "tls-key") return TakeFile(item, &context->tls.key_file);
    if (item.name == "credentials") return TakeFile(item, &context->credentials);
    if (item.name == "tls-server-name") return TakeText(item, &context->tls.server_name);
    return Wrong(absl::StrCat("\"", item.name, "\" of the context \"", context->name,
                              "\" is not known; the keys are ", kKeys));
  }

  absl::Status TakeText(const CLI::ConfigItem& item, std::string* text) const {
    if (item.inputs.size() != 1 || item.inputs[0].empty()) {
      return Wrong(absl::StrCat("\"", item.name, "\" needs one text in quotes"));
    }
    *text = item.inputs[0];
    return absl::OkStatus();
  }

  absl::Status TakeFile(const CLI::ConfigItem& item, std::string* file) const {
    absl::Status status = TakeText(item, file);
    if (status.ok() && !absl::StartsWith(*file, "/")) *file = absl::StrCat(directory_, *file);
    return status;
  }

  const std::string path_;
  std::string directory_;
  Contexts contexts_;
};

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

std::string WithCurrent(const std::string& content, const std::string& name) {
  const std::string line = absl::StrCat("current = \"", name, "\"");
  std::vector<std::string> lines = absl::StrSplit(content, '\n');
  for (std::string& present : lines) {
    absl::string_view text = absl::StripLeadingAsciiWhitespace(present);
    if (absl::StartsWith(text, "[")) break;  // the keys before the first section are over
    if (!absl::ConsumePrefix(&text, "current")) continue;
    if (!absl::StartsWith(absl::StripLeadingAsciiWhitespace(text), "=")) continue;
    present = line;
    return absl::StrJoin(lines, "\n");
  }
  return absl::StrCat(line, "\n", content);
}

}  // namespace vmeventd::client
