#ifndef VMEVENTD_WATCHER_IO_MONITOR_CONNECTION_H_
#define VMEVENTD_WATCHER_IO_MONITOR_CONNECTION_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "watcher/core/line_framer.h"
#include "watcher/core/qmp_message.h"
#include "watcher/core/vm_session.h"
#include "watcher/io/event_loop.h"
#include "watcher/io/unique_fd.h"

namespace vmeventd {

// A socket's file, as opened for a connect that follows no link and knows no limit of 108 bytes.
struct SocketFile {
  UniqueFd fd;  // O_PATH
  SocketIdentity identity;
};

// Opens the file at `path`. Returns 0 or the errno: ENOENT where nothing is there, ENOTSOCK for
// anything but a socket, links included.
int OpenSocketFile(const std::string& path, SocketFile* file);

// Which socket is at `path`, without opening it; the same errors.
int LookAtSocketFile(const std::string& path, SocketIdentity* identity);

// Connects to it without waiting. Returns 0 or the errno.
int ConnectTo(const SocketFile& file, UniqueFd* connection);

// Our end of one QMP connection. Leads the handshake (capabilities, query-uuid, query-name,
// query-status; one command at a time) and then reads for ever. The status comes last, so that no
// event stands between its reply and OnReady. It sends no other command: it observes. Holds no
// buffer while no line is incomplete. Loop thread.
class MonitorConnection : public FdHandler {
 public:
  // Told from within OnFdReady and Drain. None of these may destroy the connection.
  class Delegate {
   public:
    virtual ~Delegate() = default;
    virtual void OnGreeting() = 0;
    virtual void OnReady(const MonitorInfo& info) = 0;
    virtual void OnEvent(const QmpEvent& event) = 0;
    virtual void OnRunStateReply(absl::string_view run_state) = 0;
    // The connection has ended and is closed; the last call. `protocol_error`: by what came, not
    // by the peer. `why` is for people.
    virtual void OnClosed(absl::string_view why, bool protocol_error) = 0;
  };

  // `loop`, `delegate` and `buffer`, which all connections of a loop share, outlive it.
  MonitorConnection(EventLoop* loop, UniqueFd socket, std::vector<char>* buffer,
                    Delegate* delegate);
  ~MonitorConnection() override;

  // Begins to listen for the greeting. An error leaves the connection closed, untold.
  absl::Status Start();

  // Asks query-status once more, if the handshake is over. While an answer is awaited, further
  // requests become one.
  void RequestRunState();

  // Hands on all that can be read now, to the end if it is there.
  void Drain();

  // Closes without telling the delegate.
  void Close();

  bool open() const { return socket_.valid(); }
  bool ready() const { return phase_ == Phase::kReady; }

  void OnFdReady(uint32_t events) override;

 private:
  enum class Phase : uint8_t { kGreeting, kCapabilities, kUuid, kName, kStatus, kReady };

  void Read(size_t max_bytes, bool to_the_end);
  absl::Status OnLine(absl::string_view line);
  void OnReply(const QmpObject* value);
  void Send(absl::string_view command);
  void Fail(absl::string_view why, bool protocol_error);

  EventLoop* const loop_;
  Delegate* const delegate_;
  std::vector<char>* const buffer_;
  UniqueFd socket_;
  LineFramer framer_;
  std::unique_ptr<MonitorInfo> info_;  // during the handshake
  Phase phase_ = Phase::kGreeting;
  bool query_outstanding_ = false;
  bool query_again_ = false;
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_IO_MONITOR_CONNECTION_H_
