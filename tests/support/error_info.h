#pragma once

#include <map>
#include <string>

#include "grpcpp/support/status.h"

// The details for programs in a failed call's status.

namespace vmeventd {

// Returns the reason of an error: a name of the contract's ErrorReason without its prefix;
// "none": the error has none.
std::string ReasonOf(const grpc::Status& status);
// Returns its facts, by their names in the contract.
std::map<std::string, std::string> FactsOf(const grpc::Status& status);

}  // namespace vmeventd
