#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "tests/simulation/kernel.h"
#include "tests/simulation/life.h"
#include "tests/simulation/random.h"
#include "tests/simulation/story.h"
#include "watcher/libvirt/libvirt_api.h"

namespace vmeventd::simulation {

inline constexpr char kLibvirtUri[] = "qemu+unix:///system?socket=/run/libvirt/libvirt-sock";
inline constexpr char kPidDirectory[] = "/run/libvirt/qemu";

// The node's libvirtd at the border of its client library, as docs/internals/libvirt.md has
// measured it: its events come while its calls are under way, a list may be late, and its ids begin
// again. The calls come on threads of the daemon, all else on the main thread.
class Libvirtd : public LibvirtApi {
 public:
  Libvirtd(Kernel* kernel, Random* random, Story* story)
      : kernel_(kernel), random_(random), story_(story) {}

  // Returns whether it still has the domain.
  bool Lists(const Life& life) const {
    return runs_ && std::find(domains_.begin(), domains_.end(), &life) != domains_.end();
  }
  bool runs() const { return runs_; }
  absl::Duration started_at() const { return started_at_; }
  // Ends it: its clients lose it. The domains go on.
  void Stop();
  void Start();

  // A domain starts: gives it an id and its pid file.
  void Add(Life* life);
  // Tidies up after a domain that has ended, and says `end` to who listens.
  void Remove(Life* life, ManagerEnd end);
  // Forwards what QEMU says, and says that the domain has started. Listeners get it by `saying`.
  void Forward(Life* life, absl::string_view event, absl::string_view data, Saying* saying);
  void SayStarted(Life* life, bool incoming);
  // An answer of libvirt about its run state.
  void SayRunState(Life* life);

  // The daemon that connects from now on; 0: it ends, and its calls return.
  void set_daemon(int number);
  // The daemon is gone, with its connection.
  void Forget();
  // Marks what was sent until now as handled, if the daemon says so of its connection.
  void AfterLoopTurn(bool has_read);

  absl::StatusOr<std::unique_ptr<Connection>> Open(const std::string& uri,
                                                   const Callback& callback) override;

 private:
  class Client;
  bool IsListened() const { return callback_ != nullptr && link_ != nullptr; }
  // The daemon has lost its connection, if it had one.
  void LoseSight();
  // The next thing that the connection is sent is `saying`.
  void Hear(Life* life, Saying* saying);
  absl::StatusOr<std::vector<ActiveDomain>> List(const ConnectionPtr& link);
  // A call takes its time, in which all else goes on.
  void Take();

  Kernel* const kernel_;
  Random* const random_;
  Story* const story_;
  bool runs_ = true;
  absl::Duration started_at_ = absl::ZeroDuration();
  int64_t last_id_ = 0;
  std::vector<Life*> domains_;  // domains that it knows as running
  int daemon_ = 0;
  Callback callback_;
  ConnectionPtr link_;   // `callback_`'s; null: it has lost it
  bool listed_ = false;  // set after its first list
  Mutex mutex_;
  CondVar ends_;  // calls return at once
};

}  // namespace vmeventd::simulation
