#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/sinks/push_command.h"
#include "client/sinks/push_log.h"

// The files of a push, in a directory of its own.

namespace vmeventd::client {

inline constexpr uint64_t kMaxSetAside = 64 << 20;  // limit of the file of what was set aside

// The files of a push.
struct PushFiles {
  std::string directory;
  std::string cursor() const { return directory + "/cursor.json"; }
  std::string state() const { return directory + "/state.json"; }
  std::string lock() const { return directory + "/.cursor.json.lock"; }  // of a push that runs
  std::string set_aside() const { return directory + "/set-aside.jsonl"; }
  std::string retry() const { return directory + "/retry.jsonl"; }  // what to send again
  std::string name() const { return std::filesystem::path(directory).filename(); }
};

// The files of the command's push, whose target has this key. INVALID_ARGUMENT: there is no
// directory for them.
absl::StatusOr<PushFiles> FilesOf(const PushCommand& command, const std::string& key);

// Makes the directory. FAILED_PRECONDITION: every user may write into it.
absl::Status MakeDirectory(const PushFiles& files);

// NOT_FOUND: there is no state yet. FAILED_PRECONDITION: the file is none.
absl::StatusOr<PushState> ReadState(const PushFiles& files);

// Returns whether such a push runs.
bool Runs(const PushFiles& files);

}  // namespace vmeventd::client
