#ifndef VMEVENTD_CLIENT_COMMANDS_MERGED_LISTS_H_
#define VMEVENTD_CLIENT_COMMANDS_MERGED_LISTS_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "client/commands/lists.h"

namespace vmeventd::client {

// The lists of several nodes as one: events by time, where those of one node keep their order, and
// VMs by name. Asks all nodes at once, each on a thread of its own. A failed node is noted, the
// others' answers count; the result is then the last node's failure.
class MergedLists : public ListSource {
 public:
  struct Node {
    std::string name;  // shown with its events and VMs
    std::unique_ptr<ListSource> lists;
  };
  // `note` prints a sentence, safe for a terminal, to stderr.
  MergedLists(std::vector<Node> nodes, std::function<void(const std::string&)> note)
      : nodes_(std::move(nodes)), note_(std::move(note)) {}

  std::optional<Failure> ReadEvents(const EventsCommand& command, const Take& take) override;
  std::optional<Failure> ReadVms(const VmsCommand& command, VmList* vms) override;
  std::optional<Failure> ReadVm(const VmCommand& command, VmList* vm) override;

 private:
  using Read = std::function<std::optional<Failure>(ListSource* node, VmList* vms)>;

  // Notes all failures but the last, which it returns.
  std::optional<Failure> Report(const std::vector<std::optional<Failure>>& failures) const;
  // Appends what all nodes answer, by name and then by node.
  std::optional<Failure> ReadAll(const Read& read, VmList* vms) const;

  const std::vector<Node> nodes_;
  const std::function<void(const std::string&)> note_;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_COMMANDS_MERGED_LISTS_H_
