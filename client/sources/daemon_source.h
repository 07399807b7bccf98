#pragma once

#include <functional>
#include <memory>

#include "absl/time/time.h"
#include "base/clock.h"
#include "client/connect/server_address.h"
#include "client/sources/reconnecting_source.h"
#include "client/sources/source.h"

namespace vmeventd::client {

// Ends a stream that is silent for so long, while it is read.
struct Silence {
  absl::Duration limit = absl::Seconds(30);       // three progress intervals
  std::function<absl::Time()> clock = SteadyNow;  // measures it
};

// Makes the source of one daemon's events. It continues over any number of streams with nothing
// lost or repeated, and relies on the contract: the sequences of one journal increase on a stream,
// and none is given twice; Progress opens every stream, names the journal, and gives the sequence
// up to which everything was sent, and everything is durable. A snapshot counts once it is
// complete; until then it is requested again. The position never passes what is not durable: the
// next stream sends that again, and it is dropped if it was shown.
std::unique_ptr<Source> WatchDaemon(WatchCommand command, ServerAddress address,
                                    ReconnectingSource::Environment environment,
                                    Silence silence = {});

}  // namespace vmeventd::client
