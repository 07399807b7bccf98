#pragma once

#include <sys/epoll.h>
#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "tests/simulation/disk.h"
#include "tests/simulation/random.h"
#include "watcher/signals/signal_watch.h"

namespace vmeventd::simulation {

// A process of the simulated node, other than the daemon.
struct Process {
  enum class State { kLives, kZombie, kReaped };
  int64_t pid = 0;
  uint64_t start_ticks = 0;
  uint64_t inode = 0;  // inode of its pidfd
  State state = State::kLives;
  int wait_status = 0;
  absl::Duration reaped_at = absl::InfiniteDuration();
  bool killed = false;                      // a SIGKILL waits for it
  std::string cgroup;                       // "/vm-7"
  std::string command_line;                 // arguments, each with a zero at its end
  std::string program = "qemu-system-x86";  // as the kernel cuts it
};
using ProcessPtr = std::shared_ptr<Process>;

// A connection to a socket of a QEMU. The client is the daemon, or a manager.
struct Connection {
  struct Chunk {
    std::string bytes;
    int64_t sender = 0;  // pid
  };
  bool of_daemon = false;
  std::deque<Chunk> to_client;
  std::string to_server;
  bool server_closed = false;
  bool client_closed = false;
  bool reset = false;                // the server closed with input unread
  bool kept = false;                 // a daemon that stopped has handed it over
  uint64_t handed_out = 0;           // bytes that the client has read
  uint64_t read_before_sending = 0;  // bytes that the client had read, when it sent last
  uint64_t sent = 0;                 // bytes that the server has written
  uint64_t last_inode = 0;           // the newest file, when a daemon connected
};
using ConnectionPtr = std::shared_ptr<Connection>;

// A socket file with a process that listens, or listened.
struct Listener {
  ProcessPtr process;
  bool listening = false;
  size_t backlog = 1;
  std::deque<ConnectionPtr> waiting;
  Disk::FilePtr file;
};
using ListenerPtr = std::shared_ptr<Listener>;

// The kernel as the daemon sees it: its system calls, as far as it uses them, on descriptors of its
// own (system_calls.cc leads them here), and the processes, sockets and clocks of the node, which
// the simulation moves. One at a time; one thread.
class Kernel : public Clock {
 public:
  struct Features {
    bool peer_pidfd = true;     // SO_PEERPIDFD, Linux 6.5
    bool pidfs = true;          // an inode for each process, Linux 6.9
    bool pidfd_exit = true;     // PIDFD_INFO_EXIT, Linux 6.15
    bool reads_zombies = true;  // ptrace access to the QEMUs
    bool signals = true;        // records of signals
  };

  Kernel(Random* random, Features features);
  ~Kernel() override;
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;
  // The one that exists. Null outside of a simulation.
  static Kernel& Current() { return *current_; }
  static bool Runs() { return current_ != nullptr; }

  Disk& disk() { return disk_; }
  Random& random() { return *random_; }
  const Features& features() const { return features_; }

  // Clocks.
  Instant Now() const override { return {absl::FromUnixNanos(wall_ns()), monotonic_}; }
  absl::Duration monotonic() const { return monotonic_; }
  int64_t wall_ns() const { return absl::ToInt64Nanoseconds(wall_offset_ + monotonic_); }
  void AdvanceTo(absl::Duration monotonic) { monotonic_ = std::max(monotonic_, monotonic); }
  void StepWallClock(absl::Duration by) {
    wall_offset_ += by;
    clock_set_at_ = monotonic_;
  }
  // The last time at which that was done, and at which the daemon got no descriptor.
  absl::Duration clock_set_at() const { return clock_set_at_; }
  absl::Duration refused_at() const { return refused_at_; }
  uint64_t ticks() const {  // since boot
    return static_cast<uint64_t>(absl::ToInt64Milliseconds(monotonic_ - booted_) / 10);
  }
  const std::string& boot_id() const { return boot_id_; }
  // Ends every process, and drops what a tmpfs held.
  void Reboot();

