#include "client/output/format_names.h"

#include "absl/strings/str_cat.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

std::string Line(const std::string& name) { return absl::StrCat(EscapeForTerminal(name), "\n"); }

std::string LineOf(const Formatter::Nodes& nodes, int index, const std::string& name) {
  if (nodes.empty()) return Line(name);
  const MessageNode& node = nodes[static_cast<size_t>(index)];
  const std::string cluster =
      node.cluster.empty() ? "" : absl::StrCat(EscapeForTerminal(node.cluster), "/");
  return absl::StrCat(cluster, EscapeForTerminal(node.name), "/", Line(name));
}

}  // namespace

absl::StatusOr<std::string> NameFormatter::FormatEvents(const Events& events, const Nodes& nodes) {
  std::string out;
  for (int i = 0; i < events.size(); ++i) {
    if (events[i].has_vm()) out += LineOf(nodes, i, events[i].vm().name());
  }
  return out;
}

absl::StatusOr<std::string> NameFormatter::FormatVms(const Vms& vms, const Nodes& nodes) {
  std::string out;
  for (int i = 0; i < vms.size(); ++i) out += LineOf(nodes, i, vms[i].ref().name());
  return out;
}

absl::StatusOr<std::string> NameFormatter::FormatVm(const v1::Vm& vm, const Nodes& nodes) {
  return LineOf(nodes, 0, vm.ref().name());
}
absl::StatusOr<std::string> NameFormatter::FormatIntent(const v1::Intent& intent) {
  return Line(intent.intent_id());
}
absl::StatusOr<std::string> NameFormatter::FormatIntents(const Vms& vms) {
  std::string out;
  for (const v1::Vm& vm : vms) out += Line(vm.intent().intent_id());
  return out;
}
absl::StatusOr<std::string> NameFormatter::FormatInfo(const v1::GetServerInfoResponse& info) {
  return Line(info.node());
}
absl::StatusOr<std::string> NameFormatter::FormatHealth(const Health& health) {
  return Line(Health::ServingStatus_Name(health.status()));
}
absl::StatusOr<std::string> NameFormatter::FormatFleet(const Heartbeats& nodes,
                                                       absl::Time /*now*/) {
  std::string out;
  for (const v1::NodeHeartbeat& node : nodes) {
    out += absl::StrCat(EscapeForTerminal(node.cluster()), "/", Line(node.node()));
  }
  return out;
}

}  // namespace vmeventd::client
