#include <string>

#include "CLI/CLI.hpp"
#include "absl/time/time.h"
#include "client/cli/option.h"
#include "client/nats/jetstream.h"
#include "client/options/commands.h"
#include "client/options/common.h"

namespace vmeventd::client {

void AddGeneral(CLI::App* program, Reading* reading) {
  CommandLine* line = &reading->line;
  Access* access = &reading->access;
  AddList(program, "--server", "ADDR",
          "where vmeventd listens, or nats://, see below; several, separated by commas, are asked "
          "at once; may be repeated",
          [=](const std::string& text) { access->servers.push_back(text); });
  AddValue(program, "--context", "NAME",
           "the TLS files, and without --server the servers, of this context in the configuration "
           "file",
           &reading->context_name);
  AddFile(program, "--tls-ca",
          "speak TLS with a server whose certificate is from a CA in this PEM file",
          &access->tls.ca_file);
  AddFile(program, "--tls-cert", "the certificate to show the server, PEM", &access->tls.cert_file);
  AddFile(program, "--tls-key", "that certificate's private key, PEM", &access->tls.key_file);
  AddValue(program, "--tls-server-name", "NAME",
           "the name in the server's certificate (default the host of --server)",
           &access->tls.server_name);
  AddFile(program, "--credentials",
          "log in to the NATS servers of a fleet with this file (NATS's .creds)",
          &access->credentials);
  AddChecked(
      program, "--nats-domain", "NAME",
      "the JetStream domain of the fleet's stream, if the NATS servers are leaf nodes of others",
      CheckDomain, &access->nats_domain);
  AddChoice(program, "-o,--output", "FORMAT",
            "table or wide for people; json, jsonl (the same), name, or csv of stats for programs "
            "(default table)",
            &line->format);
  AddChoice(program, "--color", "WHEN",
            "auto, always or never; auto: on a terminal, unless $NO_COLOR is set", &line->color);
  AddFlag(program, "--no-color", "the same as --color never", &line->color, ColorMode::kNever);
  AddFlag(program, "--utc", "times in UTC, not in the local time zone", &reading->context.zone,
          absl::UTCTimeZone());
  AddFlag(program, "--no-headers", "tables without their headings", &line->headings, false);
  AddFlag(program, "--no-trunc", "do not cut the rows of tables at the terminal's width",
          &line->cut, false);
  AddFlag(program, "--no-pager", "no pager for the lists of events and vms", &line->pager, false);
}

}  // namespace vmeventd::client
