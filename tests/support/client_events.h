#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "server/events/event_codec.h"
#include "server/events/event_record.h"
#include "server/events/logged_event.h"
#include "vmeventd/v1/vm_events.pb.h"

// Events in the form that a client gets.

namespace vmeventd {

inline v1::Event EventOf(const EventRecord& record, bool durable = true) {
  std::string field;
  AppendEvent(record, &field);
  field.back() = durable ? 1 : 0;
  return Parsed<v1::ListEventsResponse>(field).events(0);
}

inline std::vector<v1::Event> EventsOf(const std::vector<EventPtr>& events) {
  std::vector<v1::Event> out;
  out.reserve(events.size());
  for (const EventPtr& event : events) out.push_back(EventOf(*event));
  return out;
}

// The sequence of each event, and whether it is durable.
inline std::vector<std::pair<uint64_t, bool>> Durability(const std::vector<v1::Event>& events) {
  std::vector<std::pair<uint64_t, bool>> out;
  out.reserve(events.size());
  for (const v1::Event& event : events) out.emplace_back(event.sequence(), event.durable());
  return out;
}

// Returns the first GAP; null: there is none.
inline const v1::Event* FindGap(const std::vector<v1::Event>& events) {
  for (const v1::Event& event : events) {
    if (event.has_missing()) return &event;
  }
  return nullptr;
}

}  // namespace vmeventd
