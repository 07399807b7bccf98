#ifndef VMEVENTD_TESTS_SIMULATION_WAITING_H_
#define VMEVENTD_TESTS_SIMULATION_WAITING_H_

#include <functional>

namespace vmeventd::simulation {

// What a thread would do on which another one waits without a limit: there is one thread only.
void SetWorkWhileWaiting(std::function<void()> work);
void WorkWhileWaiting();

}  // namespace vmeventd::simulation

#endif  // VMEVENTD_TESTS_SIMULATION_WAITING_H_
