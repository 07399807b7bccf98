#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/sinks/push_command.h"
#include "client/sinks/push_log.h"

// The files of a push. Each push has its own directory.

namespace vmeventd::client {

// Maximum size of the file set_aside(), in bytes.
inline constexpr uint64_t kMaxSetAside = 64 << 20;

// The files of a push.
struct PushFiles {
  std::string directory;
  std::string cursor() const { return directory + "/cursor.json"; }
  std::string state() const { return directory + "/state.json"; }
  std::string lock() const { return directory + "/.cursor.json.lock"; }  // held while the push runs
  std::string set_aside() const { return directory + "/set-aside.jsonl"; }
  // Lines of set_aside() to send again.
  std::string retry() const { return directory + "/retry.jsonl"; }
  std::string name() const { return std::filesystem::path(directory).filename(); }
};

// Returns the files for a command whose target has this key. INVALID_ARGUMENT: there is no
// directory for them.
absl::StatusOr<PushFiles> FilesOf(const PushCommand& command, const std::string& key);

// Makes the directory. FAILED_PRECONDITION: every user may write to it.
absl::Status MakeDirectory(const PushFiles& files);

// Reads the state. NOT_FOUND: there is none yet. FAILED_PRECONDITION: the file is not a state.
absl::StatusOr<PushState> ReadState(const PushFiles& files);

// Returns whether a push with these files runs.
bool IsPushRunning(const PushFiles& files);

}  // namespace vmeventd::client
