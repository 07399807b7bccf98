#pragma once

#include <string>

// Minimal programs that do parts of vmeventd's work, to measure the least that this work costs.

namespace vmeventd::bench {

// A server of WatchEvents that knows nothing about VMs. Each line of its standard input is a number
// of events: it makes this number of events, of about the size of vmeventd's, and sends each to
// every open stream as a separate typed message. With a `file` it first appends each event to the
// file and syncs it (fdatasync). Returns at the end of the input.
void RunGrpcFloor(const std::string& address, const std::string& file);

// Connects to each socket in `directory`, and creates NAME.shutdown when the peer closes the
// connection. Writes a line when all are connected. Returns when all are closed.
void RunFileFloor(const std::string& directory);

}  // namespace vmeventd::bench
