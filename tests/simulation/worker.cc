#include "tests/simulation/worker.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace vmeventd::simulation {
namespace {

// Timeout of one simulation, which takes a tenth of a second: beyond it, it hangs.
constexpr unsigned kMaxSeconds = 60;

struct Request {
  Plan plan;
  bool story = false;
};

[[noreturn]] void Fail(const char* what) {
  std::perror(what);
  std::_Exit(3);
}

// FNV-1a.
uint64_t DigestOf(const std::vector<std::string>& story) {
  uint64_t digest = 0xcbf29ce484222325;
  for (const std::string& line : story) {
    for (const char each : line) digest = (digest ^ static_cast<uint8_t>(each)) * 0x100000001b3;
    digest = (digest ^ '\n') * 0x100000001b3;
  }
  return digest;
}

[[noreturn]] void SimulateAndExit(const Request& request, int results) {
  alarm(kMaxSeconds);
  const Outcome outcome = Simulate(request.plan);
  FILE* const output = fdopen(results, "w");
  std::fprintf(output, "lives %" PRIu64 "\n", outcome.lives);
  std::fprintf(output, "digest %" PRIu64 "\n", DigestOf(outcome.story));
  for (const auto& [what, count] : outcome.reached) {
    std::fprintf(output, "reached %" PRIu64 " %s\n", count, what.c_str());
  }
  if (request.story) {
    for (const std::string& line : outcome.story) std::fprintf(output, "story %s\n", line.c_str());
  }
  if (!outcome.problem.empty()) std::fprintf(output, "problem %s\n", outcome.problem.c_str());
  std::fclose(output);
  std::_Exit(0);
}

[[noreturn]] void Work(int plans, int results) {
  Request request;
  while (read(plans, &request, sizeof(request)) == sizeof(request)) {
    const pid_t pid = fork();
    if (pid < 0) Fail("simulate: fork");
    if (pid == 0) SimulateAndExit(request, results);
    int status = 0;
    waitpid(pid, &status, 0);
    char line[32];
    const int size = std::snprintf(line, sizeof(line), "end %d\n", status);
    if (write(results, line, static_cast<size_t>(size)) != size) Fail("simulate: write");
  }
  std::_Exit(0);
}

}  // namespace

Worker Worker::Start() {
  int plans[2];
  int results[2];
  if (pipe(plans) != 0 || pipe(results) != 0) Fail("simulate: pipe");
  const pid_t pid = fork();
  if (pid < 0) Fail("simulate: fork");
  if (pid == 0) {
    close(plans[1]);
    close(results[0]);
    Work(plans[0], results[1]);
  }
  close(plans[0]);
  close(results[1]);
  return {plans[1], results[0]};
}

void Worker::Begin(const Plan& plan, bool story) {
  const Request request{plan, story};
  if (write(plans_, &request, sizeof(request)) != sizeof(request)) Fail("simulate: write");
}

Result Worker::Wait() {
  if (reader_ == nullptr) reader_ = fdopen(results_, "r");
  Result result;
  int status = -1;
  char* line = nullptr;
  size_t size = 0;
  while (status == -1 && getline(&line, &size, reader_) > 0) {
    absl::string_view text = absl::StripSuffix(absl::string_view(line), "\n");
    uint64_t count = 0;
    if (absl::ConsumePrefix(&text, "lives ")) {
      if (absl::SimpleAtoi(text, &count)) result.lives = count;
    } else if (absl::ConsumePrefix(&text, "digest ")) {
      if (absl::SimpleAtoi(text, &count)) result.digest = count;
    } else if (absl::ConsumePrefix(&text, "reached ")) {
      const std::pair<absl::string_view, absl::string_view> parts =
          absl::StrSplit(text, absl::MaxSplits(' ', 1));
      if (absl::SimpleAtoi(parts.first, &count)) result.reached[std::string(parts.second)] = count;
    } else if (absl::ConsumePrefix(&text, "story ")) {
      result.story.emplace_back(text);
    } else if (absl::ConsumePrefix(&text, "problem ")) {
      result.problem = std::string(text);
    } else if (absl::ConsumePrefix(&text, "end ")) {
      if (!absl::SimpleAtoi(text, &status)) break;
    }
  }
  std::free(line);
  if (status == -1) Fail("simulate: a worker is gone");
  if (WIFSIGNALED(status)) {
    result.problem = absl::StrCat("it ended by signal ", WTERMSIG(status));
  } else if (WEXITSTATUS(status) != 0) {
    result.problem = absl::StrCat("it ended with status ", WEXITSTATUS(status));
  }
  return result;
}

}  // namespace vmeventd::simulation
