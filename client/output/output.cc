#include "client/output/output.h"

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "client/output/write_fully.h"

namespace vmeventd::client {

absl::Status DescriptorOutput::Write(absl::string_view text) {
  const int error = WriteFully(descriptor_, text);
  if (error == 0) return absl::OkStatus();
  if (error == EPIPE) return absl::CancelledError("the reader of the output has closed it");
  return absl::UnavailableError(absl::StrCat("cannot write to standard output: ", strerror(error)));
}

}  // namespace vmeventd::client
