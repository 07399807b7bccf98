#pragma once

#include <string>

#include "absl/status/status.h"

// Changes to a database, such as the journal, that its owner does not make.

namespace vmeventd {

// Runs SQL on the database at `path`; creates the database if there is none.
absl::Status ExecuteSql(const std::string& path, const std::string& sql);
// Overwrites the first page of a database, which may be open. Every new connection sees the damage.
void GarbleDatabase(const std::string& path);

}  // namespace vmeventd
