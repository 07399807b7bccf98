// An event and the name of its node, as anybody who may publish into a fleet's stream sends them,
// in every form in which vmevents shows them. Input: the origin, a newline, the event.

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/utf8.h"
#include "client/fleet/fleet_message.h"
#include "client/output/formatter.h"
#include "client/output/table_style.h"
#include "client/sinks/event_variables.h"
#include "nlohmann/json.hpp"

namespace {

using namespace vmeventd;  // NOLINT(google-build-using-namespace): it calls nothing else

void Require(bool condition) {
  if (!condition) std::abort();
}

// A terminal shows such a text and obeys none of it.
void RequireHarmless(absl::string_view text) {
  while (!text.empty()) {
    const Utf8Character character = DecodeUtf8(text);
    Require(character.length > 0);
    Require(text[0] == '\n' || !IsHiddenCharacter(character.code_point));
    text.remove_prefix(character.length);
  }
}

}  // namespace

void Fuzz_event_formats(absl::string_view input) {
  const size_t end = input.find('\n');
  if (end == absl::string_view::npos) return;
  const std::string source(input.substr(0, end));
  const std::vector<std::string> parts = absl::StrSplit(source, '/');
  if (parts.size() < 4) return;
  client::NodeEvents events(1);
  const auto origin = client::ParseFleetMessage(
      {.subject = absl::StrCat("vmevents.v1.", parts[2], ".", parts[3], ".vm.paused"),
       .data = std::string(input.substr(end + 1)),
       .headers = {{"ce-source", source}, {"ce-type", "vmevents.v1.paused"}}},
      &events[0].event);
  if (!origin.ok()) return;
  events[0].node = *origin;

  client::Formatter json(client::Form::kJson);
  const auto line = json.FormatEvents(events);
  // A time or a detail may have no form in JSON: then it is an error and no abort.
  Require(!line.ok() || nlohmann::json::accept(*line));
  client::Formatter names(client::Form::kName);
  const auto name = names.FormatEvents(events);
  Require(name.ok());
  RequireHarmless(*name);
  for (const bool wide : {false, true}) {
    client::TableStyle style;
    style.nodes = true;
    style.wide = wide;
    client::Formatter table(client::Form::kTable, std::move(style));
    const auto row = table.FormatEvents(events);
    Require(row.ok());
    RequireHarmless(*row);
  }
  for (const auto& [variable, value] : client::EventVariables(events[0].event, *origin)) {
    Require(value.find('\0') == std::string::npos);
  }
}
