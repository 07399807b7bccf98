#pragma once

#include <optional>
#include <variant>
#include <vector>

#include "watcher/core/process_end.h"
#include "watcher/core/vm_update.h"
#include "watcher/session/question.h"

namespace vmeventd {

// Actions that a session requests. The caller carries them out in the order of Effects.
struct Publish {
  VmUpdate update;
};
// Create or remove NAME.shutdown, then pass FileDone to the session.
struct SetShutdownFile {
  bool there;
};
// Ask QEMU, then pass the answer to the session.
struct AskQemu {
  Question question;
};
// Read the states of QEMU's threads, and pass Threads to the session at once.
struct ExamineThreads {};
// Read QEMU's last words, and pass WordsRead to the session at once or soon: the end waits for it.
struct ReadLastWords {
  std::optional<ExitStatus> status;  // of its process; unset: not known
};
// The run is over and its end published: drop the session.
struct Done {};
using Effect = std::variant<Publish, SetShutdownFile, AskQemu, ExamineThreads, ReadLastWords, Done>;
using Effects = std::vector<Effect>;

inline bool IsPublish(const Effect& effect) { return std::holds_alternative<Publish>(effect); }
inline bool HasEvent(const Effect& effect) {
  return IsPublish(effect) && std::get<Publish>(effect).update.event.has_value();
}

}  // namespace vmeventd
