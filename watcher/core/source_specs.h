#pragma once

#include <string>
#include <vector>

#include "watcher/core/libvirt_spec.h"
#include "watcher/core/watch_spec.h"

// The sources of VMs, as flags name them. Pure.

namespace vmeventd {

// The settings of a node's sources. Each member belongs to one flag; its initializer is the flag's
// default.
struct SourceSpecs {
  std::vector<WatchSpec> watches;
  bool watch_manager_sockets = false;  // connect also to monitors that managers need themselves
  std::vector<LibvirtSpec> libvirts;

  // Returns whether no source is named, so that the default is followed.
  bool is_default() const;
  // The followed sources, for people.
  std::string text() const;
  // Returns the specs with what the default stands for: OptionalGanetiWatch() and
  // OptionalSystemLibvirt().
  SourceSpecs Resolved() const;
};

// A sentence for people: no source is named, so these default sources are followed.
std::string DefaultSourcesText();

}  // namespace vmeventd
