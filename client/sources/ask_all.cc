#include "client/sources/ask_all.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "absl/algorithm/container.h"

namespace vmeventd::client {

void AskAll(size_t count, const std::function<void(size_t)>& ask, size_t at_once) {
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < count; i = next++) ask(i);
  };
  std::vector<std::jthread> threads;
  for (size_t i = 1; i < std::min(count, at_once); ++i) threads.emplace_back(work);
  work();
}

std::optional<Failure> ReportFailures(const std::vector<std::optional<Failure>>& failures,
                                      const PrintSentence& note) {
  const std::optional<Failure>* result = nullptr;
  for (const auto& failure : failures) {
    if (!failure) continue;
    const bool is_first_away = failure->code == ExitCode::kUnreachable &&
                               (result == nullptr || (*result)->code != ExitCode::kUnreachable);
    if (result == nullptr || is_first_away) result = &failure;
  }
  for (const auto& failure : failures) {
    if (failure && &failure != result) note(failure->sentence);
  }
  if (result == nullptr) return std::nullopt;
  Failure reported = **result;
  reported.some_answered = absl::c_linear_search(failures, std::nullopt);
  return reported;
}

}  // namespace vmeventd::client
