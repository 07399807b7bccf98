#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/config/listen_address.h"
#include "server/config/log_format.h"
#include "server/config/tls_paths.h"
#include "spdlog/common.h"
#include "watcher/core/label_rule.h"
#include "watcher/core/source_specs.h"

namespace vmeventd {

enum class SignalSenders { kAuto, kOff, kRequire };

// The checked flags and configuration file. Each field, and each of `sources`, belongs to one flag
// (see Flag); its initializer is the flag's default.
struct Config {
  SourceSpecs sources;
  std::vector<ListenAddress> listens;
  std::optional<ListenAddress> metrics_listen;
  int64_t metrics_vms = 0;
  std::string tls_cert;
  std::string tls_key;
  std::string tls_client_ca;
  std::vector<std::string> tls_operators;
  bool insecure_listen = false;
  int64_t max_connections = 4'000;
  int64_t max_streams = 2'000;
  std::string state_dir;  // absolute
  absl::Duration powerdown_window = absl::Minutes(10);
  absl::Duration hang_check = absl::Seconds(30);  // InfiniteDuration: off
  absl::Duration retention_age = absl::Hours(24 * 30);
  int64_t retention_events = 1'000'000;
  std::vector<LabelRule> labels;
  bool process_tracking = true;
  SignalSenders signal_senders = SignalSenders::kAuto;
  std::string node;  // empty: the host name
  spdlog::level::level_enum log_level = spdlog::level::info;
  LogFormat log_format = LogFormat::kText;

  // The TLS files of every TCP listener; nullopt: TCP listeners use no TLS.
  std::optional<TlsPaths> tls() const;
  // Part of max_streams that one peer may have.
  int64_t max_streams_per_peer() const { return std::max<int64_t>(1, max_streams / 2); }
};

}  // namespace vmeventd
