#include "client/doctor/diagnosis.h"

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/loopback.h"
#include "client/doctor/diagnose_daemon.h"
#include "client/doctor/diagnose_libvirt.h"
#include "client/doctor/diagnose_qemu.h"
#include "client/doctor/diagnose_signals.h"
#include "client/doctor/diagnose_sockets.h"
#include "client/doctor/examination.h"
#include "client/doctor/finding.h"
#include "client/output/shell_quote.h"

namespace vmeventd::client {
namespace {

constexpr char kShowCertificate[] =
    "openssl x509 -noout -subject -issuer -dates -ext subjectAltName,extendedKeyUsage";

}  // namespace

std::string Finding::line() const {
  return absl::StrJoin(steps, "\n", [](std::string* out, const Step& step) { *out += step.line; });
}

Diagnosis Diagnose(const NodeFacts& facts) {
  Examination exam(facts);
  if (!facts.info.waits_for().empty()) {
    exam.Add("start", {facts.address},
             absl::StrCat("vmeventd starts and waits for ", facts.info.waits_for(),
                          ": no VM is followed until it answers."),
             "dmesg | tail");
    return std::move(exam).Finish();
  }
  DiagnoseService(&exam);
  DiagnoseJournal(&exam);
  DiagnoseRights(&exam);
  DiagnoseSignals(&exam);
  DiagnoseHostShutdown(&exam);
  for (const WatchedPlace& place : facts.watches) DiagnoseWatch(place, &exam);
  for (const NodeProcess& process : facts.processes) {
    if (process.qemu) DiagnoseQemu(process, &exam);
  }
  for (const NodeProcess& process : facts.processes) {
    DiagnoseKvmd(process, &exam);
    if (&process == exam.daemon()) DiagnoseLogs(&exam);
  }
  DiagnoseReportedVms(&exam);
  DiagnoseUnfollowedSockets(&exam);
  DiagnoseLibvirts(&exam);
  return std::move(exam).Finish();
}

Diagnosis DiagnoseSilence(const ServerAddress& server, const std::string& why,
                          const ProbeResult& probe, const std::string& client) {
  const std::string address = ToText(server);
  const bool forbidden = probe.error == EACCES;
  std::string what = absl::StrCat(
      forbidden ? "No permission to query vmeventd: " : "vmeventd does not answer: ", why, ".");
  std::string line;
  if (forbidden && !probe.group.empty()) {
    absl::StrAppend(&what, " Members of the group ", probe.group,
                    " have it from their next login on.");
    line = absl::StrCat("sudo usermod -aG ", QuoteForShell(probe.group), " \"$USER\"");
  } else if (forbidden) {
    line = absl::StrCat("sudo ", client, " doctor");
  } else if (server.path == kSystemSocket) {
    line = "systemctl enable --now vmeventd && systemctl status vmeventd";
  } else if (server.is_unix()) {
    // Shows who listens there, and where vmeventd listens.
    line = absl::StrCat("ss -xlp | grep -F -e ", QuoteForShell(server.path), " -e vmeventd");
  } else if (server.tls && probe.error == 0) {
    // Shows the server's certificate, and the client's.
    line = absl::StrCat("openssl s_client -connect ", QuoteForShell(address), " -CAfile ",
                        QuoteForShell(server.tls->ca_file), " </dev/null | ", kShowCertificate);
    if (!server.tls->cert_file.empty()) {
      absl::StrAppend(&line, "; ", kShowCertificate, " -in ", QuoteForShell(server.tls->cert_file));
    }
  } else {
    line = absl::StrCat(
        IsLoopback(server.host) ? "" : absl::StrCat("ssh ", QuoteForShell(server.host), " "),
        probe.error == 0 ? absl::StrCat("ss -tlnp | grep -F :", server.port)
                         : "systemctl status vmeventd");
  }
  return {.asked = absl::StrCat("Asked ", address, ", without an answer: no QEMU was examined"),
          .findings = {{"daemon", {address}, what, {{Place::kShell, line}}}}};
}

}  // namespace vmeventd::client
