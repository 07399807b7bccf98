#include "watcher/runs/command_lines.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/small_file.h"
#include "base/thread_name.h"

namespace vmeventd {
namespace {

// Limit of a command line, more than libvirt writes for a large VM. A longer one is not read.
constexpr size_t kMaxCommandLine = 256 << 10;

// RESOURCE_EXHAUSTED: no descriptor was left. Empty: it cannot be read otherwise.
absl::StatusOr<std::vector<std::string>> ReadNow(int64_t pid) {
  const absl::StatusOr<std::string> text =
      ReadSmallFile(absl::StrCat("/proc/", pid, "/cmdline"), kMaxCommandLine);
  if (absl::IsResourceExhausted(text.status())) return text.status();
  if (!text.ok() || text->size() == kMaxCommandLine) return std::vector<std::string>();
  return SplitCommandLine(*text);
}

}  // namespace

CommandLines::CommandLines() : threads_(kMaxThreads, [] { SetThreadName("command-lines"); }) {}

std::shared_ptr<const CommandLines::Read> CommandLines::Begin(int64_t pid) {
  const MutexLock lock(&under_way_->mutex);
  std::shared_ptr<Read>& read = under_way_->reads[pid];
  if (read != nullptr) return read;
  read = std::make_shared<Read>();
  std::shared_ptr<Read> begun = read;
  if (threads_.waiting() >= kMaxWaiting) {
    left_out_.Add();
    under_way_->reads.erase(pid);
    begun->Finish(nullptr);
    return begun;
  }
  threads_.Run([under_way = under_way_, begun, pid] {
    const absl::StatusOr<std::vector<std::string>> arguments = ReadNow(pid);
    {
      const MutexLock done(&under_way->mutex);
      under_way->reads.erase(pid);
    }
    if (!arguments.ok()) return begun->FinishOutOfDescriptors();
    std::unique_ptr<const QemuArguments> found;
    if (IsQemu(*arguments)) found = std::make_unique<QemuArguments>(ParseQemuArguments(*arguments));
    begun->Finish(std::move(found), GivenUuid(*arguments), GivenContainer(*arguments));
  });
  return begun;
}

}  // namespace vmeventd
