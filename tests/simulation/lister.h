#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/simulation/daemon.h"
#include "tests/simulation/judge.h"
#include "tests/simulation/random.h"
#include "tests/simulation/story.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::simulation {

// A client that lists events page by page. In its pauses, retention deletes events and daemons end;
// its tokens must survive that. Compares the pages with the judge's knowledge: no event may come
// twice or out of order, and none may be missing unless the call ended with OUT_OF_RANGE.
class Lister {
 public:
  Lister(int number, Kernel* kernel, Random* random, Story* story, const Judge* judge);

  // Sends a request, or abandons the current listing. False: there is nothing to do now.
  bool Turn(Daemon* daemon);
  // Time at which it continues by itself.
  absl::Duration next() const { return pause_until_; }
  // The daemon and the call are gone.
  void Disconnect() { call_ = nullptr; }

 private:
  // A call, with the limits of what was public when it was made.
  struct Call {
    bool cancelled = false;
    bool forged = false;  // uses a token of another request
    uint64_t newest = 0;
    uint64_t unbroken_from = 1;
  };

  void Begin();
  void Ask(Daemon* daemon);
  // Returns whether several runs with the name have not ended yet.
  bool SeveralRun(const std::string& name) const;
  // Requests the VM with a name, and checks the answer: the open run, or the run that stopped last.
  void AskVm(Daemon* daemon, const std::string& name) const;
  void OnAnswer(const Daemon& daemon, const Call& call, const absl::StatusOr<std::string>& answer);
  void TakePage(const Daemon& daemon, const Call& call, const v1::ListEventsResponse& page);
  // Checks that there is an excuse for each event between the two, none of which came.
  void Skip(uint64_t above, uint64_t below, uint64_t oldest);
  bool IsListed(const v1::Event& event) const;
  // Sequence of the next event that must come, of those up to `newest`; 0: none.
  uint64_t FirstAfter(uint64_t done, uint64_t newest) const;
  template <typename... Parts>
  void Fail(const Parts&... what) const {
    story_->Fail(name_, ": ", what...);
  }

  const std::string name_;
  Kernel* const kernel_;
  Random* const random_;
  Story* const story_;
  const Judge* const judge_;
  absl::Duration pause_until_ = absl::ZeroDuration();

  v1::ListEventsRequest question_;
  std::string token_;           // empty: the first page is next
  uint64_t token_newest_ = 0;   // the newest event when the token was made
  std::string token_journal_;   // the journal when the token was made
  uint64_t done_ = 0;           // events up to here (or down to here) have been handled
  std::shared_ptr<Call> call_;  // the call that waits for its answer
};

}  // namespace vmeventd::simulation
