#include "watcher/qmp/path_conflicts.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "watcher/core/foreign_text.h"

namespace vmeventd {
namespace {

using Qemu = NamedMonitors::Qemu;

constexpr char kFix[] = "; a clone has its original's arguments: give it a path of its own";

bool IsNumber(absl::string_view text) {
  return !text.empty() && absl::c_all_of(text, absl::ascii_isdigit);
}

std::string Text(absl::string_view name) {
  constexpr size_t kMaxName = 128;
  return EscapeName(name.substr(0, kMaxName));
}

// The QEMU's own name: the name for people, otherwise its id.
absl::string_view NameOf(const Qemu& qemu) { return qemu.name.empty() ? qemu.id : qemu.name; }

std::string Describe(int64_t pid, const Qemu* qemu) {
  if (pid == 0) return "whose process is not visible";
  const std::string number = absl::StrCat("pid ", pid);
  if (qemu == nullptr || NameOf(*qemu).empty()) return number;
  return absl::StrCat(Text(NameOf(*qemu)), " (", number, ")");
}

class Finder {
 public:
  Finder(const std::vector<FollowedVm>& vms, const std::vector<Qemu>& qemus) : vms_(vms) {
    found_.of_vms.resize(vms.size());
    for (size_t i = 0; i < vms.size(); ++i) {
      by_path_[vms[i].path].push_back(i);
      if (vms[i].pid != 0) by_pid_[vms[i].pid] = i;
    }
    for (const Qemu& qemu : qemus) {
      qemus_[qemu.pid] = &qemu;
      for (const InodeKey& socket : qemu.sockets) by_socket_[socket].push_back(&qemu);
      by_name_[qemu.name].push_back(&qemu);
      if (qemu.id != qemu.name) by_name_[qemu.id].push_back(&qemu);
    }
  }

  PathConflicts Find() && {
    for (const auto& [path, users] : by_path_) {
      if (users.size() > 1) SharePath(users);
    }
    for (size_t i = 0; i < vms_.size(); ++i) {
      const Qemu* const own = QemuOf(vms_[i].pid);
      if (own == nullptr) continue;
      if (vms_[i].at_path) CompareSockets(i, *own);
      CompareNames(i, *own);
    }
    return std::move(found_);
  }

 private:
  const Qemu* QemuOf(int64_t pid) const {
    const auto found = qemus_.find(pid);
    return found == qemus_.end() ? nullptr : found->second;
  }

  // Returns whether `other` is a different QEMU that may use the paths that `own` names. A child of
  // a QEMU that starts or ends does not count: it has the QEMU's command line. A process of another
  // user, except root, does not count either: anybody can write such a command line.
  static bool IsOther(const Qemu& own, const Qemu& other) {
    return other.pid != own.pid && other.parent != own.pid && own.parent != other.pid &&
           (other.user == own.user || other.user == 0);
  }

  void Add(size_t vm, std::string problem) {
    if (found_.of_vms[vm].empty()) found_.of_vms[vm] = std::move(problem);
  }

  std::string Taken(absl::string_view path, absl::string_view by) const {
    return absl::StrCat("another running QEMU, ", by, ", has bound the path of its monitor, ", path,
                        ": vmeventd cannot connect to it again", kFix);
  }
  std::string Shared(absl::string_view path, absl::string_view with) const {
    return absl::StrCat("the path of its monitor, ", path, ", is also that of the running QEMU ",
                        with, kFix);
  }

  // Reports that the VMs `users` share one path.
  void SharePath(const std::vector<size_t>& users) {
    const auto holder = absl::c_find_if(users, [this](size_t i) { return vms_[i].at_path; });
    for (const size_t user : users) {
      const bool taken = holder != users.end() && *holder != user;
      const size_t other = taken ? *holder : user == users[0] ? users[1] : users[0];
      const std::string who = Describe(vms_[other].pid, QemuOf(vms_[other].pid));
      Add(user, taken ? Taken(vms_[user].path, who) : Shared(vms_[user].path, who));
    }
  }

  // Reports other QEMUs that name the VM's socket.
  void CompareSockets(size_t vm, const Qemu& own) {
    const auto named = by_socket_.find(vms_[vm].socket);
    if (named == by_socket_.end()) return;
    for (const Qemu* const other : named->second) {
      if (!IsOther(own, *other)) continue;
      Add(vm, Shared(vms_[vm].path, Describe(other->pid, other)));
      const std::string taken = Taken(vms_[vm].path, Describe(own.pid, &own));
      if (const auto followed = by_pid_.find(other->pid); followed != by_pid_.end()) {
        Add(followed->second, taken);
      } else {
        found_.hidden.push_back({vm, other->pid, Text(NameOf(*other)), taken});
      }
    }
  }

  void CompareNames(size_t vm, const Qemu& own) {
    const std::string name(vms_[vm].name);
    if (NameOf(own).empty() || name == own.name || name == own.id) return;
    const std::string it_is = absl::StrCat("its socket ", vms_[vm].path, " is named ", Text(name));
    if (IsNumber(name) && IsNumber(own.id)) {
      return Add(vm, absl::StrCat(it_is, ", and the VM's id is ", own.id, kFix));
    }
    const auto named = by_name_.find(name);
    if (named == by_name_.end()) return;
    for (const Qemu* const other : named->second) {
      if (!IsOther(own, *other)) continue;
      Add(vm, absl::StrCat(it_is, ", as the running QEMU ", Describe(other->pid, other),
                           " is, and its own name is ", Text(NameOf(own)), kFix));
      if (const auto followed = by_pid_.find(other->pid); followed != by_pid_.end()) {
        Add(followed->second, absl::StrCat("the running QEMU ", Describe(own.pid, &own),
                                           " has a socket of its name, ", vms_[vm].path, kFix));
      }
      return;
    }
  }

  const std::vector<FollowedVm>& vms_;
  PathConflicts found_;
  absl::flat_hash_map<absl::string_view, std::vector<size_t>> by_path_;
  absl::flat_hash_map<int64_t, size_t> by_pid_;
  absl::flat_hash_map<int64_t, const Qemu*> qemus_;
  absl::flat_hash_map<InodeKey, std::vector<const Qemu*>> by_socket_;
  absl::flat_hash_map<absl::string_view, std::vector<const Qemu*>> by_name_;
};

}  // namespace

PathConflicts FindPathConflicts(const std::vector<FollowedVm>& vms,
                                const std::vector<Qemu>& qemus) {
  return Finder(vms, qemus).Find();
}

}  // namespace vmeventd
