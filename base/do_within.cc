#include "base/do_within.h"

#include <pthread.h>

#include <csignal>
#include <utility>

#include "base/detached_threads.h"

namespace vmeventd {

bool DoWithin(absl::Duration limit, std::function<void()> job) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  DetachedThreads threads(1, [] {});
  pthread_sigmask(SIG_SETMASK, &all, &before);
  threads.Run(std::move(job));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return threads.WaitForJobs(limit);
}

}  // namespace vmeventd
