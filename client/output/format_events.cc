#include <cstddef>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/output/cells.h"
#include "client/output/colors.h"
#include "client/output/detail_text.h"
#include "client/output/enum_names.h"
#include "client/output/formatter.h"
#include "client/output/json.h"
#include "client/output/json_with_texts.h"
#include "client/output/vm_text.h"
#include "nlohmann/json.hpp"
#include "watcher/core/proto_time.h"

// Events, and counts of them.

namespace vmeventd::client {
namespace {

Color TypeColor(v1::EventType type) {
  switch (type) {
    case v1::EVENT_TYPE_STOPPED:
    case v1::EVENT_TYPE_STARTED:
      return Color::kBold;
    case v1::EVENT_TYPE_GUEST_PANICKED:
    case v1::EVENT_TYPE_WATCHDOG_EXPIRED:
    case v1::EVENT_TYPE_IO_ERROR:
    case v1::EVENT_TYPE_MEMORY_FAILURE:
      return Color::kRed;
    case v1::EVENT_TYPE_GAP:
    case v1::EVENT_TYPE_MONITOR_LOST:
      return Color::kYellow;
    default:
      return Color::kNone;
  }
}

// The event's name where there is room: of an intent, how it ended.
std::string LongName(const v1::Event& event) {
  const bool ended = event.type() == v1::EVENT_TYPE_INTENT_ENDED &&
                     event.intent_end() != v1::INTENT_END_UNSPECIFIED;
  return ended ? absl::StrCat("INTENT_", ShortName(event.intent_end())) : ShortName(event.type());
}

}  // namespace

Formatter::Row Formatter::EventRow(const NodeEvent& one, bool reserve) const {
  const auto least = [reserve](size_t width) { return reserve ? width : 0; };
  const size_t time_width = style_.wide ? 23 : style_.is_brief() ? 16 : 19;
  const size_t name_width = style_.width >= 100 ? 20 : style_.nodes ? 12 : 16;
  const v1::Event& event = one.event;
  const bool wide = style_.wide;
  Row row;
  row.Add({"TIME", least(time_width)},
          {TimeText(FromTimestamp(event.observe_time())), Color::kDim});
  if (style_.nodes) {
    row.Add(NameColumn("NODE", least(std::max<size_t>(LineLimit(), 12))), NodeCell(one.node));
  }
  if (wide) row.Add({"SEQUENCE"}, {absl::StrCat(event.sequence())});
  row.Add(NameColumn("VM", least(name_width)), {event.vm().name(), Color::kBold});
  row.Add({"EVENT", wide ? 22U : 10U},
          {wide ? LongName(event) : TableName(event.type()), TypeColor(event.type())});
  row.Add({"CLASS", 7}, event.has_shutdown() ? ClassCell(event.shutdown()) : Cell{});
  if (wide) {
    row.Add({"STATE", least(11)},
            {event.state() == v1::VM_STATE_UNSPECIFIED ? "" : ShortName(event.state()),
             ColorOf(event.state())});
    row.Add({"RUN", least(48)}, {event.vm().run_id()});
    row.Add({"LABELS", least(8)}, {OrDash(LabelsText(event.vm()))});
  }
  row.Add({"DETAIL"}, {absl::StrCat(event.durable() ? "" : "(not durable) ",
                                    DetailText(event, style_.zone, wide))});
  return row;
}

absl::StatusOr<std::string> Formatter::FormatEvents(Events events) {
  for (const NodeEvent& one : events) NoteCluster(one.node);
  return FormatList(
      events,
      [](const NodeEvent& one) {
        return one.event.vm().name();
      },  // empty for the node's own events
      [this](const NodeEvent& one) -> absl::StatusOr<std::string> {
        if (!style_.node_events && !one.event.has_vm()) return "";
        return style_.texts ? ToJsonWithTexts(one, style_.zone) : ToJson(one.event, one.node);
      },
      [this, &events](const NodeEvent& one) { return EventRow(one, events.empty()); },
      &event_layout_);
}

absl::StatusOr<std::string> Formatter::FormatCounts(const std::string& by, const std::string& what,
                                                    const NodeCounts& counts, bool csv) {
  if (csv) {
    const auto quoted = [](absl::string_view text) {
      return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\"", "\"\""}}), "\"");
    };
    std::string text = style_.headings ? absl::StrCat(by, ",events\n") : "";
    for (const NodeCount& one : counts) {
      absl::StrAppend(&text, quoted(EscapeForTerminal(one.key)), ",", one.events, "\n");
    }
    return text;
  }
  const auto make_row = [&](const NodeCount& one) {
    Row row;
    row.Add({absl::AsciiStrToUpper(what), 6}, {absl::StrCat(one.events)});
    row.Add({absl::AsciiStrToUpper(by)}, {one.key, Color::kBold});
    return row;
  };
  return FormatList(
      counts, [](const NodeCount& one) { return one.key; },
      [&by](const NodeCount& one) {
        return ObjectOf({{by, JsonText(one.key)}, {"events", absl::StrCat(one.events)}});
      },
      make_row);
}

}  // namespace vmeventd::client
