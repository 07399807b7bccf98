#pragma once

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/stream/checked_requests.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/node/intent_request.h"

// Checks requests against the contract, but not whether what they name is known or retained. An
// error is INVALID_ARGUMENT and names the field, its value and the rule. Pure; any thread.

namespace vmeventd {

inline constexpr size_t kMaxListEntries = 1'000;  // entries of each list of a filter
inline constexpr size_t kMaxNameBytes = 1'024;    // size of a name or a pattern
// Limits for the name patterns of one request, and for its source patterns: the number of those
// with a wildcard, because each is compared with every name; and the bytes of all, because a stream
// holds them while it is open.
inline constexpr size_t kMaxGlobs = 32;
inline constexpr size_t kMaxPatternBytes = size_t{64} << 10;
inline constexpr size_t kMaxSelectors = 100;  // selectors of labels
inline constexpr size_t kMaxPageTokenBytes = size_t{8} << 10;
inline constexpr int kDefaultPageSize = 100;
inline constexpr int kMaxPageSize = 1'000;
inline constexpr size_t kMaxActorBytes = 256;
inline constexpr size_t kMaxReasonBytes = 1'024;
inline constexpr size_t kMaxRequestIdBytes = 256;
inline constexpr absl::Duration kDefaultIntentTtl = absl::Minutes(10);
inline constexpr absl::Duration kMaxIntentTtl = absl::Hours(24);

absl::StatusOr<WatchRequest> CheckWatchEvents(const v1::WatchEventsRequest& request);

absl::StatusOr<StreamPage> CheckListStreams(const v1::ListStreamsRequest& request);

// Returns the request with the page size that applies.
absl::StatusOr<v1::ListEventsRequest> CheckListEvents(v1::ListEventsRequest request);

// Returns the list whose events are counted.
absl::StatusOr<v1::ListEventsRequest> CheckCountEvents(const v1::CountEventsRequest& request);

// Returns the page size.
absl::StatusOr<int> CheckListVms(const v1::ListVmsRequest& request);

absl::Status CheckGetVm(const v1::GetVmRequest& request);

// Returns the intent to declare; its intent_id is not set.
absl::StatusOr<IntentRequest> CheckDeclareIntent(const v1::DeclareIntentRequest& request);

// Checks the field of a request that has only one, which names something.
absl::Status CheckName(const std::string& field, const std::string& name);

}  // namespace vmeventd
