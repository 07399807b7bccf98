#pragma once

// Names of services of grpc.health.v1.Health. The daemon as a whole is "" and its gRPC service, and
// a source of VMs may have a service of its own (SourceKind::health_service). docs/monitoring.md
// lists them all.

namespace vmeventd {

// Serves while published events are durable.
inline constexpr char kJournalService[] = "journal";
// Serves while at least one source is open, so that VMs can be found.
inline constexpr char kSourcesService[] = "sources";
// Serves while all addresses are listened on.
inline constexpr char kListenService[] = "listen";

}  // namespace vmeventd
