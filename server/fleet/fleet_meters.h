#pragma once

#include "base/counter.h"

namespace vmeventd {

// Counts of the publishing. The publisher counts, any thread reads.
struct FleetMeters {
  Level connected;            // 1: to a server that has the stream
  Level position;             // everything up to this sequence is in the stream
  Counter connects;           // connections that were made
  Counter failures;           // attempts to connect, and batches, that failed
  Counter published_events;   // acknowledged
  Counter repeated_events;    // of these, so many were in the stream already: it kept one of each
  Counter late_events;        // stored behind a later event of the node, after a batch failed
  Counter lost_events;        // deleted before they were published, or refused: a GAP says so
  Counter streams_lost;       // streams that were made again, restored or purged
  Counter name_conflicts;     // other nodes that publish under this node's name
  Counter state_writes;       // values of the VMs' bucket that were written or deleted
  Level state_vms;            // VMs whose state is in the bucket
  Counter heartbeats;         // written
  Level nodes;                // of the fleet that have a heartbeat, as they were counted last
  Counter bucket_failures;    // attempts to use a bucket that failed
  Counter position_failures;  // times that the position could not be written
};

}  // namespace vmeventd
