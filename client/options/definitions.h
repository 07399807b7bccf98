#ifndef VMEVENTD_CLIENT_OPTIONS_DEFINITIONS_H_
#define VMEVENTD_CLIENT_OPTIONS_DEFINITIONS_H_

#include <string>
#include <vector>

#include "client/connect/server_address.h"
#include "client/options/option_values.h"

namespace CLI {
class App;
}  // namespace CLI

namespace vmeventd::client {

// The options as typed.
struct RawOptions {
  std::vector<std::string> servers;
  std::string context;
  TlsOptions tls;
  std::string credentials;
  std::string nats_domain;
  std::string output = "table";
  std::string color = "auto";
  bool utc = false;
  bool no_headers = false;
  bool no_pager = false;
  std::vector<std::string> nodes;
  std::vector<std::string> names;  // of VMs, or the commands of `help`
  FilterTexts filter;
  std::vector<std::string> states;
  std::string from;
  std::string journal;
  std::string count;
  bool no_resume = false;
  bool wait = false;
  std::string since;
  std::string until;
  bool newest_first = false;
  std::string limit;
  std::string replicas;
  std::string last;
  bool follow = false;
  std::string cursor_file;
  std::string exec;
  std::string on_failure = "stop";
  bool exec_gaps = false;
  std::string url;
  std::string url_file;
  std::string format = "cloudevents";
  std::string batch;
  std::string batch_time;
  std::string secret_file;
  std::string header_file;
  TlsOptions push_tls;
  bool insecure_http = false;
  std::string alert_for;
  std::string state_dir;
  std::string metrics_file;
  bool status = false;
  bool all = false;
  std::string name;
  std::string run_id;
  std::string actor;
  std::string reason;
  std::string ttl;
  std::string intent_id;
  std::string service;
  std::string timeout;
  std::string interval;
  std::string window;
};

// Defines all commands and options, with their help. `raw` must outlive `app`.
void Define(CLI::App* app, RawOptions* raw);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_OPTIONS_DEFINITIONS_H_
