#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/run.h"

namespace {

std::string Variable(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "" : value;
}

// A standard descriptor that the caller left closed would be taken by the next socket, and output
// would go there. In its place stands one that cannot be written.
void OccupyStandardDescriptors() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    // The lowest free descriptor is taken, which is this one.
    if (fcntl(descriptor, F_GETFD) < 0) static_cast<void>(open("/dev/null", O_RDONLY));
  }
}

// What a user may not look at is there for the members of its group.
bool MayExist(const std::string& path) {
  return access(path.c_str(), F_OK) == 0 || errno == EACCES;
}

}  // namespace

int main(int argc, char** argv) {
  OccupyStandardDescriptors();
  // write() reports a reader that goes away; gRPC's own log is not for users.
  signal(SIGPIPE, SIG_IGN);
  setenv("GRPC_VERBOSITY", "NONE", 0);

  vmeventd::client::OptionContext context;
  context.server_variable = Variable("VMEVENTS_SERVER");
  context.tls_variables = {Variable("VMEVENTS_TLS_CA"), Variable("VMEVENTS_TLS_CERT"),
                           Variable("VMEVENTS_TLS_KEY"), Variable("VMEVENTS_TLS_SERVER_NAME")};
  context.xdg_runtime_dir = Variable("XDG_RUNTIME_DIR");
  context.uid = geteuid();
  context.may_exist = MayExist;
  context.now = absl::Now();
  context.zone = absl::LocalTimeZone();
  const bool color_allowed = Variable("NO_COLOR").empty() && Variable("TERM") != "dumb";
  const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  return static_cast<int>(vmeventd::client::Run(arguments, context, color_allowed));
}
