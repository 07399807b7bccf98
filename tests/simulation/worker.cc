#include "tests/simulation/worker.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "nlohmann/json.hpp"

namespace vmeventd::simulation {
namespace {

using Json = nlohmann::json;

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
  Result result = Simulate(request.plan);
  result.digest = DigestOf(result.story);
  if (!request.story) result.story.clear();
  const Json json = {result.problem, result.story, result.reached, result.lives, result.digest};
  // A story may have bytes of any kind.
  const std::string line = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  dprintf(results, "%s\n", line.c_str());
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
    absl::string_view text = line;
    if (absl::ConsumePrefix(&text, "end ")) {
      if (!absl::SimpleAtoi(text, &status)) break;
    } else if (const Json json = Json::parse(text, nullptr, false); !json.is_discarded()) {
      json.at(0).get_to(result.problem);
      json.at(1).get_to(result.story);
      json.at(2).get_to(result.reached);
      json.at(3).get_to(result.lives);
      json.at(4).get_to(result.digest);
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
