#pragma once

#include <optional>
#include <string>

#include "client/connect/failure.h"
#include "client/output/formatter.h"
#include "client/output/output.h"
#include "client/sources/list_source.h"

// `events`: lists events of the past.

namespace vmeventd::client {

// Prints the answer and returns nothing, or the failure. An output whose reader has gone is no
// failure. Of an empty list it prints nothing: what that means becomes `empty`.
std::optional<Failure> RunList(const EventsCommand& command, ListSource* source,
                               Formatter* formatter, Output* output, std::string* empty);

}  // namespace vmeventd::client
