#include "server/logging/stop_line.h"

#include <memory>
#include <utility>

#include "server/logging/log_line.h"
#include "spdlog/spdlog.h"
#include "vmeventd/contract/enums.h"

namespace vmeventd {

nlohmann::ordered_json StopFields(const v1::Event& event) {
  const v1::VmRef& vm = event.vm();
  const v1::ShutdownDetail& detail = event.shutdown();
  const auto of_class = static_cast<ShutdownClass>(detail.shutdown_class());
  nlohmann::ordered_json fields = {
      {"message", "VM stopped"},
      {"vm", vm.name()},
      {"class", std::string(ShutdownClassName(of_class))},
      {"cause", std::string(ShutdownCauseName(static_cast<ShutdownCause>(detail.cause())))},
      {"rule", detail.rule()},
      {"sequence", event.sequence()},
      {"run_id", vm.run_id()},
      {"pid", vm.pid()},
      {"source", vm.source()},
      {"shutdown_file", detail.shutdown_file_written()}};
  if (!vm.unit().empty()) fields["unit"] = vm.unit();
  if (detail.has_exit_signal()) fields["exit_signal"] = detail.exit_signal().number();
  if (detail.has_exit_code()) fields["exit_code"] = detail.exit_code();
  if (detail.has_powerdown_age()) {
    const google::protobuf::Duration& age = detail.powerdown_age();
    fields["powerdown_age_seconds"] = static_cast<double>(age.seconds()) + age.nanos() * 1e-9;
  }
  if (detail.has_intent()) {
    fields["intent_id"] = detail.intent().intent_id();
    fields["intent_actor"] = detail.intent().actor();
  }
  nlohmann::ordered_json evidence = nlohmann::ordered_json::array();
  for (const v1::Evidence& seen : detail.evidence()) evidence.push_back(seen.what());
  fields["evidence"] = std::move(evidence);
  if (detail.has_last_words()) fields["last_words"] = detail.last_words().lines();
  return fields;
}

StopLine::StopLine(const v1::Event& event) {
  const std::shared_ptr<spdlog::logger> logger = spdlog::get(kStopLogger);
  const v1::ShutdownClass of_class = event.shutdown().shutdown_class();
  const bool expected = of_class == ShutdownClass::kUser || of_class == ShutdownClass::kAdmin;
  level_ = expected ? spdlog::level::info : spdlog::level::warn;
  if (logger == nullptr || !logger->should_log(level_)) return;
  fields_ = StopFields(event).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void StopLine::Log() const {
  if (fields_.empty()) return;
  const std::shared_ptr<spdlog::logger> logger = spdlog::get(kStopLogger);
  if (logger != nullptr) logger->log(level_, "{}", fields_);
}

}  // namespace vmeventd
