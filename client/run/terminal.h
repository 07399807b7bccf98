#ifndef VMEVENTD_CLIENT_RUN_TERMINAL_H_
#define VMEVENTD_CLIENT_RUN_TERMINAL_H_

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/connect/failure.h"
#include "client/options/options.h"

// Colours of standard output, and sentences on standard error.

namespace vmeventd::client {

// Settings for terminals, from the environment.
struct Terminal {
  bool color_allowed = false;               // colour, on a terminal
  std::optional<std::string> own_pager;     // $VMEVENTS_PAGER
  std::optional<std::string> common_pager;  // $PAGER
};

// Whether standard output gets colours.
bool HasColor(const CommandLine& line, const Terminal& terminal);

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

#endif  // VMEVENTD_CLIENT_RUN_TERMINAL_H_
