#include "tests/simulation/waiting.h"

#include <utility>

namespace vmeventd::simulation {
namespace {

std::function<void()>& Work() {
  static auto* const work = new std::function<void()>();
  return *work;
}

}  // namespace

void SetWorkWhileWaiting(std::function<void()> work) { Work() = std::move(work); }

void WorkWhileWaiting() {
  if (Work()) Work()();
}

}  // namespace vmeventd::simulation
