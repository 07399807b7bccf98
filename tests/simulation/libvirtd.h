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
#include "tests/simulation/report.h"
#include "tests/simulation/story.h"
#include "watcher/libvirt/libvirt_api.h"

namespace vmeventd::simulation {

inline constexpr char kLibvirtUri[] = "qemu+unix:///system?socket=/run/libvirt/libvirt-sock";
inline constexpr char kPidDirectory[] = "/run/libvirt/qemu";

// The node's libvirtd behind the interface of its client library, with the behaviour measured in
// docs/internals/libvirt.md: events arrive during calls, a list may be outdated, and ids start
// again. Calls arrive on threads of the daemon; everything else runs on the main thread.
class Libvirtd : public LibvirtApi {
 public:
  Libvirtd(Kernel* kernel, Random* random, Story* story)
      : kernel_(kernel), random_(random), story_(story) {}

  // Returns whether it still lists the domain.
  bool Lists(const Life& life) const {
    return runs_ && std::find(domains_.begin(), domains_.end(), &life) != domains_.end();
  }
  bool runs() const { return runs_; }
  absl::Duration started_at() const { return started_at_; }
  // Ends the libvirtd: its clients lose their connections. The domains continue.
  void Stop();
  void Start();

  // A domain starts: gives it an id and a pid file.
  void Add(Life* life);
  // Cleans up after a domain that has ended, and reports `end` to the connection.
  void Remove(Life* life, ManagerEnd end);
  // Forwards an event of QEMU. `*report` records the connection that gets it.
  void Forward(Life* life, absl::string_view event, absl::string_view data, Report* report);
  void SayStarted(Life* life, bool incoming);
  // Records an answer of libvirt about the domain's run state.
  void SayRunState(Life* life);

  // Sets the number of the daemon that connects from now on; 0: the daemon ends, and its calls
  // return.
  void set_daemon(int number);
  // The daemon and its connection are gone.
  void Forget();
  // Marks everything that was sent so far as handled, if the daemon has handled it (`has_read`).
  void AfterLoopTurn(bool has_read);

  absl::StatusOr<std::unique_ptr<Connection>> Open(const std::string& uri,
                                                   const Callback& callback) override;

 private:
  class Client;
  bool IsListened() const { return callback_ != nullptr && link_ != nullptr; }
  // Records that the daemon has lost its connection, if it had one.
  void LoseSight();
  // Records `report` as the next message that is sent on the connection.
  void RecordSent(Life* life, Report* report);
  absl::StatusOr<std::vector<ActiveDomain>> List(const ConnectionPtr& link);
  // Lets time pass during a call, while everything else continues.
  void Take();

  Kernel* const kernel_;
  Random* const random_;
  Story* const story_;
  bool runs_ = true;
  absl::Duration started_at_ = absl::ZeroDuration();
  int64_t last_id_ = 0;
  std::vector<Life*> domains_;  // domains that it lists as running
  int daemon_ = 0;
  Callback callback_;
  ConnectionPtr link_;   // connection of `callback_`; null: the connection is lost
  bool listed_ = false;  // the connection has got its first list
  Mutex mutex_;
  CondVar ends_;  // notified when calls must return at once
};

}  // namespace vmeventd::simulation
