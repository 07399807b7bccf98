#include "watcher/runs/command_lines.h"

#include <deque>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/small_file.h"
#include "base/thread_name.h"

namespace vmeventd {
namespace {

// More than libvirt writes for a large VM. A longer one is not read.
constexpr size_t kMaxCommandLine = 256 << 10;

std::unique_ptr<const QemuArguments> ReadNow(int64_t pid) {
  const absl::StatusOr<std::string> text =
      ReadSmallFile(absl::StrCat("/proc/", pid, "/cmdline"), kMaxCommandLine);
  if (!text.ok() || text->size() == kMaxCommandLine) return nullptr;
  const std::vector<std::string> arguments = SplitCommandLine(*text);
  return IsQemu(arguments) ? std::make_unique<QemuArguments>(ParseQemuArguments(arguments))
                           : nullptr;
}

}  // namespace

struct CommandLines::State {
  struct Job {
    int64_t pid = 0;
    std::shared_ptr<Read> read;
  };

  Mutex mutex;
  CondVar changed;
  std::deque<Job> waiting ABSL_GUARDED_BY(mutex);
  int threads ABSL_GUARDED_BY(mutex) = 0;
  int idle ABSL_GUARDED_BY(mutex) = 0;
  bool ended ABSL_GUARDED_BY(mutex) = false;
};

CommandLines::CommandLines() : state_(std::make_shared<State>()) {}

CommandLines::~CommandLines() {
  {
    const MutexLock lock(&state_->mutex);
    state_->waiting.clear();
    state_->ended = true;
  }
  state_->changed.NotifyAll();
}

std::shared_ptr<const CommandLines::Read> CommandLines::Begin(int64_t pid) {
  auto read = std::make_shared<Read>();
  bool start = false;
  {
    const MutexLock lock(&state_->mutex);
    if (state_->waiting.size() >= kMaxWaiting) {
      left_out_.Add();
      read->Finish(nullptr);
      return read;
    }
    state_->waiting.push_back({pid, read});
    start =
        state_->waiting.size() > static_cast<size_t>(state_->idle) && state_->threads < kMaxThreads;
    if (start) ++state_->threads;
  }
  state_->changed.NotifyOne();
  if (start) StartThread();
  return read;
}

void CommandLines::StartThread() {
  try {
    std::thread([state = state_] { Work(state); }).detach();
  } catch (const std::system_error&) {
    // Those that there are do it, or nobody.
    const MutexLock lock(&state_->mutex);
    --state_->threads;
  }
}

void CommandLines::Work(const std::shared_ptr<State>& state) {
  SetThreadName("command-lines");
  while (true) {
    State::Job job;
    {
      const MutexLock lock(&state->mutex);
      ++state->idle;
      while (state->waiting.empty() && !state->ended) state->changed.Wait(&state->mutex);
      --state->idle;
      if (state->ended) return;
      job = std::move(state->waiting.front());
      state->waiting.pop_front();
    }
    job.read->Finish(ReadNow(job.pid));
  }
}

}  // namespace vmeventd
