// ./dev simulate: runs simulations, each in a process of its own, and says which seeds fail.

#include <sys/personality.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "tests/simulation/coverage.h"
#include "tests/simulation/simulation.h"
#include "tests/simulation/sqlite_files.h"

namespace {

using vmeventd::simulation::Outcome;
using vmeventd::simulation::Plan;
using vmeventd::simulation::PlanOf;
using vmeventd::simulation::Simulate;

struct Flags {
  uint64_t seed = 0;  // with --seed: that one alone, with its story
  bool one = false;
  bool shrink = false;
  uint64_t first = 1;
  uint64_t lives = 10'000;
  int processes = 1;
};

// Of one simulation, which takes a tenth of a second: then it hangs.
constexpr unsigned kMaxSeconds = 60;

constexpr char kUsage[] =
    "usage: simulate [--seed N | --shrink N] [--first N] [--lives N] [--processes N]\n"
    "  --seed N       one simulation, and its story\n"
    "  --shrink N     likewise, with as much left out as a failure allows\n"
    "  --first N      the first of the seeds to try, which follow one another; 1 if not given\n"
    "  --lives N      ends after so many lives of VMs; 10000 if not given\n"
    "  --processes N  that simulate at the same time; 1 if not given\n";

bool Parse(int argc, char** argv, Flags* flags) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    uint64_t value = 0;
    if (!absl::SimpleAtoi(argv[i + 1], &value)) return false;
    if (name == "--seed" || name == "--shrink") {
      flags->seed = value;
      flags->one = true;
      flags->shrink = name == "--shrink";
    } else if (name == "--first") {
      flags->first = value;
    } else if (name == "--lives") {
      flags->lives = value;
    } else if (name == "--processes" && value > 0) {
      flags->processes = static_cast<int>(value);
    } else {
      return false;
    }
  }
  return argc % 2 == 1;
}

// Hash tables are in the order of their addresses, and these shall be the same in each process.
void FixAddresses(char** argv) {
  const int now = personality(0xffffffff);
  if (now < 0 || (now & ADDR_NO_RANDOMIZE) != 0) return;
  if (personality(static_cast<unsigned long>(now) | ADDR_NO_RANDOMIZE) < 0) {
    std::fputs("simulate: addresses are random here: a seed may not be the same story twice\n",
               stderr);
    return;
  }
  execv("/proc/self/exe", argv);
}

struct Child {
  uint64_t seed = 0;
  pid_t pid = -1;
  FILE* output = nullptr;
};

Child Fork(uint64_t seed) {
  int ends[2];
  if (pipe(ends) != 0) std::abort();
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid < 0) std::abort();
  if (pid == 0) {
    close(ends[0]);
    alarm(kMaxSeconds);
    const Outcome outcome = Simulate(PlanOf(seed));
    FILE* const output = fdopen(ends[1], "w");
    std::fprintf(output, "lives %llu\n", static_cast<unsigned long long>(outcome.lives));
    for (const auto& [what, count] : outcome.reached) {
      std::fprintf(output, "reached %llu %s\n", static_cast<unsigned long long>(count),
                   what.c_str());
    }
    if (!outcome.problem.empty()) std::fprintf(output, "problem %s\n", outcome.problem.c_str());
    std::fclose(output);
    _exit(outcome.problem.empty() ? 0 : 1);
  }
  close(ends[1]);
  return {seed, pid, fdopen(ends[0], "r")};
}

struct Totals {
  uint64_t seeds = 0;
  uint64_t lives = 0;
  uint64_t failed = 0;
  std::map<std::string, uint64_t> reached;
};

