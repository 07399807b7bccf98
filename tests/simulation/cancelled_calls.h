#ifndef VMEVENTD_TESTS_SIMULATION_CANCELLED_CALLS_H_
#define VMEVENTD_TESTS_SIMULATION_CANCELLED_CALLS_H_

#include <cstdint>

namespace vmeventd::simulation {

// How many calls of gRPC the daemon has cancelled: grpc_call_cancel_with_status is simulated.
uint64_t CancelledCalls();

}  // namespace vmeventd::simulation

#endif  // VMEVENTD_TESTS_SIMULATION_CANCELLED_CALLS_H_