  // Processes.
  ProcessPtr Start(std::string cgroup);
  // The process that has the number now; null: there is none.
  ProcessPtr Living(int64_t pid) const;
  void Exit(const ProcessPtr& process, int wait_status);
  void Reap(const ProcessPtr& process);
  // A signal is sent to it, and `sender` is gone at once; 0: the kernel sends it. `command` is the
  // sender's name.
  void SendSignal(const ProcessPtr& process, int signal, int64_t sender,
                  const std::string& command = "");
  // The kernel is about to kill it for its memory.
  void NameVictim(const ProcessPtr& process);
  // The daemon's records of these, in a ring of its own: a descriptor that is readable while there
  // are any.
  int TraceSignals();
  // The service manager holds that ring too, or no longer.
  void KeepTrace(bool keeps);
  // The one that it holds; -1: none.
  int KeptTrace() const;
  // Names the ring that is written; 0: none.
  int ring() const { return traced_ >= 0 ? rings_ : 0; }
  void ReadSignals(std::vector<SignalRecord>* out);
  // The host begins to shut down, or does not any more. A daemon's descriptor that is readable
  // while it has not asked since.
  void SetHostShutdown(bool shutting_down);
  int WatchHostShutdown();
  bool AskHostShutdown();
  // Returns whether it was shutting down, or was not, at some time from `from` to `to`.
  bool HostWas(bool shutting_down, absl::Duration from, absl::Duration to) const;
  // An OOM kill is counted in the cgroup.
  void CountOomKill(const std::string& cgroup);

  // Sockets, from QEMU's side.
  ListenerPtr Bind(const std::string& path, const ProcessPtr& process);
  void CloseListener(const ListenerPtr& listener);
  void Unlink(const std::string& path);  // sends its inotify event, too
  // Fills the queue of the watcher of `directory` with other files' events: what happens there is
  // not noted until it has been read.
  void FillInotifyQueue(const std::string& directory);
  ConnectionPtr ConnectAsManager(const ListenerPtr& listener);
  static void Send(const ConnectionPtr& connection, absl::string_view bytes, int64_t sender);
  static void CloseServer(const ConnectionPtr& connection);

  // The daemon's death. From then on every call fails, and changes nothing.
  bool dead() const { return dead_; }
  // Called at the start of each call: returns whether it may go on; sets errno where not.
  bool Enter(absl::string_view call, const std::string& what);
  void Kill(absl::string_view where);
  // Kills it within the system call after so many others; 0: not.
  void KillAfter(uint64_t calls) { calls_left_ = calls; }
  // Kills it `later` calls after the next one of that name on a file whose path ends so.
  void KillAt(std::string call, std::string path_end, uint64_t later) {
    target_ = {std::move(call), std::move(path_end), later};
  }
  const std::string& killed_in() const { return killed_in_; }
  // Closes its descriptors, except those that the service manager keeps; the next one may begin.
  void BuryDaemon();
  // The service manager has the daemon's descriptor from now on; it passes it to a daemon; it
  // closes all that it has. -1: there is none.
  void Keep(int fd);
  void PassKept(int fd);
  void DropKept();
  size_t descriptors() const { return open_descriptors_; }
  size_t vm_descriptors() const;  // connections to monitors, and pidfds
  // The first call of any kind that fails, by its name and file, is asked for here: an errno or 0.
  using CallFault = std::function<int(absl::string_view call, const std::string& what)>;
  void set_call_fault(CallFault fault) { call_fault_ = std::move(fault); }
  // Sets a fault that is asked for likewise before each call that makes a descriptor.
  void set_descriptor_fault(CallFault fault) { descriptor_fault_ = std::move(fault); }

  // Makes the calls a bystander's while it lives: none fails, is counted, or has the daemon killed.
  class Bystander {
   public:
    explicit Bystander(Kernel* kernel) : kernel_(kernel) { kernel_->bystander_ = true; }
    ~Bystander() { kernel_->bystander_ = false; }
    Bystander(const Bystander&) = delete;
    Bystander& operator=(const Bystander&) = delete;

   private:
    Kernel* const kernel_;
  };

  // Returns whether epoll would return at once.
  bool LoopHasInput() const;
  // Time at which the loop wants to run without input, as its last epoll_wait said.
  absl::Duration loop_due() const { return loop_due_; }

