#pragma once

#include <memory>
#include <utility>

#include "absl/strings/string_view.h"
#include "watcher/libvirt/libvirt_api.h"
#include "watcher/libvirt/libvirt_source.h"
#include "watcher/node/node_watcher.h"
#include "watcher/runs/source_table.h"

namespace vmeventd {

// All sources, of which libvirt's has this API.
inline SourceTable SourcesWithLibvirt(std::shared_ptr<LibvirtApi> api) {
  SourceTable sources = NodeWatcher::AllSources();
  for (SourceKind& source : sources) {
    if (absl::string_view(source.key) == LibvirtSource::kKey) {
      source = LibvirtSource::Kind(std::move(api));
    }
  }
  return sources;
}

}  // namespace vmeventd
