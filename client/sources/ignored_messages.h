#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "client/nats/message.h"
#include "client/output/print_sentence.h"

namespace vmeventd::client {

// Returns a function for the messages that are not what vmeventd writes there: it counts them, and
// reports the first, the tenth, the hundredth and so on. `where` names the stream or bucket.
std::function<void(const NatsMessage&, const absl::Status&)> IgnoredIn(std::string where,
                                                                       const PrintSentence& note);

}  // namespace vmeventd::client
