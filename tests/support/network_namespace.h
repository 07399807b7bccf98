#pragma once

#include <string>
#include <vector>

namespace vmeventd::e2e {

// A network namespace with one cable to this machine's: a pair of virtual Ethernet devices. Takes
// root. A failure ends the test program.
class NetworkNamespace {
 public:
  NetworkNamespace();
  ~NetworkNamespace();
  NetworkNamespace(const NetworkNamespace&) = delete;
  NetworkNamespace& operator=(const NetworkNamespace&) = delete;

  // Address of this machine, as the namespace reaches it.
  const std::string& host_address() const { return host_address_; }
  // Words that run a command in the namespace, put before it.
  std::vector<std::string> wrapper() const;
  // Unplugs the cable, or plugs it in again. While it is unplugged every packet is lost, without an
  // error for the sender.
  void Cut(bool cut) const;

 private:
  const std::string name_;
  const std::string host_device_;
  const std::string host_address_;
};

}  // namespace vmeventd::e2e