  // System calls, as system_calls.cc hands them in. Descriptors are from kFirst on. They return -1
  // and set errno as the kernel does.
  static constexpr int kFirst = 900;
  bool Owns(int fd) const { return fd >= kFirst; }
  int Open(const std::string& path, int flags, mode_t mode);
  // Opens a file that is used past its descriptor, as SQLite's are (sqlite_files.cc).
  int OpenUnused(const std::string& path);
  int Close(int fd);
  ssize_t Read(int fd, void* to, size_t size);
  ssize_t PositionedRead(int fd, void* to, size_t size, off_t at);
  ssize_t PositionedWrite(int fd, const void* from, size_t size, off_t at);
  int Sync(int fd);
  // The file at a path, or with "" the descriptor's own. Null, with errno: there is none.
  Disk::FilePtr Look(int directory, const std::string& path);
  int UnlinkFile(const std::string& path);
  int Rename(const std::string& from, const std::string& to);
  int Touch(absl::string_view path);  // sets its times to now
  int ChangeMode(int fd, mode_t mode);
  std::vector<std::string> ListDirectory(const std::string& path);
  std::string PathOf(int fd) const;
  ssize_t ReadLink(const std::string& path, char* to, size_t size);
  int EventFd();
  int EventFdWrite(int fd);
  int EventFdRead(int fd);
  int EpollCreate();
  int EpollControl(int epoll, int operation, int fd, epoll_event* event);
  int EpollWait(int epoll, epoll_event* events, int max, int timeout_ms);
  int InotifyInit();
  int InotifyAdd(int fd, const std::string& path);
  int InotifyRemove(int fd, int watch);
  int Socket(int family);
  int Connect(int fd, const std::string& path);
  ssize_t Receive(int fd, void* to, size_t size, int flags, int64_t* sender);
  // Takes what comes next out of the socket.
  static size_t Take(Connection* connection, void* to, size_t size);
  ssize_t SendTo(int fd, absl::string_view bytes);
  int PeerCredentials(int fd, int64_t* pid);
  int PeerPidfd(int fd);
  int PassCredentials(int fd);
  int BytesWaiting(int fd);
  int PidfdOpen(int64_t pid);
  int PidfdSignal(int fd);
  // Answers as PIDFD_GET_INFO: unset with errno, or the exit status if it has one.
  int PidfdExit(int fd, std::optional<int>* wait_status);
  // Makes the process of PidfdTellsExits (exit_status_reader.cc): it has exited with 3.
  int64_t CloneProbe(int* pidfd);
  int64_t WaitFor(int64_t pid);
  bool IsReadable(int fd) const;
  uint64_t PidfdInode(int fd) const;
  bool IsPidfd(int fd) const { return Get(fd, Descriptor::Kind::kPidfd) != nullptr; }

 private:
  struct Descriptor {
    enum class Kind { kEpoll, kEvent, kInotify, kSocket, kPidfd, kPath, kFile, kText, kNull };
    Kind kind = Kind::kNull;
    std::string path;
    Disk::FilePtr file;
    std::string text;
    size_t offset = 0;
    uint64_t counter = 0;
    bool pass_credentials = false;
    ConnectionPtr connection;
    ListenerPtr listener;
    ProcessPtr process;
    std::map<int, epoll_event> watched;  // kEpoll, by descriptor
    std::map<int, std::string> watches;  // kInotify: paths by watch
    std::deque<std::string> events;      // kInotify: encoded records
    bool queue_full = false;             // kInotify
    bool kept = false;                   // the service manager keeps it
    int last_watch = 0;
  };
  using DescriptorPtr = std::shared_ptr<Descriptor>;

  static int Fail(int error);
  // Returns whether there is a descriptor for the call; sets errno where not. Add takes it.
  bool HasRoom(absl::string_view call, const std::string& what) const;
  int Add(Descriptor descriptor);
  Descriptor* Find(int fd) const;  // null: not open
  Descriptor* Get(int fd, Descriptor::Kind kind) const;
  uint32_t Readiness(int fd) const;
  void Notify(const std::string& path, uint32_t mask);
  void Record(SignalRecord record);
  // The text of a file of /proc or /sys; unset: there is none.
  std::optional<std::string> SystemFile(const std::string& path) const;

  static Kernel* current_;
  Random* const random_;
  const Features features_;
  Disk disk_;
  absl::Duration monotonic_ = absl::Seconds(1000);
  absl::Duration booted_;
  absl::Duration clock_set_at_ = -absl::InfiniteDuration();
  mutable absl::Duration refused_at_ = -absl::InfiniteDuration();
  absl::Duration wall_offset_ = absl::Seconds(1'790'000'000);
  std::string boot_id_;
  std::map<int64_t, ProcessPtr> processes_;
  int64_t last_pid_ = 300;
  int64_t last_reaped_ = 0;
  uint64_t last_process_inode_ = 1000;
  std::map<std::string, uint64_t> oom_kills_;  // keyed by cgroup
  int traced_ = -1;                            // -1: no daemon reads the records
  std::vector<SignalRecord> signals_;
  int rings_ = 0;        // number of rings made
  int host_watch_ = -1;  // -1: no daemon asks
  std::map<absl::Duration, bool> host_shutdowns_ = {{absl::ZeroDuration(), false}};  // by its start
  std::map<uint64_t, ListenerPtr> listeners_;                                        // by inode

  std::vector<DescriptorPtr> descriptors_;  // the first is kFirst; null: not open
  size_t open_descriptors_ = 0;
  bool dead_ = false;
  std::string killed_in_;
  uint64_t calls_left_ = 0;
  struct Target {
    std::string call;  // empty: there is none
    std::string path_end;
    uint64_t later = 0;
  };
  Target target_;
  CallFault call_fault_;
  CallFault descriptor_fault_;
  bool bystander_ = false;
  absl::Duration loop_due_ = absl::ZeroDuration();
};

}  // namespace vmeventd::simulation
