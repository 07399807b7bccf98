#include "client/options/add_command.h"

namespace vmeventd::client {

CLI::App* AddCommand(CLI::App* parent, const char* name, const char* help) {
  // --server and -o may also follow the command.
  return parent->add_subcommand(name, help)->fallthrough();
}

}  // namespace vmeventd::client
