#include "client/commands/events.h"

#include <cstddef>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/commands/label_hint.h"
#include "client/commands/print.h"
#include "client/commands/run_hint.h"
#include "client/output/node_event.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

// Explains that no event matches.
std::string NothingFound(const EventsCommand& command, ListSource* source, absl::TimeZone zone) {
  const v1::ListEventsRequest& request = command.request;
  if (request.has_start_time() && FromTimestamp(request.start_time()) > absl::Now()) {
    return "no events match: --since is in the future; a time without a date is one of today";
  }
  std::string begin;
  EventsCommand oldest;
  oldest.limit = 1;
  const auto unread = source->ReadEvents(oldest, [&](const NodeEvent& one) {
    begin = absl::FormatTime("%Y-%m-%d %H:%M:%S", FromTimestamp(one.event.observe_time()), zone);
    return false;
  });
  const std::string why =
      absl::StrCat(ExplainLabels(request.filter(), source), ExplainRuns(request.filter(), source));
  if (unread) return absl::StrCat("no events match", why);
  return absl::StrCat("no events match", why, "; the journal ",
                      begin.empty() ? "has no event" : absl::StrCat("begins ", begin));
}

}  // namespace

std::optional<Failure> RunList(const EventsCommand& command, ListSource* source,
                               Formatter* formatter, Output* output, std::string* empty) {
  constexpr size_t kTogether = 1000;  // events that are printed at once
  bool found = false;
  absl::Status printed;
  NodeEvents events;
  uint64_t left = command.max_events();
  const auto print = [&] {
    const absl::StatusOr<std::string> text = formatter->FormatEvents(events);
    events.clear();
    printed = text.ok() ? output->Write(*text) : text.status();
    return printed.ok();
  };
  std::optional<Failure> failure = source->ReadEvents(command, [&](NodeEvent event) {
    found = true;
    if (command.counts(event)) --left;
    events.push_back(std::move(event));
    return (command.last || events.size() < kTogether || print()) && left > 0;
  });
  if (command.last && !command.request.newest_first()) absl::c_reverse(events);
  if (!events.empty() && printed.ok()) print();
  if (!found && !failure) *empty = NothingFound(command, source, formatter->zone());
  return printed.ok() ? failure : FromPrint(printed);
}

}  // namespace vmeventd::client
