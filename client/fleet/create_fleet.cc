#include "client/fleet/create_fleet.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "client/fleet/fleet_buckets.h"
#include "client/fleet/fleet_subjects.h"
#include "client/nats/jetstream.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {

std::string CreateRequest(const std::string& stream) {
  absl::string_view bucket = stream;
  const bool is_bucket = absl::ConsumePrefix(&bucket, BucketStream(""));
  const std::string subjects =
      is_bucket ? KeySubject(bucket, ">") : absl::StrCat(kSubjectPrefix, ".>");
  const nlohmann::json config = {{"name", stream},
                                 {"description", "Written by vmeventd"},
                                 {"subjects", {subjects}},
                                 {"retention", "limits"},
                                 {"storage", "file"},
                                 {"max_age", absl::ToInt64Nanoseconds(kStreamMaxAge)},
                                 {"discard", is_bucket ? "new" : "old"},
                                 {"deny_delete", true},
                                 {"deny_purge", true},
                                 // The settings of NATS's own clients.
                                 {"max_msgs_per_subject", is_bucket ? 1 : -1},
                                 {"allow_direct", is_bucket}};
  return config.dump();
}

absl::StatusOr<std::string> CreateFleet(NatsConnection* connection,
                                        const FleetCreateCommand& command) {
  std::string lines;
  for (const std::string& stream :
       {std::string(kFleetStream), BucketStream(kVmsBucket), BucketStream(kNodesBucket)}) {
    absl::StatusOr<std::string> line =
        MakeStream(connection, stream, CreateRequest(stream), command.replicas);
    if (!line.ok()) return line;
    lines += *line;
  }
  return lines;
}

}  // namespace vmeventd::client
