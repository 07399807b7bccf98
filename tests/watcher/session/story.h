#pragma once

#include <memory>
#include <string>

namespace vmeventd {

struct StoryVm;  // the VM, and what the story has done with it

// Plays a VM's life, step by step, and checks its verdict, as in
//   Story("STOP; SHUTDOWN guest-shutdown; wait 5s; end 0").ExpectVerdict("USER GUEST_POWEROFF");
//
// Steps, and what a verdict expects, are separated by "; ". A VM runs, and its monitor is attached,
// unless the first step is the word of another start. The tables of words in story.cc are the
// manual: each row has a word, its arguments and what it does. A story with a word that does not
// exist fails and prints the manual.
class Story {
 public:
  // What comes before each step. A handover misses nothing, so it changes no verdict; it is
  // possible wherever the monitor answers. A restart is one of the daemon, which does not reach the
  // monitor again by itself.
  enum class Before { kNothing, kHandover, kRestart };

  // Plays the steps. A check on the way that is not met fails the test, and the life continues.
  // Restarts lose what checks look at, so there are none then.
  explicit Story(const std::string& steps, Before before = Before::kNothing);
  ~Story();
  Story(const Story&) = delete;
  Story& operator=(const Story&) = delete;

  // Fails the test unless the VM has ended as the verdict says. Caveats, an intent and that it
  // never ran must be in the verdict if the end has them. After restarts only another class than
  // the verdict's and UNKNOWN fails.
  void ExpectVerdict(const std::string& verdict) const;

  // All words, a line each.
  static std::string Manual();

 private:
  void Play(const std::string& text);
  // Fails unless the end has the verdict's class, or UNKNOWN.
  void ExpectNoOtherClass(const std::string& verdict) const;
  // Fails unless the end has how the process ended, if that could be seen.
  void ExpectExitStatus() const;

  const Before before_;
  const std::unique_ptr<StoryVm> vm_;
};

}  // namespace vmeventd
