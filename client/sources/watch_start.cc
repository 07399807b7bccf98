#include "client/sources/watch_start.h"

#include <utility>
#include <variant>
#include <vector>

#include "client/connect/server_address.h"
#include "client/output/node_event.h"
#include "client/sources/events_command.h"
#include "client/sources/fleet_source.h"
#include "client/sources/make_source.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {

std::optional<Failure> SetStart(const Servers& servers, const WatchPositions& positions,
                                uint64_t last, const PrintSentence& note, WatchCommand* command) {
  Servers asked = servers;
  std::erase_if(asked.addresses, [&](const auto& one) { return positions.contains(ToText(one)); });
  if (servers.fleet ? positions.contains(kFleetCursorKey) : asked.addresses.empty())
    return std::nullopt;
  const bool alone = asked.addresses.size() <= 1;
  EventsCommand list;
  *list.request.mutable_filter() = command->filter;
  if (const auto* from = std::get_if<FromTime>(&command->start)) {
    list.SetTimes(from->time, std::nullopt);
  }
  list.last = last;
  std::optional<NodeEvent> oldest;
  uint64_t read = 0;
  auto failure = ListsOf(asked, /*named=*/false, note)->ReadEvents(list, [&](NodeEvent event) {
    if (list.counts(event)) ++read;
    oldest = std::move(event);
    return read < last;
  });
  if (failure && alone) return failure;
  if (failure) note(failure->sentence);
  // There are no more than these events: the start stays unchanged.
  if (!failure && read < last) return std::nullopt;
  if (!oldest) {
    command->start = FromNow{};
  } else if (alone) {
    const uint64_t sequence =
        servers.fleet ? oldest->resume_after.position.sequence : oldest->event.sequence();
    command->start = FromSequence{sequence - 1, ""};
  } else {
    command->start = FromTime{FromTimestamp(oldest->event.observe_time())};
  }
  return std::nullopt;
}

}  // namespace vmeventd::client
