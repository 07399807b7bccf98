#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "client/doctor/node_facts.h"

// Commands of several parts of a diagnosis.

namespace vmeventd::client {

// The line that adds a setting to a systemd unit.
std::string ChangeUnit(const std::string& unit, absl::string_view file, absl::string_view setting);

// The command of docker or podman for the container of this cgroup, which is a path or the text of
// a cgroup file; unset: it is not a container of these engines.
std::optional<std::string> EngineCommand(const std::string& cgroup, absl::string_view command);
// The command that thaws the frozen cgroup of a QEMU.
std::string ThawCommand(const NodeProcess& qemu);

}  // namespace vmeventd::client
