#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace vmeventd::client {

// Prints a sentence, which is safe for a terminal, to standard error.
using PrintSentence = std::function<void(const std::string&)>;

// Writes the whole text. Returns 0, or the errno of the call that failed.
int WriteFully(int descriptor, absl::string_view text);

// The destination of results. One thread.
class Output {
 public:
  virtual ~Output() = default;

  // Returns after the whole text is written. CANCELLED: the reader has closed a pipe, which is not
  // a failure of this program; the message of any other error names the fault.
  virtual absl::Status Write(absl::string_view text) = 0;
};

// Writes to a descriptor that it does not own. The caller must ignore SIGPIPE.
class DescriptorOutput : public Output {
 public:
  explicit DescriptorOutput(int descriptor) : descriptor_(descriptor) {}
  absl::Status Write(absl::string_view text) override;

 private:
  const int descriptor_;
};

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
