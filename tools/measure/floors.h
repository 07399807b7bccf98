#pragma once

#include <string>

// The least that a program must do for what vmeventd does, each as small as it can be written.

namespace vmeventd::bench {

// A server of WatchEvents that knows nothing of VMs. For each line of its standard input, a number
// of events, it makes that many events of about the size of vmeventd's, and sends each to every
// open stream as a typed message of its own. With a `file` it appends each event to that and has it
// on the disk (fdatasync) before it sends it. Returns at the input's end.
void RunGrpcFloor(const std::string& address, const std::string& file);

// Connects to each socket in `directory`, and creates NAME.shutdown once the peer closes it; writes
// a line when all are connected. Returns when all are closed.
void RunFileFloor(const std::string& directory);

}  // namespace vmeventd::bench
