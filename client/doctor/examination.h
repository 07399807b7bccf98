#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "client/doctor/diagnosis.h"
#include "client/doctor/node_facts.h"

// What the parts of a diagnosis share (parts.h): the facts, what follows from them for several
// parts, and the findings.

namespace vmeventd::client {

// In a line for the shell: the words of all subjects. No argument of a process has a NUL.
inline constexpr absl::string_view kWords = {"\0words", 6};
// The kind of the hint at a panic device.
inline constexpr char kPanicDevice[] = "panic-device";
inline constexpr char kDaemonUnit[] = "vmeventd.service";

// The object of a finding.
struct Subject {
  std::string text;
  std::string word = {};  // a pid, or a path as the shell takes it
  std::string name = {};  // the VM's
};

// An examination of a node. One thread; the facts outlive it.
class Examination {
 public:
  // By the file names of QEMUs' monitors: the directories that have one of that name.
  using Directories = std::map<std::string, std::set<std::string>>;

  explicit Examination(const NodeFacts& facts);

  const NodeFacts& facts() const { return facts_; }
  // The vmeventd that was asked; null: it is not seen.
  const NodeProcess* daemon() const { return daemon_; }
  // Its user, as far as it is seen.
  std::string DaemonUser() const { return daemon_ == nullptr ? kDaemonProgram : daemon_->user; }
  // Its systemd unit, if it is the system's; empty: it is none.
  std::string DaemonUnit() const;
  bool FollowsLibvirt() const { return !facts_.info.libvirt_connections().empty(); }
  const Directories& directories() const { return directories_; }
  // The name that a socket at `path` gives its VM; empty: it is not watched.
  std::string VmNameOf(const std::string& path) const;

  // Adds a finding, with steps or with a line for the shell. Findings of the same cause, which the
  // same sentences and steps answer, become one.
  void Add(const std::string& kind, Subject subject, const std::string& what,
           std::vector<Step> steps);
  void Add(const std::string& kind, Subject subject, const std::string& what,
           const std::string& line);
  void AddHint(const std::string& kind, Subject subject, const std::string& what,
               std::vector<Step> steps);
  // What is counted, and the findings so far.
  Diagnosis* diagnosis() { return &diagnosis_; }
  // The QEMUs that a finding explains, by pid.
  std::set<int64_t>* explained() { return &explained_; }

  // The settings for what is followed and what the findings add: a setting replaces all that
  // vmeventd follows by itself where there is none, and all values that the file has for it.
  bool HasWatch(const std::string& watch) const;
  bool HasLibvirt(const std::string& uri) const;
  bool NeedsWatch(const std::string& watch) const { return new_watches_.contains(watch); }
  void KeepWatch(const std::string& watch) { Include(watch, &watches_); }
  void KeepLibvirt(const std::string& uri) { Include(uri, &libvirts_); }
  void NeedWatch(const std::string& watch) { new_watches_.insert(watch); }
  void NeedLibvirt(const std::string& uri) { new_libvirts_.insert(uri); }

  // The diagnosis, with the names, the pids and the settings in its lines.
  Diagnosis Finish() &&;

 private:
  static void AddTo(std::vector<Finding>* list, const std::string& kind, Subject subject,
                    const std::string& what, std::vector<Step> steps);
  static void Include(const std::string& value, std::vector<std::string>* values);
  // Completes its lines. Lines of a shell for each of several VMs become one that repeats them.
  void Complete(Finding* finding) const;
  std::string Settings() const;

  const NodeFacts& facts_;
  const NodeProcess* daemon_ = nullptr;
  Directories directories_;
  Diagnosis diagnosis_;
  std::set<int64_t> explained_;
  std::vector<std::string> watches_;
  std::vector<std::string> libvirts_;
  std::set<std::string> new_watches_;
  std::set<std::string> new_libvirts_;
};

}  // namespace vmeventd::client
