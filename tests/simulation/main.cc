// ./dev nightly simulation: runs simulations, each in a process of its own, and says which seeds
// fail.

#include <sys/personality.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "tests/simulation/coverage.h"
#include "tests/simulation/faults.h"
#include "tests/simulation/plan.h"
#include "tests/simulation/simulation.h"
#include "tests/simulation/sqlite_files.h"
#include "tests/simulation/worker.h"

namespace {

using vmeventd::simulation::Plan;
using vmeventd::simulation::PlanOf;
using vmeventd::simulation::Result;
using vmeventd::simulation::Worker;

struct Flags {
  uint64_t seed = 0;  // value of --seed: that one alone, with its story
  bool one = false;
  bool shrink = false;
  uint64_t first = 1;
  uint64_t lives = 10'000;
  uint64_t processes = 1;
  uint64_t failures = 1000;
};

constexpr char kUsage[] =
    "usage: simulate [--seed N | --shrink N] [--first N] [--lives N]\n"
    "                [--processes N] [--failures N] | --faults FILE\n"
    "  --seed N       one simulation, and its story\n"
    "  --shrink N     the same, with as much left out as a failure allows\n"
    "  --first N      the first of the seeds to try, which follow one another; 1 if not given\n"
    "  --lives N      ends after so many lives of VMs; 10000 if not given\n"
    "  --processes N  that simulate at the same time, up to 64; 1 if not given\n"
    "  --failures N   ends after so many failures; 1000 if not given\n"
    "  --faults FILE  writes the judge's table of faults; fails if the file does not have it\n";

constexpr size_t kMaxProcesses = 64;
// Interval of the seeds that are simulated once more, after all others: each must be the same
// story.
constexpr uint64_t kRepeatOneIn = 50;

// Allocates nothing: see Worker.
bool Parse(int argc, char** argv, Flags* flags) {
  const std::pair<absl::string_view, uint64_t*> numbers[] = {
      {"--seed", &flags->seed},           {"--shrink", &flags->seed},
      {"--first", &flags->first},         {"--lives", &flags->lives},
      {"--processes", &flags->processes}, {"--failures", &flags->failures}};
  for (int i = 1; i + 1 < argc; i += 2) {
    const auto* const number =
        std::find_if(std::begin(numbers), std::end(numbers),
                     [&](const auto& each) { return each.first == argv[i]; });
    if (number == std::end(numbers) || !absl::SimpleAtoi(argv[i + 1], number->second)) return false;
    if (number->second != &flags->seed) continue;
    flags->one = true;
    flags->shrink = number->first == "--shrink";
  }
  const bool enough = flags->processes > 0 && flags->failures > 0;
  return argc % 2 == 1 && enough && flags->processes <= kMaxProcesses;
}

// Settings for a simulation's process, which is short and uses some MiB: memory in large pages,
// none of which is given back.
constexpr char kMalloc[] =
    "glibc.malloc.hugetlb=1:glibc.malloc.top_pad=16777216:glibc.malloc.trim_threshold=1073741824:"
    "glibc.malloc.mmap_threshold=1073741824";

// Hash tables are in the order of their addresses, and these shall be the same in each process.
void FixAddresses(char** argv) {
  const int now = personality(0xffffffff);
  if (now < 0 || (now & ADDR_NO_RANDOMIZE) != 0) return;
  if (personality(static_cast<unsigned long>(now) | ADDR_NO_RANDOMIZE) < 0) {
    std::fputs("simulate: addresses are random here: a seed may not be the same story twice\n",
               stderr);
    return;
  }
  setenv("GLIBC_TUNABLES", kMalloc, 1);
  execv("/proc/self/exe", argv);
}

Result Run(Worker* worker, const Plan& plan, bool story) {
  worker->Begin(plan, story);
  return worker->Wait();
}

std::string TextOf(Plan plan) {
  std::string text = absl::StrFormat("seed %d", plan.seed);
  for (const auto& [name, value] : plan.Parts())
    absl::StrAppendFormat(&text, " %s %d", name, *value);
  return text;
}

// A problem without the numbers in it, which differ from plan to plan.
std::string KindOf(std::string problem) {
  std::erase_if(problem, [](char each) { return absl::ascii_isdigit(each); });
  return problem;
}

// The smallest plan that still fails in that way: leaves out of each part all, half, a quarter or
// one, as long as that helps.
Plan Shrink(Worker* worker, Plan plan, const std::string& kind) {
  for (bool smaller = true; smaller;) {
    smaller = false;
    for (size_t i = 0; i < plan.Parts().size(); ++i) {
      const int64_t value = *plan.Parts()[i].second;
      const bool must_be = i + 2 >= plan.Parts().size();  // a world needs a VM
      for (const int64_t less : {int64_t{must_be ? 1 : 0}, value / 2, value * 3 / 4, value - 1}) {
        if (less >= value || less < (must_be ? 1 : 0)) continue;
        Plan tried = plan;
        *tried.Parts()[i].second = less;
        if (KindOf(Run(worker, tried, false).problem) != kind) continue;
        plan = tried;
        smaller = true;
        break;
      }
    }
  }
  return plan;
}

int RunOne(Worker* worker, const Flags& flags) {
  Plan plan = PlanOf(flags.seed);
  if (flags.shrink) {
    const std::string kind = KindOf(Run(worker, plan, false).problem);
    if (!kind.empty()) plan = Shrink(worker, plan, kind);
  }
  const Result result = Run(worker, plan, true);
  for (const std::string& line : result.story) absl::PrintF("%s\n", line);
  absl::PrintF("%s: %s\n", TextOf(plan),
               result.problem.empty() ? "all is as it must be" : result.problem);
  return result.problem.empty() ? 0 : 1;
}

// Runs many seeds, and collects the results of all of them.
class Batch {
 public:
  Batch(const Flags& flags, Worker* workers) : flags_(flags), workers_(workers) {}

