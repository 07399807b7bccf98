// The crash harness as a program:
//
//   crash_test [--seed N] [--rounds N] [--vms N] [--subscribers N]
//
// More than kRoundsAtOnce rounds are split into several games, each with its own seed and journal.
// Exits 0 if every check passed.

#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iostream>
#include <random>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "tests/support/programs.h"
#include "tests/support/temporary_directory.h"
#include "tests/system/crash/checks.h"
#include "tests/system/crash/harness.h"

namespace vmeventd::crash {
namespace {

constexpr int kRoundsAtOnce = 100;
constexpr size_t kMaxPrinted = 30;

// Keeps the daemon's log and journal for inspection.
void Keep(const std::string& directory, uint64_t seed) {
  const std::string kept = absl::StrCat("/tmp/vmeventd-crash-", seed);
  std::filesystem::remove_all(kept);
  std::filesystem::create_directory(kept);
  for (const char* part : {"log", "state"}) {
    std::error_code error;
    std::filesystem::copy(directory + "/" + part, kept + "/" + part,
                          std::filesystem::copy_options::recursive, error);
  }
  std::cout << "the daemon's log and state are in " << kept << std::endl;
}

std::string Summary(const History& history) {
  size_t streams = 0;
  size_t deliveries = 0;
  for (const ClientHistory& client : history.clients) {
    streams += client.streams.size();
    for (const StreamHistory& stream : client.streams) deliveries += stream.deliveries.size();
  }
  return absl::StrCat(history.lives, " lives of the daemon, ", history.runs.size(), " runs, ",
                      history.journal.size(), " events, ", streams, " streams, ", deliveries,
                      " deliveries");
}

bool Play(HarnessOptions options) {
  const TemporaryDirectory directory;
  options.directory = directory.path();
  std::cout << "crash_test --seed " << options.seed << " --rounds " << options.rounds << " --vms "
            << options.vms << " --subscribers " << options.subscribers << std::endl;
  Harness harness(options);
  Findings findings;
  try {
    const History history = harness.Run();
    std::cout << Summary(history) << std::endl;
    findings = Check(history);
  } catch (const std::exception& error) {
    findings.push_back(absl::StrCat("in round ", harness.round(), ": ", error.what()));
  }
  if (findings.empty()) return true;
  std::cout << "seed " << options.seed << ": " << findings.size() << " findings" << std::endl;
  for (size_t i = 0; i < findings.size() && i < kMaxPrinted; ++i) {
    std::cout << "  " << findings[i] << std::endl;
  }
  Keep(directory.path(), options.seed);
  return false;
}

int Main(int argc, char** argv) {
  HarnessOptions options;
  options.seed = std::random_device()();
  options.fake_program = e2e::TestProgramPath("fake_qemu");
  int rounds = 25;
  CLI::App app("The crash harness");
  app.add_option("--seed", options.seed);
  app.add_option("--rounds", rounds);
  app.add_option("--vms", options.vms);
  app.add_option("--subscribers", options.subscribers);
  CLI11_PARSE(app, argc, argv);
  bool good = true;
  for (; rounds > 0; rounds -= kRoundsAtOnce, ++options.seed) {
    options.rounds = std::min(rounds, kRoundsAtOnce);
    good = Play(options) && good;
  }
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace vmeventd::crash

int main(int argc, char** argv) { return vmeventd::crash::Main(argc, argv); }
