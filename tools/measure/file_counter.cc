#include "tools/measure/file_counter.h"

#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/support/fail.h"
#include "tests/support/wait.h"

namespace vmeventd::bench {

FileCounter::FileCounter(const std::string& directory) : fd_(inotify_init1(IN_CLOEXEC)) {
  inotify_add_watch(fd_.get(), directory.c_str(), IN_CREATE);
}

absl::Time FileCounter::Wait(int count) {
  char bytes[65536];
  while (seen_ < count) {
    pollfd readable{fd_.get(), POLLIN, 0};
    if (poll(&readable, 1, static_cast<int>(absl::ToInt64Milliseconds(e2e::Patience()))) <= 0) {
      e2e::Fail(absl::StrCat("only ", seen_, " of ", count, " shutdown files were made"));
    }
    const ssize_t size = read(fd_.get(), bytes, sizeof(bytes));
    for (ssize_t at = 0; at < size;) {
      const auto* const event = reinterpret_cast<const inotify_event*>(bytes + at);
      if (absl::EndsWith(event->name, ".shutdown")) ++seen_;
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
    }
  }
  return absl::Now();
}

}  // namespace vmeventd::bench