  void Run() {
    for (uint64_t seed = flags_.first; lives_ < flags_.lives && failed_ < flags_.failures;) {
      while (running_.size() < flags_.processes) Begin(seed++, false);
      Collect();
    }
    while (!running_.empty()) Collect();
    while (!to_repeat_.empty()) {
      Begin(to_repeat_.back().first, true);
      Collect();
    }
  }

  int Report() const {
    for (const auto& [what, count] : reached_) absl::PrintF("%10d  %s\n", count, what);
    for (const std::string& what : vmeventd::simulation::NotReached(reached_)) {
      absl::PrintF("%10s  %s\n", "NOT", what);
    }
    absl::PrintF("%d lives in %d simulations, %d failed; %d were repeated; all stories %016x\n",
                 lives_, seeds_, failed_, repeated_, digest_);
    return failed_ == 0 ? 0 : 1;
  }

 private:
  struct Running {
    uint64_t seed;
    size_t worker;
    bool repeats;
  };

  void Begin(uint64_t seed, bool repeats) {
    const size_t worker = begun_++ % flags_.processes;
    workers_[worker].Begin(PlanOf(seed), false);
    running_.push_back({seed, worker, repeats});
  }

  void Fail(uint64_t seed, const std::string& problem) {
    ++failed_;
    absl::PrintF("seed %d: %s\n", seed, problem);
  }

  void Collect() {
    const Running running = running_.front();
    running_.pop_front();
    const Result result = workers_[running.worker].Wait();
    if (running.repeats) {
      ++repeated_;
      if (result.digest != to_repeat_.back().second) {
        Fail(running.seed, "it is another story when it is simulated once more");
      }
      to_repeat_.pop_back();
      return;
    }
    ++seeds_;
    lives_ += result.lives;
    digest_ += result.digest;
    if (lives_ >= told_lives_ + 100'000) {
      told_lives_ = lives_;
      absl::FPrintF(stderr, "%d lives, %d failed\n", lives_, failed_);
    }
    for (const auto& [what, count] : result.reached) reached_[what] += count;
    if (!result.problem.empty()) Fail(running.seed, result.problem);
    if (running.seed % kRepeatOneIn == 0) to_repeat_.emplace_back(running.seed, result.digest);
  }

  const Flags flags_;
  Worker* const workers_;
  uint64_t begun_ = 0;
  std::deque<Running> running_;  // ordered by their start
  std::vector<std::pair<uint64_t, uint64_t>>
      to_repeat_;  // seeds, with the digests of their stories
  uint64_t seeds_ = 0;
  uint64_t lives_ = 0;
  uint64_t told_lives_ = 0;  // lives_ at the last report
  uint64_t failed_ = 0;
  uint64_t repeated_ = 0;
  uint64_t digest_ = 0;  // the sum of all, in whatever order they ran
  std::map<std::string, uint64_t> reached_;
};

// Writes the table of faults. Returns 1 if the document does not have it.
int CompareFaults(const char* document) {
  const std::string table = vmeventd::simulation::FaultTable();
  absl::PrintF("%s", table);
  std::ifstream file(document);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (absl::StrContains(text, table)) return 0;
  absl::FPrintF(stderr, "%s does not have this table\n", document);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && argv[1] == absl::string_view("--faults")) return CompareFaults(argv[2]);
  FixAddresses(argv);
  Flags flags;
  if (!Parse(argc, argv, &flags)) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  vmeventd::simulation::UseSimulatedFilesForSqlite();
  std::vector<Worker> workers;
  workers.reserve(kMaxProcesses);
  while (workers.size() < flags.processes) workers.push_back(Worker::Start());
  setvbuf(stdout, nullptr, _IOLBF, 0);
  if (flags.one) return RunOne(workers.data(), flags);
  Batch batch(flags, workers.data());
  batch.Run();
  return batch.Report();
}
