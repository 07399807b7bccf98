#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "client/doctor/diagnosis.h"
#include "client/doctor/finding.h"
#include "client/doctor/node_facts.h"
#include "client/doctor/proposed_settings.h"

// Shared by the parts of a diagnosis (diagnose_*.h): the facts, conclusions that several parts
// need, and the findings.

namespace vmeventd::client {

// Placeholder in a line for the shell, for the words of all subjects. No argument of a process
// contains a NUL.
inline constexpr absl::string_view kWords = {"\0words", 6};
// The kind of the hint that a VM lacks a panic device.
inline constexpr char kPanicDevice[] = "panic-device";
inline constexpr char kDaemonUnit[] = "vmeventd.service";

// Subject of a finding.
struct Subject {
  std::string text;
  std::string word = {};  // a pid, or a path quoted for the shell
  std::string name = {};  // name of the VM
};

// An examination of a node. One thread; the facts must outlive it.
class Examination {
 public:
  // Keyed by the file name of a QEMU's monitor: the directories with a monitor of that name.
  using Directories = std::map<std::string, std::set<std::string>>;

  explicit Examination(const NodeFacts& facts);

  const NodeFacts& facts() const { return facts_; }
  // The process of the vmeventd that was asked; null: it cannot be seen.
  const NodeProcess* daemon() const { return daemon_; }
  // The user of that process; if it cannot be seen, the default user.
  std::string DaemonUser() const { return daemon_ == nullptr ? kDaemonProgram : daemon_->user; }
  // The unit of that process, if it is a service of the system's systemd; empty: it is not.
  std::string DaemonUnit() const;
  bool FollowsLibvirt() const { return !facts_.info.libvirt_connections().empty(); }
  const Directories& directories() const { return directories_; }
  // The name that a socket at `path` gives its VM; empty: it is not watched.
  std::string VmNameOf(const std::string& path) const;

  // Adds a finding, with steps or with a line for the shell. Findings with the same kind, sentences
  // and steps become one.
  void Add(const std::string& kind, Subject subject, const std::string& what,
           std::vector<Step> steps);
  void Add(const std::string& kind, Subject subject, const std::string& what,
           const std::string& line);
  void AddHint(const std::string& kind, Subject subject, const std::string& what,
               std::vector<Step> steps);
  // The counts and the findings so far.
  Diagnosis* diagnosis() { return &diagnosis_; }
  // The pids of the QEMUs that a finding explains.
  std::set<int64_t>* explained() { return &explained_; }

  // Returns whether a socket or another file has the path, or a step of another finding gives it
  // to a new monitor.
  bool IsTaken(const std::string& path) const { return taken_.contains(path); }
  void Take(const std::string& path) { taken_.insert(path); }

  // The settings that the daemon needs. Its lines are those of each step of
  // Place::kConfiguration.
  ProposedSettings* settings() { return &settings_; }

  // Returns the diagnosis, with names, words and settings filled into its lines.
  Diagnosis Finish() &&;

 private:
  static void AddTo(std::vector<Finding>* list, const std::string& kind, Subject subject,
                    const std::string& what, std::vector<Step> steps);
  // Completes the finding's lines. Shell lines that concern each of several VMs become one loop.
  void Complete(Finding* finding) const;

  const NodeFacts& facts_;
  const NodeProcess* daemon_ = nullptr;
  Directories directories_;
  Diagnosis diagnosis_;
  std::set<int64_t> explained_;
  std::set<std::string> taken_;
  ProposedSettings settings_;
};

}  // namespace vmeventd::client
