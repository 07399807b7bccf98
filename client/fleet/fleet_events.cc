#include "client/fleet/fleet_events.h"

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "base/nats/subject.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {

MessageNode NodeOf(const FleetOrigin& origin) { return {origin.node, origin.cluster}; }

FleetEventReader::FleetEventReader(std::unique_ptr<StreamReader> reader, const FleetFilter& filter,
                                   Environment environment)
    : reader_(std::move(reader)), matcher_(filter), env_(std::move(environment)) {}

absl::StatusOr<std::unique_ptr<FleetEventReader>> FleetEventReader::Open(NatsConnection* connection,
                                                                         const FleetFilter& filter,
                                                                         const ReadStart& start,
                                                                         Environment environment) {
  auto reader = StreamReader::Open(connection, std::string(kFleetStream), EventSubjects(filter),
                                   start, environment.clock);
  if (!reader.ok()) return reader.status();
  return absl::WrapUnique(new FleetEventReader(*std::move(reader), filter, std::move(environment)));
}

absl::StatusOr<std::optional<FleetEventReader::Item>> FleetEventReader::Next(
    absl::Duration timeout) {
  auto next = reader_->Next(timeout);
  if (!next.ok()) return next.status();
  if (!next->has_value()) return std::nullopt;
  const NatsMessage& message = *(*next)->message;
  Item item{(*next)->stream_sequence, std::nullopt};
  FleetEvent event;
  absl::StatusOr<FleetOrigin> origin = ParseFleetMessage(message, &event.event);
  if (!origin.ok()) {
    if (!std::exchange(noted_, true)) {
      env_.note(absl::StrCat("the message ", item.stream_sequence, " (",
                             EscapeForTerminal(message.subject()), ") of the stream ", kFleetStream,
                             " is no event of vmeventd: ", origin.status().message(),
                             "; it and others like it are left out"));
    }
    return item;
  }
  event.origin = *std::move(origin);
  if (matcher_.Matches(event.origin, event.event)) item.event = std::move(event);
  return item;
}

}  // namespace vmeventd::client
