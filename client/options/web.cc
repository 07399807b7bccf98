#include <string>

#include "CLI/CLI.hpp"
#include "client/cli/option.h"
#include "client/cli/option_error.h"
#include "client/options/add_command.h"
#include "client/options/commands.h"
#include "client/options/filter.h"
#include "client/options/reading.h"

namespace vmeventd::client {

void AddWeb(CLI::App* program, Reading* reading) {
  const auto [app, command] =
      Add<WebCommand>(program, reading, "web", "Serve a web page with the VMs and their events");
  command->listen = {.host = "127.0.0.1", .port = "9557"};
  AddOption(app, "--listen", "HOST:PORT", "address to listen on (default 127.0.0.1:9557)",
            [web = command](const std::string& text) {
              web->listen = Need(ParseListenAddress(text, "9557"));
            });
  AddPair(app, "--web-cert", "use TLS with this certificate, PEM; needs --web-key", "--web-key",
          &command->tls);
  AddFile(app, "--web-client-ca",

          "serve only browsers with a client certificate that is issued by a CA in this PEM file",
          &command->tls.ca_file)
      ->needs(app->get_option("--web-cert"));
  AddFile(app, "--token-file", "serve only browsers that send the token in this file",
          &command->token_file);
  AddNode(app, reading);
}

}  // namespace vmeventd::client
