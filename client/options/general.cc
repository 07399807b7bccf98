#include <string>

#include "CLI/CLI.hpp"
#include "absl/time/time.h"
#include "client/cli/option.h"
#include "client/nats/domain.h"
#include "client/options/access.h"
#include "client/options/commands.h"

namespace vmeventd::client {

void AddGeneral(CLI::App* program, Reading* reading) {
  CommandLine* line = &reading->line;
  Access* access = &reading->access;
  AddList(program, "--server", "ADDR",
          "the address of vmeventd, or of the NATS servers of a fleet, as described below; several "
          "servers, separated by commas, are asked at the same time; may be repeated",
          [=](const std::string& text) { access->servers.push_back(text); });
  AddValue(
      program, "--context", "NAME",
      "use the TLS files of this context of the configuration file, and its servers if there is "
      "no --server",
      &reading->context_name);
  AddFile(program, "--tls-ca",
          "use TLS; the server's certificate must be issued by a CA in this PEM file",
          &access->tls.ca_file);
  AddFile(program, "--tls-cert", "the client certificate for a server that requires one, PEM",
          &access->tls.cert_file);
  AddFile(program, "--tls-key", "the private key of --tls-cert, PEM", &access->tls.key_file);
  AddValue(program, "--tls-server-name", "NAME",
           "the name that the server's certificate must have (default the host of --server)",
           &access->tls.server_name);
  AddFile(program, "--credentials",
          "log in to the NATS servers of a fleet with this credentials file (NATS's .creds)",
          &access->credentials);
  AddChecked(
      program, "--nats-domain", "NAME",
      "the JetStream domain of the fleet's stream, if the NATS servers are leaf nodes of others",
      CheckDomain, &access->nats_domain);
  AddChoice(program, "-o,--output", "FORMAT",
            "for people: table (the default), or wide, with more columns; for programs: json or "
            "jsonl, which both print one object a line; name, one VM's name a line; csv, for the "
            "command stats only",
            &line->format);
  AddChoice(program, "--color", "WHEN",
            "auto, always or never; auto: on a terminal, unless $NO_COLOR is set", &line->color);
  AddFlag(program, "--no-color", "the same as --color never", &line->color, ColorMode::kNever);
  AddFlag(program, "--utc", "print and read times in UTC, not in the local time zone",
          &reading->context.zone, absl::UTCTimeZone());
  AddFlag(program, "--no-headers", "print tables without headings", &line->headings, false);
  AddFlag(program, "--no-trunc", "do not cut the rows of tables at the terminal's width",
          &line->cut, false);
  AddFlag(program, "--no-pager", "do not show the lists of events and vms in a pager", &line->pager,
          false);
}

}  // namespace vmeventd::client
