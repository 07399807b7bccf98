#pragma once

// Names of the services of grpc.health.v1.Health, besides those of the daemon as a whole: "" and
// its gRPC service. docs/monitoring.md lists them.

namespace vmeventd {

// Serves while published events are durable.
inline constexpr char kJournalService[] = "journal";
// The health of the source "QMP sockets": serves while each watched directory exists and can be
// read.
inline constexpr char kWatchService[] = "watch";
// Serves while at least one source is open, so that VMs can be found.
inline constexpr char kSourcesService[] = "sources";
// The health of the source "libvirt": serves if the last attempt to connect succeeded for each
// libvirt that is configured or whose socket matches a glob, and no directory of a glob hangs.
inline constexpr char kLibvirtService[] = "libvirt";
// Serves while all addresses are listened on.
inline constexpr char kListenService[] = "listen";

inline constexpr const char* kHealthServices[] = {kJournalService, kWatchService, kSourcesService,
                                                  kLibvirtService, kListenService};

}  // namespace vmeventd
