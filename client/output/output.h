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

// Writes all of the text. Returns 0, or the errno of what fails.
int WriteFully(int descriptor, absl::string_view text);

// The destination of results. One thread.
class Output {
 public:
  virtual ~Output() = default;

  // Returns once all of `text` is written. CANCELLED: the reader has closed a pipe, which is not a
  // failure of this program; the message of any other error names the fault.
  virtual absl::Status Write(absl::string_view text) = 0;
};

// Writes to a descriptor, which it does not own. The caller must ignore SIGPIPE.
class DescriptorOutput : public Output {
 public:
  explicit DescriptorOutput(int descriptor) : descriptor_(descriptor) {}
  absl::Status Write(absl::string_view text) override;

 private:
  const int descriptor_;
};

// Replaces the content of a file at once: a crash leaves the old content or the new one. Writes a
// file ".NAME.new" beside it, syncs it, renames it over `path`, and syncs the directory. A new file
// has the mode `mode`; an existing one keeps its own. FAILED_PRECONDITION: `path` is a link or no
// regular file. Other errors name the file and the cause. One writer at a time.
absl::Status WriteFileAtomically(const std::string& path, absl::string_view content,
                                 mode_t mode = 0600);

// Adds whole lines to a file that belongs to its owner alone, and returns when they survive a
// crash; after an error the file is as it was. Opens it for each addition, so that a person may
// move it away. RESOURCE_EXHAUSTED: it would have more than `max_bytes`. FAILED_PRECONDITION: it
// is a link, no regular file, or not its owner's alone. UNAVAILABLE: the disk's fault. One writer.
absl::Status AppendDurably(const std::string& path, absl::string_view lines, uint64_t max_bytes);

// The content of a regular file of at most `limit` bytes. NOT_FOUND: there is no such file.
// FAILED_PRECONDITION: it is a link, no regular file, or larger. Other errors name the cause.
absl::StatusOr<std::string> ReadPlainFile(const std::string& path, size_t limit);

}  // namespace vmeventd::client
