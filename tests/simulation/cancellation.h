#pragma once

#include <functional>

#include "grpc/grpc.h"

namespace vmeventd::simulation {

// Callback for each call that the daemon cancels, with the status that the client gets.
// system_calls.cc simulates grpc_call_cancel_with_status.
using OnCancellation = std::function<void(const grpc_call* call, int status)>;
void SetOnCancellation(OnCancellation on_cancellation);

}  // namespace vmeventd::simulation
