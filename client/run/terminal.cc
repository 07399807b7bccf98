#include "client/run/terminal.h"

#include <unistd.h>

#include <iostream>

namespace vmeventd::client {

bool HasColor(const CommandLine& line, const Terminal& terminal) {
  return line.color == ColorMode::kAlways ||
         (line.color == ColorMode::kAuto && terminal.color_allowed && isatty(STDOUT_FILENO) == 1);
}

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

void LateNotes::Add(const std::string& sentence) {
  const std::lock_guard<std::mutex> lock(mutex_);
  sentences_.push_back(sentence);
}

void LateNotes::Print() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const std::string& sentence : sentences_) PrintNote(sentence);
}

}  // namespace vmeventd::client
