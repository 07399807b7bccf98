#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/account_names.h"
#include "base/small_file.h"
#include "client/run/run.h"

namespace {

std::string Variable(const char* name) {
  return std::string(absl::NullSafeStringView(getenv(name)));
}

// Occupies standard descriptors that the caller left closed: otherwise the next socket would take
// one, and output would go there.
void OccupyStandardDescriptors() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    // open() takes the lowest free descriptor, which is this one.
    if (fcntl(descriptor, F_GETFD) < 0) static_cast<void>(open("/dev/null", O_RDONLY));
  }
}

// Abseil does not read POSIX's form, "JST-9". Then the offset that the C library has for `now` is
// used for all times.
absl::TimeZone LocalZone(absl::Time now) {
  const std::string variable = Variable("TZ");
  absl::TimeZone zone;
  if (variable.empty() || absl::LoadTimeZone(absl::StripPrefix(variable, ":"), &zone)) {
    return absl::LocalTimeZone();
  }
  const time_t seconds = absl::ToTimeT(now);
  tm local{};
  localtime_r(&seconds, &local);
  return absl::FixedTimeZone(static_cast<int>(local.tm_gmtoff));
}

}  // namespace

int main(int argc, char** argv) {
  OccupyStandardDescriptors();
  // write() reports a reader that has gone; gRPC's own log is not for users.
  signal(SIGPIPE, SIG_IGN);
  setenv("GRPC_VERBOSITY", "NONE", 0);
  // The system's resolver, which knows the names of this host and of its services as well.
  setenv("GRPC_DNS_RESOLVER", "native", 0);
  // Debian's Abseil, built without NDEBUG, would end the process over the order of gRPC's locks.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);

  vmeventd::client::OptionContext context;
  context.variable = Variable;
  constexpr size_t kMaxConfigBytes = 1 << 20;
  context.read_config = [](const std::string& path) {
    return vmeventd::ReadSmallFile(path, kMaxConfigBytes);
  };
  context.uid = geteuid();
  context.user = Variable("SUDO_USER");
  if (context.user.empty()) context.user = Variable("USER");
  if (context.user.empty()) context.user = vmeventd::UserName(context.uid);  // as in cron's jobs
  // A path that the user may not examine counts as existing: members of its group may use it.
  context.may_exist = [](const std::string& path) {
    return access(path.c_str(), F_OK) == 0 || errno == EACCES;
  };
  context.now = absl::Now();
  timespec up{};
  if (clock_gettime(CLOCK_BOOTTIME, &up) == 0)
    context.boot = context.now - absl::DurationFromTimespec(up);
  context.zone = LocalZone(context.now);
  const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  return static_cast<int>(vmeventd::client::Run(arguments, context));
}
