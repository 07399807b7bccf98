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
#include "watcher/signals/signal_trace.h"

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
  bool killed = false;                      // a SIGKILL is pending
  std::string cgroup;                       // "/vm-7"
  std::string command_line;                 // arguments, each ended by a zero byte
  std::string program = "qemu-system-x86";  // name, cut as by the kernel
};
using ProcessPtr = std::shared_ptr<Process>;

// A connection to a socket of a QEMU. The client is the daemon or a manager.
struct Connection {
  struct Chunk {
    std::string bytes;
    int64_t sender = 0;  // its pid
  };
  bool of_daemon = false;
  std::deque<Chunk> to_client;
  std::string to_server;
  bool server_closed = false;
  bool client_closed = false;
  bool reset = false;                // the server closed it with unread input
  bool in_line = false;              // the client has read a line up to somewhere in it
  bool kept = false;                 // a daemon that stopped handed it over
  uint64_t handed_out = 0;           // bytes that the client has read
  uint64_t read_before_sending = 0;  // bytes that the client had read when it last sent
  uint64_t sent = 0;                 // bytes that the server has written
  uint64_t last_inode = 0;           // inode of the newest file at the time when a daemon connected
};
using ConnectionPtr = std::shared_ptr<Connection>;

// A socket file, and the process that listens or listened on it.
struct Listener {
  ProcessPtr process;
  bool listening = false;
  size_t backlog = 1;
  std::deque<ConnectionPtr> waiting;
  Disk::FilePtr file;
};
using ListenerPtr = std::shared_ptr<Listener>;

