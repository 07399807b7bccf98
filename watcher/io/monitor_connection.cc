#include "watcher/io/monitor_connection.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include <cerrno>
#include <system_error>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace vmeventd {
namespace {

// What one connection may hand in before the others have their turn.
constexpr size_t kMaxBytesPerTurn = 256 << 10;

// A dead process sends no more than what its socket holds; a child of it might go on for ever.
constexpr size_t kMaxDrainBytes = 64 << 20;
constexpr size_t kMaxTextBytes = 4096;

constexpr char kCapabilitiesCommand[] = "{\"execute\":\"qmp_capabilities\"}\n";
constexpr char kStatusCommand[] = "{\"execute\":\"query-status\"}\n";
constexpr char kUuidCommand[] = "{\"execute\":\"query-uuid\"}\n";
constexpr char kNameCommand[] = "{\"execute\":\"query-name\"}\n";

constexpr char kNullUuid[] = "00000000-0000-0000-0000-000000000000";

// The text member `name` of a reply; empty if there is none or it is of an unlikely length, or the
// reply was an error.
std::string TextMember(const QmpObject* value, const char* name) {
  if (value == nullptr || !value->is_object()) return "";
  const auto it = value->find(name);
  if (it == value->end() || !it->is_string()) return "";
  const std::string& text = it->get_ref<const std::string&>();
  return text.size() <= kMaxTextBytes ? text : "";
}

// The birth time, where the file system has one (ext4, XFS, Btrfs, tmpfs since Linux 6.0), is not
// changed by a chmod as the ctime is.
int Identify(int directory, const char* path, int flags, SocketIdentity* identity) {
  struct statx status {};
  if (statx(directory, path, flags, STATX_BASIC_STATS | STATX_BTIME, &status) != 0) return errno;
  if (!S_ISSOCK(status.stx_mode)) return ENOTSOCK;
  const statx_timestamp& made =
      (status.stx_mask & STATX_BTIME) != 0 ? status.stx_btime : status.stx_ctime;
  identity->device = makedev(status.stx_dev_major, status.stx_dev_minor);
  identity->inode = status.stx_ino;
  identity->made_ns = made.tv_sec * 1'000'000'000 + made.tv_nsec;
  return 0;
}

}  // namespace

int OpenSocketFile(const std::string& path, SocketFile* file) {
  UniqueFd fd(open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return errno;
  if (const int error = Identify(fd.get(), "", AT_EMPTY_PATH, &file->identity); error != 0) {
    return error;
  }
  file->fd = std::move(fd);
  return 0;
}

int LookAtSocketFile(const std::string& path, SocketIdentity* identity) {
  return Identify(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, identity);
}

int ConnectTo(const SocketFile& file, UniqueFd* connection) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return errno;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  absl::SNPrintF(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", file.fd.get());
  if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return errno;
  }
  *connection = std::move(socket);
  return 0;
}

MonitorConnection::MonitorConnection(EventLoop* loop, UniqueFd socket, std::vector<char>* buffer,
                                     Delegate* delegate)
    : loop_(loop),
      delegate_(delegate),
      buffer_(buffer),
      socket_(std::move(socket)),
      info_(std::make_unique<MonitorInfo>()) {}

MonitorConnection::~MonitorConnection() { Close(); }

absl::Status MonitorConnection::Start() {
  absl::Status status = loop_->Add(socket_.get(), EPOLLIN | EPOLLRDHUP, this);
  if (!status.ok()) socket_.Reset();
  return status;
}

void MonitorConnection::Close() {
  if (!socket_.valid()) return;
  loop_->Remove(socket_.get());
  socket_.Reset();
}

void MonitorConnection::Fail(absl::string_view why, bool protocol_error) {
  if (!socket_.valid()) return;
  Close();
  delegate_->OnClosed(why, protocol_error);
}

