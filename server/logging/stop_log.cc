#include "server/logging/stop_log.h"

#include <memory>
#include <string>

#include "server/logging/logging.h"
#include "spdlog/spdlog.h"
#include "watcher/session/classification.h"

namespace vmeventd {

nlohmann::ordered_json StopFields(const VmEvent& event, const VmRef& vm, uint64_t sequence) {
  const ShutdownDetail detail = event.shutdown.value_or(ShutdownDetail());
  nlohmann::ordered_json fields = {{"message", "VM stopped"},
                                   {"vm", vm.name},
                                   {"class", std::string(ShutdownClassName(detail.shutdown_class))},
                                   {"cause", std::string(ShutdownCauseName(detail.cause))},
                                   {"rule", detail.rule},
                                   {"sequence", sequence},
                                   {"run_id", vm.run_id},
                                   {"pid", vm.pid},
                                   {"source", vm.source},
                                   {"shutdown_file", detail.shutdown_file_written}};
  if (detail.exit_status.has_value()) {
    const bool signalled = detail.exit_status->signal != 0;
    fields[signalled ? "exit_signal" : "exit_code"] =
        signalled ? detail.exit_status->signal : detail.exit_status->code;
  }
  if (detail.powerdown_age.has_value()) {
    fields["powerdown_age_seconds"] = absl::ToDoubleSeconds(*detail.powerdown_age);
  }
  if (detail.intent.has_value()) {
    fields["intent_id"] = detail.intent->intent_id;
    fields["intent_actor"] = detail.intent->actor;
  }
  nlohmann::ordered_json evidence = nlohmann::ordered_json::array();
  for (const EvidenceEntry& entry : detail.evidence) evidence.push_back(entry.what);
  fields["evidence"] = std::move(evidence);
  return fields;
}

StopLine::StopLine(const VmEvent& event, const VmRef& vm, uint64_t sequence) {
  const std::shared_ptr<spdlog::logger> logger = spdlog::get(kStopLogger);
  const bool expected =
      event.shutdown.has_value() && (event.shutdown->shutdown_class == ShutdownClass::kUser ||
                                     event.shutdown->shutdown_class == ShutdownClass::kAdmin);
  level_ = expected ? spdlog::level::info : spdlog::level::warn;
  if (logger == nullptr || !logger->should_log(level_)) return;
  fields_ = StopFields(event, vm, sequence)
                .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void StopLine::Log() const {
  if (fields_.empty()) return;
  const std::shared_ptr<spdlog::logger> logger = spdlog::get(kStopLogger);
  if (logger != nullptr) logger->log(level_, "{}", fields_);
}

}  // namespace vmeventd