// The kernel as the daemon sees it: the system calls that the daemon uses, on simulated descriptors
// (system_calls.cc forwards them here), and the node's processes, sockets and clocks, which the
// simulation controls. One object at a time; one thread.
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
  // The existing kernel. Only within a simulation: see Runs().
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
  // The last time at which the wall clock was set; refused_at(): at which the daemon got no
  // descriptor.
  absl::Duration clock_set_at() const { return clock_set_at_; }
  absl::Duration refused_at() const { return refused_at_; }
  absl::Duration since_boot() const { return monotonic_ - booted_; }
  uint64_t ticks() const {  // since boot
    return static_cast<uint64_t>(absl::ToInt64Milliseconds(since_boot()) / 10);
  }
  const std::string& boot_id() const { return boot_id_; }
  // Ends every process, and loses the files of tmpfs.
  void Reboot();

  // Processes.
  ProcessPtr Start(std::string cgroup);
  // The process that has the pid now; null: there is none.
  ProcessPtr Living(int64_t pid) const;
  void Exit(const ProcessPtr& process, int wait_status);
  void Reap(const ProcessPtr& process);
  // Sends a signal to the process. `sender`, with the name `command`, exits at once; 0: the kernel
  // sends the signal.
  void SendSignal(const ProcessPtr& process, int signal, int64_t sender,
                  const std::string& command = "");
  // The kernel chooses the process as the victim of an OOM kill.
  void NameVictim(const ProcessPtr& process);
  // Opens the daemon's ring with records of these signals. Returns a descriptor that is readable
  // while there are records.
  int TraceSignals();
  // Sets whether the service manager also holds the ring.
  void KeepTrace(bool keeps);
  // The ring that the service manager holds; -1: none.
  int KeptTrace() const;
  // Number of the ring to which records are written; 0: none.
  int ring() const { return traced_ >= 0 ? rings_ : 0; }
  void ReadSignals(std::vector<SignalRecord>* out);
  // The host begins to shut down, or cancels that. WatchHostShutdown() returns a daemon's
  // descriptor, which is readable until the daemon has called AskHostShutdown() after a change.
  void SetHostShutdown(bool shutting_down);
  int WatchHostShutdown();
  bool AskHostShutdown();
  // Returns whether at some time from `from` to `to` the host was (not) shutting down, as
  // `shutting_down` says.
  bool HostWas(bool shutting_down, absl::Duration from, absl::Duration to) const;
  // Counts an OOM kill in the cgroup. OomCounterOf(): path of the file that shows the count.
  void CountOomKill(const std::string& cgroup);
  static std::string OomCounterOf(const std::string& cgroup);

  // Sockets, on QEMU's side.
  ListenerPtr Bind(const std::string& path, const ProcessPtr& process);
  void CloseListener(const ListenerPtr& listener);
  void Unlink(const std::string& path);  // also sends the inotify event
  // Fills the inotify queue for `directory` with events of other files: until it is read, further
  // events are lost.
  void FillInotifyQueue(const std::string& directory);
  ConnectionPtr ConnectAsManager(const ListenerPtr& listener);
  static void Send(const ConnectionPtr& connection, absl::string_view bytes, int64_t sender);
  static void CloseServer(const ConnectionPtr& connection);

  // The daemon's death. Afterwards, every system call fails and changes nothing.
  bool dead() const { return dead_; }
  // Called at the start of each system call. Returns whether the call may continue; otherwise sets
  // errno.
  bool Enter(absl::string_view call, const std::string& what);
  void Kill(absl::string_view where);
  // Kills the daemon in its system call number `calls` from now on; 0: does not kill it.
  void KillAfter(uint64_t calls) { calls_left_ = calls; }
  // Kills the daemon `later` calls after the next `call` on a file whose path ends with `path_end`.
  void KillAt(std::string call, std::string path_end, uint64_t later) {
    target_ = {std::move(call), std::move(path_end), later};
  }
  const std::string& killed_in() const { return killed_in_; }
  // Closes the daemon's descriptors, except those that the service manager holds. Then the next
  // daemon may start.
  void BuryDaemon();
  // The service manager stores the daemon's descriptor (Keep), passes a stored one to a daemon
  // (PassKept), or closes all stored ones (DropKept). -1: no descriptor.
  void Keep(int fd);
  void PassKept(int fd);
  void DropKept();
  size_t descriptors() const { return open_descriptors_; }
  size_t vm_descriptors() const;  // connections to monitors, and pidfds
  // Called with the name and the file of a system call; returns the errno with which it fails, or
  // 0. set_call_fault(): for all calls.
  using CallFault = std::function<int(absl::string_view call, const std::string& what)>;
  void set_call_fault(CallFault fault) { call_fault_ = std::move(fault); }
  // Sets whether the rest of each line that the daemon has begun to read is late.
  void set_rest_is_late(bool late) { rest_is_late_ = late; }
  // Sets the fault of the calls that make a descriptor.
  void set_descriptor_fault(CallFault fault) { descriptor_fault_ = std::move(fault); }

  // While this object exists, system calls do not fail, are not counted, and do not kill the
  // daemon. For calls of the test itself.
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
  // Time at which the loop runs even without input, from its last epoll_wait.
  absl::Duration loop_due() const { return loop_due_; }

  // System calls, as system_calls.cc forwards them. Descriptors start at kFirst. On errors they
  // return -1 and set errno, like the real kernel.
  static constexpr int kFirst = 900;
  bool Owns(int fd) const { return fd >= kFirst; }
  int Open(const std::string& path, int flags, mode_t mode);
  // Opens a file that is not used through its descriptor, as those of SQLite (sqlite_files.cc).
  int OpenUnused(const std::string& path);
  int Close(int fd);
  ssize_t Read(int fd, void* to, size_t size);
  ssize_t PositionedRead(int fd, void* to, size_t size, off_t at);
  ssize_t PositionedWrite(int fd, const void* from, size_t size, off_t at);
  int Sync(int fd);
  // The file at a path; with "", the descriptor's own file. Null, with errno: there is none.
  Disk::FilePtr Look(int directory, const std::string& path);
  int UnlinkFile(const std::string& path);
  int Rename(const std::string& from, const std::string& to);
  int Touch(absl::string_view path);  // sets the file's times to now
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
  // Takes the next bytes out of the socket.
  static size_t Take(Connection* connection, void* to, size_t size);
  ssize_t SendTo(int fd, absl::string_view bytes);
  int PeerCredentials(int fd, int64_t* pid);
  int PeerPidfd(int fd);
  int PassCredentials(int fd);
  int BytesWaiting(int fd);
  int PidfdOpen(int64_t pid);
  int PidfdSignal(int fd);
  // Answers PIDFD_GET_INFO. -1 with errno, or `*wait_status` gets the exit status if there is one.
  int PidfdExit(int fd, std::optional<int>* wait_status);
  // Makes the process for PidfdTellsExits (exit_status_reader.cc), which has exited with 3.
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
    std::map<int, epoll_event> watched;  // kEpoll: keyed by descriptor
    std::map<int, std::string> watches;  // kInotify: paths, keyed by watch
    std::deque<std::string> events;      // kInotify: encoded records
    bool queue_full = false;             // kInotify
    bool kept = false;                   // the service manager holds it
    int last_watch = 0;
  };
  using DescriptorPtr = std::shared_ptr<Descriptor>;

  static int Fail(int error);
  // Returns whether a descriptor is free for the call; otherwise sets errno. Add() takes it.
  bool HasRoom(absl::string_view call, const std::string& what) const;
  int Add(Descriptor descriptor);
  Descriptor* Find(int fd) const;  // null: not open
  Descriptor* Get(int fd, Descriptor::Kind kind) const;
  uint32_t Readiness(int fd) const;
  void Notify(const std::string& path, uint32_t mask);
  void Record(SignalRecord record);
  // The text of a file of /proc or /sys; unset: there is no such file.
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
  int traced_ = -1;                            // the daemon's ring; -1: no daemon reads the records
  std::vector<SignalRecord> signals_;
  int rings_ = 0;        // number of rings made
  int host_watch_ = -1;  // the daemon's descriptor; -1: no daemon asks
  // Keyed by the start of the state.
  std::map<absl::Duration, bool> host_shutdowns_ = {{absl::ZeroDuration(), false}};
  std::map<uint64_t, ListenerPtr> listeners_;  // keyed by inode

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
  bool rest_is_late_ = false;
  absl::Duration loop_due_ = absl::ZeroDuration();
};

}  // namespace vmeventd::simulation
