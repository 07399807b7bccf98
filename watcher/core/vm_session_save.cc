// How a run is kept across restarts of the daemon: one JSON object, docs/journal.md.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "watcher/core/vm_session.h"

namespace vmeventd {
namespace {

using Json = nlohmann::json;

constexpr int kFormat = 1;

Json ToJson(absl::Time time) { return absl::ToUnixNanos(time); }
Json ToJson(const std::optional<absl::Time>& time) {
  return time.has_value() ? ToJson(*time) : Json();
}
Json ToJson(Instant instant) {
  return Json::array(
      {absl::ToUnixNanos(instant.wall), absl::ToInt64Nanoseconds(instant.monotonic)});
}
Json ToJson(absl::Duration duration) { return absl::ToInt64Nanoseconds(duration); }

absl::Time TimeFrom(const Json& json) { return absl::FromUnixNanos(json.get<int64_t>()); }
Instant InstantFrom(const Json& json) {
  return {absl::FromUnixNanos(json.at(0).get<int64_t>()),
          absl::Nanoseconds(json.at(1).get<int64_t>())};
}

Json ToJson(const ShutdownFact& fact) {
  Json json = {{"reason", static_cast<int>(fact.reason)}, {"while_paused", fact.while_paused}};
  if (fact.guest.has_value()) json["guest"] = *fact.guest;
  if (fact.powerdown_age.has_value()) json["powerdown_age"] = ToJson(*fact.powerdown_age);
  return json;
}

ShutdownFact ShutdownFactFrom(const Json& json) {
  ShutdownFact fact;
  fact.reason = static_cast<ShutdownReason>(json.at("reason").get<int>());
  fact.while_paused = json.at("while_paused").get<bool>();
  if (json.contains("guest")) fact.guest = json.at("guest").get<bool>();
  if (json.contains("powerdown_age")) {
    fact.powerdown_age = absl::Nanoseconds(json.at("powerdown_age").get<int64_t>());
  }
  return fact;
}

Json ToJson(const Evidence& evidence) {
  Json json = {{"panicked", evidence.guest_panicked},
               {"watchdog", evidence.watchdog_expired},
               {"hibernating", evidence.hibernating},
               {"migrated", evidence.migrated},
               {"down_before_attach", evidence.down_before_attach}};
  if (evidence.shutdown.has_value()) json["shutdown"] = ToJson(*evidence.shutdown);
  return json;
}

Evidence EvidenceFrom(const Json& json) {
  Evidence evidence;
  evidence.guest_panicked = json.at("panicked").get<bool>();
  evidence.watchdog_expired = json.at("watchdog").get<bool>();
  evidence.hibernating = json.at("hibernating").get<bool>();
  evidence.migrated = json.at("migrated").get<bool>();
  evidence.down_before_attach = json.at("down_before_attach").get<bool>();
  if (json.contains("shutdown")) evidence.shutdown = ShutdownFactFrom(json.at("shutdown"));
  return evidence;
}

Json ToJson(const RunInfo& run) {
  Json json = {{"name", run.name},
               {"run_id", run.run_id},
               {"monitor_path", run.monitor_path},
               {"pid", run.pid},
               {"start_ticks", run.start_ticks},
               {"boot_id", run.boot_id},
               {"raw_path", absl::Base64Escape(run.raw_path)},
               {"process_tracked", run.process_tracked}};
  if (run.process_start != absl::InfinitePast()) json["process_start"] = ToJson(run.process_start);
  return json;
}

RunInfo RunInfoFrom(const Json& json) {
  RunInfo run;
  run.name = json.at("name").get<std::string>();
  run.run_id = json.at("run_id").get<std::string>();
  run.monitor_path = json.at("monitor_path").get<std::string>();
  run.pid = json.at("pid").get<int64_t>();
  run.start_ticks = json.at("start_ticks").get<uint64_t>();
  run.boot_id = json.at("boot_id").get<std::string>();
  absl::Base64Unescape(json.at("raw_path").get<std::string>(), &run.raw_path);
  run.process_tracked = json.at("process_tracked").get<bool>();
  if (json.contains("process_start")) run.process_start = TimeFrom(json.at("process_start"));
  return run;
}

}  // namespace

std::string VmSession::Save() const {
  if (!started_ || state_ == VmState::kStopped) return "";
  Json timeline = Json::array();
  for (const EvidenceEntry& entry : timeline_) {
    timeline.push_back(Json::array({ToJson(entry.time), entry.what}));
  }
  Json json = {{"format", kFormat},
               {"run", ToJson(run_)},
               {"attached_at", ToJson(attached_at_)},
               {"state", static_cast<int>(state_)},
               {"state_time", ToJson(state_time_)},
               {"state_before_loss", static_cast<int>(state_before_loss_)},
               {"lost", monitor_ == Monitor::kLost},
               {"uuid", uuid_},
               {"qemu_version", qemu_version_},
               {"evidence", ToJson(evidence_)},
               {"timeline", std::move(timeline)},
               {"paused", paused_},
               {"shutdown_json", shutdown_json_},
               {"shutdown_qemu_time", ToJson(shutdown_qemu_time_)}};
  if (powerdown_at_.has_value()) json["powerdown_at"] = ToJson(*powerdown_at_);
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::StatusOr<std::unique_ptr<VmSession>> VmSession::Restore(absl::string_view saved,
                                                              const SessionOptions* options,
                                                              Instant now) try {
  const Json json = Json::parse(saved.begin(), saved.end());
  if (json.at("format").get<int>() != kFormat) {
    return absl::InvalidArgumentError("a saved run of another format");
  }
  auto session = std::make_unique<VmSession>(RunInfoFrom(json.at("run")), options, now);
  session->attached_at_ = InstantFrom(json.at("attached_at"));
  session->state_ = static_cast<VmState>(json.at("state").get<int>());
  session->state_time_ = TimeFrom(json.at("state_time"));
  session->state_before_loss_ = static_cast<VmState>(json.at("state_before_loss").get<int>());
  session->monitor_ = json.at("lost").get<bool>() ? Monitor::kLost : Monitor::kUnseen;
  session->uuid_ = json.at("uuid").get<std::string>();
  session->qemu_version_ = json.at("qemu_version").get<std::string>();
  session->evidence_ = EvidenceFrom(json.at("evidence"));
  for (const Json& entry : json.at("timeline")) {
    session->timeline_.push_back({TimeFrom(entry.at(0)), entry.at(1).get<std::string>()});
  }
  session->paused_ = json.at("paused").get<bool>();
  session->shutdown_json_ = json.at("shutdown_json").get<std::string>();
  if (!json.at("shutdown_qemu_time").is_null()) {
    session->shutdown_qemu_time_ = TimeFrom(json.at("shutdown_qemu_time"));
  }
  if (json.contains("powerdown_at")) session->powerdown_at_ = InstantFrom(json.at("powerdown_at"));
  session->started_ = true;
  return session;
} catch (const Json::exception& error) {
  return absl::InvalidArgumentError(absl::StrCat("not a saved run: ", error.what()));
}

}  // namespace vmeventd
