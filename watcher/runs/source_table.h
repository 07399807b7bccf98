#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "watcher/runs/run_source.h"

// The table of sources. CONTRIBUTING.md lists what a new source needs.

namespace vmeventd {

class UpdateSink;
class RunTable;
struct RunContext;
struct SourceSpecs;

// A source that a watcher makes.
struct SourceKind {
  // RunInfo::source_key of its runs, by which a restart finds their source. Not of another source.
  const char* key;
  const char* health_service;  // null: none of its own
  // Prepares the program, such as its environment, while it has one thread. Null: nothing to do.
  void (*prepare_process)() = nullptr;
  // Loads the library without which the source cannot follow what `specs` names, for `make`. The
  // error names the library that is missing. Blocks while the files are read. Null: it needs none.
  std::function<absl::Status(const SourceSpecs& specs)> load_library;
  // Makes the source. `context` and `sink` outlive it. `table` is destroyed before the source,
  // whose destructor must not use it. An error names the system resource that could not be had.
  std::function<absl::StatusOr<std::unique_ptr<RunSource>>(RunContext* context, RunTable* table,
                                                           UpdateSink* sink)>
      make;
};

// The sources, in the order in which the watcher makes them and reports their health.
using SourceTable = std::vector<SourceKind>;

}  // namespace vmeventd
