#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "server/fleet/fleet_position.h"
#include "server/fleet/fleet_sink.h"

// Finds what a log has under the node's name. One thread, the sink's.

namespace vmeventd {

// Limit of messages per request. Nodes that come back together must not fill the servers' queue of
// requests, which drops all of them at 10,000.
inline constexpr size_t kMaxAsked = 32;
// Limit of others' messages under the node's name that a search passes over.
inline constexpr size_t kMaxPassed = 4096;

// Calls `use` for the node's messages at the places from `first` to `last`, in no order. Returns
// the place up to which all were found: `last`, or less if there are more than about `limit`.
absl::StatusOr<uint64_t> ReadStored(FleetSink* sink, FleetSink::Where where, uint64_t first,
                                    uint64_t last, size_t limit,
                                    const std::function<void(const FleetStored&)>& use);

// The last event of a journal at the places [first, before); nullopt: there is none, or none behind
// more than kMaxPassed others.
absl::StatusOr<FleetSink::Stored> FindLast(FleetSink* sink, const std::string& journal_id,
                                           uint64_t first, uint64_t before);

// Returns the events of `after.journal_id` later than `after.sequence` that are stored behind
// `after.stream_sequence`, up to the place `last`; events behind more than kMaxPassed others may be
// missing. OUT_OF_RANGE: more than `limit` of the journal's are there.
absl::StatusOr<std::set<uint64_t>> FindStored(FleetSink* sink, const FleetPosition& after,
                                              uint64_t last, size_t limit);

}  // namespace vmeventd
