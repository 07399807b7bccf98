#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// The client's own files. The functions block as long as the file system does.

namespace vmeventd::client {

// Replaces the content of a file atomically: a crash leaves the old or the new content. Writes a
// file ".NAME.new" in the same directory, syncs it, renames it to `path`, and syncs the directory.
// A new file gets the mode `mode`; an existing one keeps its mode. FAILED_PRECONDITION: `path` is a
// link or not a regular file. Other errors name the file and the cause. One writer at a time.
absl::Status WriteFileAtomically(const std::string& path, absl::string_view content,
                                 mode_t mode = 0600);

// Appends whole lines to a file that only its owner can use. When it returns OK, they survive a
// crash; after an error the file is unchanged. Opens the file for each call, so a person may move
// it away. RESOURCE_EXHAUSTED: it would exceed `max_bytes`. FAILED_PRECONDITION: it is a link, not
// a regular file, or others can use it. UNAVAILABLE: the disk failed. One writer.
absl::Status AppendDurably(const std::string& path, absl::string_view lines, uint64_t max_bytes);

// Reads a regular file of at most `limit` bytes. NOT_FOUND: there is no such file.
// FAILED_PRECONDITION: it is a link, not a regular file, or larger. Other errors name the cause.
absl::StatusOr<std::string> ReadPlainFile(const std::string& path, size_t limit);

}  // namespace vmeventd::client
