#pragma once

#include <optional>
#include <string>

#include "client/connect/failure.h"
#include "client/output/formatter.h"
#include "client/output/output.h"
#include "client/sources/list_source.h"

namespace vmeventd::client {

// `status`, for programs.
struct StatusCommand {};

// Prints the present state of the nodes, for programs.
std::optional<Failure> RunList(const StatusCommand& command, ListSource* source,
                               Formatter* formatter, Output* output);

}  // namespace vmeventd::client
