#pragma once

#include <optional>
#include <string>

#include "client/connect/failure.h"
#include "client/output/formatter.h"
#include "client/output/output.h"
#include "client/sources/events_command.h"
#include "client/sources/list_source.h"

// `events`: lists events of the past.

namespace vmeventd::client {

// Prints the answer. Returns the failure, if there is one; an output whose reader has gone is no
// failure. Prints nothing for an empty list, and sets `*empty` to what that means.
std::optional<Failure> RunList(const EventsCommand& command, ListSource* source,
                               Formatter* formatter, Output* output, std::string* empty);

}  // namespace vmeventd::client
