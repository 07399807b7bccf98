#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"

namespace vmeventd {

// The names of the sockets in one directory, bounded in all and for each owner, so that one user
// who may make sockets there cannot keep the others' VMs from being followed. Loop thread.
class SocketSet {
 public:
  struct Limits {
    size_t directory = 20'000;
    size_t owner = 15'000;
  };
  enum class Result { kAdded, kOwnerFull, kDirectoryFull };

  explicit SocketSet(const Limits& limits) : limits_(limits) {}

  // A name that is there already stays, whatever `owner` has by now.
  Result Add(const std::string& name, uint32_t owner) {
    const auto known = owners_.find(name);
    if (known == owners_.end()) {
      if (owners_.size() >= limits_.directory) return Result::kDirectoryFull;
      const auto sockets = sockets_.find(owner);
      if (sockets != sockets_.end() && sockets->second >= limits_.owner) return Result::kOwnerFull;
    } else if (known->second == owner) {
      return Result::kAdded;
    } else {
      Remove(name);
    }
    owners_.emplace(name, owner);
    ++sockets_[owner];
    return Result::kAdded;
  }

  // Returns whether it was there.
  bool Remove(const std::string& name) {
    const auto it = owners_.find(name);
    if (it == owners_.end()) return false;
    if (--sockets_[it->second] == 0) sockets_.erase(it->second);
    owners_.erase(it);
    return true;
  }

  bool contains(const std::string& name) const { return owners_.contains(name); }
  size_t size() const { return owners_.size(); }
  const Limits& limits() const { return limits_; }
  const absl::flat_hash_map<std::string, uint32_t>& owners() const { return owners_; }  // by name

 private:
  const Limits limits_;
  absl::flat_hash_map<std::string, uint32_t> owners_;
  absl::flat_hash_map<uint32_t, size_t> sockets_;  // by owner
};

}  // namespace vmeventd
