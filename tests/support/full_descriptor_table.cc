#include "tests/support/full_descriptor_table.h"

#include <fcntl.h>

#include <utility>

namespace vmeventd {

FullDescriptorTable::FullDescriptorTable() {
  getrlimit(RLIMIT_NOFILE, &before_);
  rlimit limit = before_;
  limit.rlim_cur = 256;
  setrlimit(RLIMIT_NOFILE, &limit);
  while (true) {
    UniqueFd fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) return;
    taken_.push_back(std::move(fd));
  }
}

FullDescriptorTable::~FullDescriptorTable() { setrlimit(RLIMIT_NOFILE, &before_); }

}  // namespace vmeventd
