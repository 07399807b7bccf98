#include "client/connect/who_answers.h"

#include <sys/socket.h>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "base/unix_address.h"
#include "client/connect/probe_socket.h"
#include "client/connect/tls_probe.h"

namespace vmeventd::client {

Answerer WhoAnswers(const ServerAddress& address) {
  if (address.is_ssh()) return Answerer::kNothing;
  if (address.tls) {
    return ExplainTlsFault(address).empty() ? Answerer::kHttp2 : Answerer::kNothing;
  }
  absl::StatusOr<UniqueFd> socket = UniqueFd();
  if (address.is_unix()) {
    const absl::StatusOr<UnixAddress> target = UnixAddress::Open(address.path);
    *socket = NewProbeSocket(AF_UNIX);
    if (!target.ok() || !socket->valid() || target->Connect(socket->get()) != 0) {
      return Answerer::kNothing;
    }
  } else {
    socket = ConnectTcp(address);
  }
  // The preface of a client (RFC 9113, 3.4), with an empty SETTINGS frame. A server of HTTP/2
  // answers it with SETTINGS, and one of HTTP/1 refuses it.
  constexpr absl::string_view kPreface("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);
  if (!socket.ok() || send(socket->get(), kPreface.data(), kPreface.size(), MSG_NOSIGNAL) !=
                          static_cast<ssize_t>(kPreface.size())) {
    return Answerer::kNothing;
  }
  char answer[6];
  const ssize_t size = recv(socket->get(), answer, sizeof(answer), MSG_WAITALL);
  if (size != static_cast<ssize_t>(sizeof(answer))) return Answerer::kNothing;
  if (absl::string_view(answer, sizeof(answer)) == "HTTP/1") return Answerer::kHttp1;
  constexpr char kSettings = 4;  // the type of a frame follows its length
  return answer[3] == kSettings ? Answerer::kHttp2 : Answerer::kNothing;
}

}  // namespace vmeventd::client
