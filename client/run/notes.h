#ifndef VMEVENTD_CLIENT_RUN_NOTES_H_
#define VMEVENTD_CLIENT_RUN_NOTES_H_

#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/connect/exit_code.h"
#include "client/connect/rpc_failure.h"

// What vmevents says on standard error.

namespace vmeventd::client {

// Prints "vmevents: SENTENCE". It must be safe for a terminal. Any thread.
void PrintNote(const std::string& sentence);
// Prints why the command failed; what it ends with.
ExitCode Fail(const Failure& failure);
ExitCode Fail(const absl::Status& status);

// Keeps sentences until the pager, which would hide them, has ended. Any thread.
class LateNotes {
 public:
  void Add(const std::string& sentence);
  void Print();

 private:
  std::mutex mutex_;
  std::vector<std::string> sentences_;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_RUN_NOTES_H_
