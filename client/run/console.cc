#include "client/run/console.h"

#include <iostream>

namespace vmeventd::client {

void PrintNote(const std::string& sentence) {
  std::cerr << "vmevents: " + sentence + "\n" << std::flush;
}

ExitCode Fail(const Failure& failure) {
  PrintNote(failure.sentence);
  return failure.code;
}

ExitCode Fail(const absl::Status& status) {
  return Fail(Failure{ExitCode::kFailed, std::string(status.message())});
}

}  // namespace vmeventd::client
