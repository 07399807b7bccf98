// A disk that does not answer: a program that preloads this waits in fdatasync(2) and fsync(2)
// while the file $HUNG_DISK_WHILE exists, and creates $HUNG_DISK_WHILE.waits when it does.

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <string>

namespace {

void WaitWhileHung() {
  const char* const file = std::getenv("HUNG_DISK_WHILE");
  if (file == nullptr) return;
  const timespec pause = {0, 10'000'000};
  while (access(file, F_OK) == 0) {
    close(open((std::string(file) + ".waits").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    nanosleep(&pause, nullptr);
  }
}

using Sync = int (*)(int);

}  // namespace

extern "C" int fdatasync(int fd) {
  WaitWhileHung();
  return reinterpret_cast<Sync>(dlsym(RTLD_NEXT, "fdatasync"))(fd);
}

extern "C" int fsync(int fd) {
  WaitWhileHung();
  return reinterpret_cast<Sync>(dlsym(RTLD_NEXT, "fsync"))(fd);
}
