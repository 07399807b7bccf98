#include "client/options/filter.h"

#include <cstddef>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/label_selector.h"
#include "base/uuid.h"
#include "client/cli/option.h"
#include "client/cli/option_error.h"
#include "client/cli/option_text.h"

namespace vmeventd::client {
namespace {

void AddRun(CLI::App* app, v1::EventFilter* filter) {
  AddList(app, "--run", "RUN_ID", "only this run of a VM; may be repeated",
          [=](const std::string& run) { filter->add_run_ids(CheckText(run)); })
      ->delimiter(',');
}

}  // namespace

std::string ReadVmName(std::string text) {
  CheckText(text);
  if (absl::StartsWith(text, "vm/") && text.size() > 3) text.erase(0, 3);
  return text;
}

void AddVmName(const std::string& text, v1::EventFilter* filter) {
  filter->add_vm_names(ReadVmName(text));
}

void AddVm(CLI::App* app, v1::EventFilter* filter) {
  AddList(app, "--vm", "GLOB", "only VMs with these names, separated by commas; may be repeated",
          [=](const std::string& text) {
            constexpr size_t kMaxName = 255;  // of a file, and so of a VM; longer texts are lists
            const bool list = absl::StrContains(CheckText(text), ',');
            if (!list || text.size() <= kMaxName) AddVmName(text, filter);
            if (!list) return;
            for (const absl::string_view one : absl::StrSplit(text, ',', absl::SkipEmpty())) {
              AddVmName(std::string(one), filter);
            }
          });
  AddList(app, "--uuid", "UUID", "only VMs with these UUIDs, separated by commas; may be repeated",
          [=](const std::string& uuid) {
            filter->add_uuids(CheckText(uuid));
            if (ParseUuid(uuid).has_value()) return;
            Wrong(absl::StrCat("\"", uuid,
                               "\" is not a UUID; write it as "
                               "550e8400-e29b-41d4-a716-446655440000"));
          })
      ->delimiter(',');
  AddList(app, "-l,--label", "SELECTOR",
          "only VMs with labels such as app=web,tier!=db; may be repeated",
          [=](const std::string& text) {
            filter->add_labels(CheckText(text));
            const absl::Status selector = LabelSelector::Parse(text).status();
            if (!selector.ok()) Wrong(absl::StrCat("\"", text, "\" ", selector.message()));
          });
}

void AddNames(CLI::App* app, v1::EventFilter* filter) {
  AddVm(app, filter);
  AddList(app, "NAME", "", "only VMs with this name or UUID, or that match this glob",
          [=](const std::string& text) { AddVmName(text, filter); });
}

void AddEnds(CLI::App* app, v1::EventFilter* filter) {
  AddList(app, "--source", "GLOB", "only VMs from a source such as 'libvirt:*'; may be repeated",
          [=](const std::string& text) { filter->add_sources(CheckText(text)); });
  AddNamesOf(app, "class", "only ends by user, admin, crash or unknown; may be repeated",
             v1::ShutdownClass_descriptor(),
             [=](int value) { filter->mutable_classes()->Add(value); });
  AddNamesOf(app, "cause", "only ends of this cause, such as guest-panic; may be repeated",
             v1::ShutdownCause_descriptor(),
             [=](int value) { filter->mutable_causes()->Add(value); });
  AddRun(app, filter);
}

void AddFilter(CLI::App* app, v1::EventFilter* filter) {
  AddNamesOf(app, "type", "only events of this type, such as stopped; may be repeated",
             v1::EventType_descriptor(), [=](int value) { filter->mutable_types()->Add(value); });
  AddEnds(app, filter);
}

void AddNode(CLI::App* app, Reading* reading) {
  AddList(app, "--node", "GLOB", "only this node of a fleet, or CLUSTER/NODE; may be repeated",
          [=](const std::string& text) { reading->line.servers.nodes.push_back(CheckText(text)); });
}

}  // namespace vmeventd::client