void MonitorConnection::OnFdReady(uint32_t events) {
  Read(kMaxBytesPerTurn, (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
}

void MonitorConnection::Drain() { Read(kMaxDrainBytes, true); }

void MonitorConnection::Read(size_t max_bytes, bool to_the_end) {
  size_t total = 0;
  while (socket_.valid() && total < max_bytes) {
    const ssize_t size = recv(socket_.get(), buffer_->data(), buffer_->size(), MSG_DONTWAIT);
    if (size < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return;
      // A peer that had not read all of our commands when it ended.
      if (errno == ECONNRESET) return Fail("EOF", false);
      return Fail(std::generic_category().message(errno), false);
    }
    if (size == 0) return Fail("EOF", false);
    const absl::Status status =
        framer_.Feed(absl::string_view(buffer_->data(), static_cast<size_t>(size)),
                     [this](absl::string_view line) { return OnLine(line); });
    if (!status.ok()) return Fail(status.message(), true);
    total += static_cast<size_t>(size);
    // A short read has emptied the socket: epoll tells of what follows.
    if (static_cast<size_t>(size) < buffer_->size() && !to_the_end) return;
  }
}

absl::Status MonitorConnection::OnLine(absl::string_view line) {
  if (!socket_.valid()) return absl::OkStatus();  // closed by the line before
  absl::StatusOr<QmpMessage> message = ParseQmpMessage(line);
  if (!message.ok()) return message.status();
  if (const auto* event = std::get_if<QmpEvent>(&*message)) {
    delegate_->OnEvent(*event);
  } else if (const auto* greeting = std::get_if<QmpGreeting>(&*message)) {
    if (phase_ != Phase::kGreeting) return absl::OkStatus();
    info_->qemu_version = greeting->qemu_version;
    phase_ = Phase::kCapabilities;
    delegate_->OnGreeting();
    Send(kCapabilitiesCommand);
  } else if (const auto* reply = std::get_if<QmpReturn>(&*message)) {
    OnReply(&reply->value);
  } else {
    OnReply(nullptr);
  }
  return absl::OkStatus();
}

// `value` is null for an error: what was asked for is then not known, and the rest goes on.
void MonitorConnection::OnReply(const QmpObject* value) {
  switch (phase_) {
    case Phase::kGreeting:
      return;  // nothing was asked
    case Phase::kCapabilities:
      phase_ = Phase::kUuid;
      return Send(kUuidCommand);
    case Phase::kUuid:
      info_->uuid = TextMember(value, "UUID");
      if (info_->uuid == kNullUuid) info_->uuid.clear();
      phase_ = Phase::kName;
      return Send(kNameCommand);
    case Phase::kName:
      info_->qemu_name = TextMember(value, "name");
      phase_ = Phase::kStatus;
      return Send(kStatusCommand);
    case Phase::kStatus: {
      info_->run_state = TextMember(value, "status");
      phase_ = Phase::kReady;
      const std::unique_ptr<MonitorInfo> info = std::move(info_);
      return delegate_->OnReady(*info);
    }
    case Phase::kReady:
      if (!query_outstanding_) return;
      query_outstanding_ = false;
      if (value != nullptr) delegate_->OnRunStateReply(TextMember(value, "status"));
      if (std::exchange(query_again_, false) && !query_outstanding_) RequestRunState();
      return;
  }
}

void MonitorConnection::RequestRunState() {
  if (!socket_.valid() || phase_ != Phase::kReady) return;
  if (query_outstanding_) {
    query_again_ = true;
    return;
  }
  query_outstanding_ = true;
  Send(kStatusCommand);
}

void MonitorConnection::Send(absl::string_view command) {
  if (!socket_.valid()) return;
  const ssize_t size =
      send(socket_.get(), command.data(), command.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (size == static_cast<ssize_t>(command.size())) return;
  // A peer that has closed may have left things to read, whose end tells of the close. One that
  // reads nothing has room for our few commands all the same.
  if (size < 0 && (errno == EPIPE || errno == ECONNRESET)) return;
  Fail("QEMU does not read its monitor", false);
}

}  // namespace vmeventd
