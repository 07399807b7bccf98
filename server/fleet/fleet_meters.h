#pragma once

#include "base/counter.h"

namespace vmeventd {

// Counts of the publishing. The publisher counts, any thread reads.
struct FleetMeters {
  Level connected;            // 1: to a server that has the stream
  Level position;             // everything up to this sequence is in the stream
  Counter connects;           // connections that were made
  Counter failures;           // attempts to connect, and batches, that failed
  Counter published_events;   // acknowledged events
  Counter repeated_events;    // those of them that the stream had already: it kept one of each
  Counter late_events;        // events stored behind a later one of the node, after a batch failed
  Counter lost_events;        // events deleted before publishing, or refused: a GAP says so
  Counter streams_lost;       // streams that were recreated, restored or purged
  Counter name_conflicts;     // other nodes that publish under this node's name
  Counter state_writes;       // values of the VMs' bucket that were written or deleted
  Level state_vms;            // VMs whose state is in the bucket
  Counter heartbeats;         // heartbeats written
  Level nodes;                // nodes of the fleet with a heartbeat, as counted last
  Counter bucket_failures;    // failed attempts to use a bucket
  Counter position_failures;  // failures to write the position
};

}  // namespace vmeventd
