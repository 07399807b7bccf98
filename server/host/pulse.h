#pragma once

#include <atomic>
#include <cstdint>

namespace vmeventd {

// Finds out whether a thread, which is woken once a second, still does its turns.
class Pulse {
 public:
  // A thread that has answered none of this many last questions is silent. Counts questions instead
  // of time, because time also passes while the whole process is stopped.
  static constexpr int kQuestions = 5;

  // Asks the thread once more. Returns whether it is silent. One thread.
  bool Ask();
  // Records that the thread has done a turn. Any thread.
  void Answer() { answered_ = asked_.load(); }

 private:
  std::atomic<uint64_t> asked_ = 0;
  std::atomic<uint64_t> answered_ = 0;
  int unanswered_ = 0;
};

}  // namespace vmeventd