void Collect(Child* child, Totals* totals) {
  char* line = nullptr;
  size_t size = 0;
  std::string problem;
  while (getline(&line, &size, child->output) > 0) {
    absl::string_view text = absl::StripSuffix(absl::string_view(line), "\n");
    uint64_t count = 0;
    if (absl::ConsumePrefix(&text, "lives ") && absl::SimpleAtoi(text, &count)) {
      totals->lives += count;
    } else if (absl::ConsumePrefix(&text, "reached ")) {
      const std::pair<absl::string_view, absl::string_view> parts =
          absl::StrSplit(text, absl::MaxSplits(' ', 1));
      if (absl::SimpleAtoi(parts.first, &count))
        totals->reached[std::string(parts.second)] += count;
    } else if (absl::ConsumePrefix(&text, "problem ")) {
      problem = std::string(text);
    }
  }
  std::free(line);
  std::fclose(child->output);
  int status = 0;
  waitpid(child->pid, &status, 0);
  ++totals->seeds;
  if (status == 0) return;
  ++totals->failed;
  if (problem.empty()) problem = "it ended by signal " + std::to_string(WTERMSIG(status));
  std::printf("seed %llu: %s\n", static_cast<unsigned long long>(child->seed), problem.c_str());
}

std::string TextOf(Plan plan) {
  std::string text = "seed " + std::to_string(plan.seed);
  for (const auto& [name, value] : plan.Parts()) {
    text += std::string(" ") + name + " " + std::to_string(*value);
  }
  return text;
}

// In a process of its own, as among others. True: all is as it must be.
bool RunAlone(const Plan& plan, bool print) {
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid < 0) std::abort();
  if (pid == 0) {
    alarm(kMaxSeconds);
    const Outcome outcome = Simulate(plan);
    if (print) {
      for (const std::string& line : outcome.story) std::printf("%s\n", line.c_str());
      std::printf("%s: %s\n", TextOf(plan).c_str(),
                  outcome.problem.empty() ? "all is as it must be" : outcome.problem.c_str());
      std::fflush(nullptr);
    }
    _exit(outcome.problem.empty() ? 0 : 1);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return status == 0;
}

// The smallest plan that still fails: leaves out of each part all, half, a quarter or one, as long
// as that helps.
Plan Shrink(Plan plan) {
  for (bool smaller = true; smaller;) {
    smaller = false;
    for (size_t i = 0; i < plan.Parts().size(); ++i) {
      const int64_t value = *plan.Parts()[i].second;
      const bool must_be = i + 2 >= plan.Parts().size();  // there is no world without a VM
      for (const int64_t less : {int64_t{must_be ? 1 : 0}, value / 2, value * 3 / 4, value - 1}) {
        if (less >= value || (must_be && less < 1)) continue;
        Plan tried = plan;
        *tried.Parts()[i].second = less;
        if (RunAlone(tried, false)) continue;
        plan = tried;
        smaller = true;
        break;
      }
    }
  }
  return plan;
}

int RunOne(const Flags& flags) {
  Plan plan = PlanOf(flags.seed);
  if (flags.shrink && !RunAlone(plan, false)) plan = Shrink(plan);
  return RunAlone(plan, true) ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  FixAddresses(argv);
  setvbuf(stdout, nullptr, _IOLBF, 0);
  Flags flags;
  if (!Parse(argc, argv, &flags)) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  vmeventd::simulation::UseSimulatedFilesForSqlite();
  if (flags.one) return RunOne(flags);
  Totals totals;
  std::vector<Child> running;
  for (uint64_t seed = flags.first; totals.lives < flags.lives;) {
    while (static_cast<int>(running.size()) < flags.processes) running.push_back(Fork(seed++));
    Collect(&running.front(), &totals);
    running.erase(running.begin());
  }
  for (Child& child : running) Collect(&child, &totals);
  for (const auto& [what, count] : totals.reached) {
    std::printf("%10llu  %s\n", static_cast<unsigned long long>(count), what.c_str());
  }
  for (const std::string& what : vmeventd::simulation::NotReached(totals.reached)) {
    std::printf("%10s  %s\n", "NOT", what.c_str());
  }
  std::printf("%llu lives in %llu simulations, %llu failed\n",
              static_cast<unsigned long long>(totals.lives),
              static_cast<unsigned long long>(totals.seeds),
              static_cast<unsigned long long>(totals.failed));
  return totals.failed == 0 ? 0 : 1;
}
