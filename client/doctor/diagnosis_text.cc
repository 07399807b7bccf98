#include "client/doctor/diagnosis_text.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "client/doctor/diagnosis.h"
#include "client/doctor/finding.h"
#include "client/output/count_text.h"
#include "client/output/json.h"
#include "client/output/painter.h"
#include "client/output/terminal_text.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {
namespace {

// The text before a line, and the name for programs, of each Place.
constexpr struct {
  const char* before;
  const char* name;
} kPlaces[] = {{"paste:", "shell"},
               {"in vmeventd's configuration, then restart it:", "vmeventd.conf"},
               {"arguments of QEMU:", "qemu"},
               {"in its manager's configuration:", "manager"},
               {"option of the container:", "container"}};

// Subjects that people read; programs get all.
constexpr size_t kMaxNamed = 40;

// "39: web1 (pid 1), web2 (pid 2), ...".
std::string Subjects(const Finding& finding) {
  const size_t count = finding.subjects.size();
  const auto named = absl::MakeSpan(finding.subjects).subspan(0, kMaxNamed);
  return absl::StrCat(
      count == 1 ? "" : absl::StrCat(count, ": "), EscapeForTerminal(absl::StrJoin(named, ", ")),
      count > kMaxNamed ? absl::StrCat(" and ", count - kMaxNamed, " more (-o name lists them)")
                        : "");
}

}  // namespace

std::string DiagnosisText(const Diagnosis& diagnosis, size_t width, bool color) {
  const Painter painter(color);
  std::string text;
  const auto add_lines = [&](size_t indent, absl::string_view words, Color color_of_lines) {
    for (const std::string& line : WrapText(words, width - indent)) {
      absl::StrAppend(&text, std::string(indent, ' '), painter.Paint(line, color_of_lines), "\n");
    }
  };
  const auto add_finding = [&](const Finding& finding, Color color_of_kind) {
    add_lines(0, Subjects(finding), Color::kBold);
    text.pop_back();
    absl::StrAppend(&text, "  ", painter.Paint(finding.kind, color_of_kind), "\n");
    add_lines(4, EscapeForTerminal(finding.what), Color::kNone);
    for (const Step& step : finding.steps) {
      for (const absl::string_view line : absl::StrSplit(step.line, '\n')) {
        absl::StrAppend(&text, "    ",
                        painter.Paint(kPlaces[static_cast<size_t>(step.place)].before, Color::kDim),
                        " ", EscapeForTerminal(line), "\n");
      }
    }
    text += '\n';
  };
  for (const Finding& finding : diagnosis.findings) add_finding(finding, Color::kYellow);
  for (const Finding& hint : diagnosis.hints) add_finding(hint, Color::kDim);
  std::string summary = absl::StrCat(diagnosis.asked, ". ");
  const auto add = [&summary](size_t count, const char* what) {
    if (count > 0) absl::StrAppend(&summary, ", ", count, what);
  };
  if (diagnosis.qemus > 0) {
    absl::StrAppend(&summary, CountText(diagnosis.qemus, "QEMU"), " here: ", diagnosis.followed,
                    " followed");
    add(diagnosis.followed_elsewhere, " followed by another vmeventd");
    add(diagnosis.usable, " that can be followed");
    add(diagnosis.qemus - diagnosis.followed - diagnosis.followed_elsewhere - diagnosis.usable,
        " not followed");
    summary += ". ";
  } else if (diagnosis.examined) {
    summary += "No QEMU runs here. ";
  }
  const std::string hints = CountText(diagnosis.hints.size(), "hint");
  absl::StrAppend(&summary,
                  diagnosis.findings.empty() ? "No" : absl::StrCat(diagnosis.findings.size()),
                  diagnosis.findings.size() == 1 ? " finding" : " findings",
                  diagnosis.hints.empty() ? "." : absl::StrCat(", ", hints, "."));
  add_lines(0, EscapeForTerminal(summary), Color::kNone);
  return text;
}

std::string DiagnosisLines(const Diagnosis& diagnosis, Form form) {
  std::string text;
  for (const Finding& finding : diagnosis.findings) {
    if (form == Form::kName) {
      for (const std::string& subject : finding.subjects) {
        absl::StrAppend(&text, EscapeForTerminal(subject), "\n");
      }
      continue;
    }
    nlohmann::ordered_json object;
    object["finding"] = finding.kind;
    object["subjects"] = finding.subjects;
    object["what"] = finding.what;
    object["steps"] = nlohmann::ordered_json::array();
    for (const Step& step : finding.steps) {
      nlohmann::ordered_json one;
      one["place"] = kPlaces[static_cast<size_t>(step.place)].name;
      one["line"] = step.line;
      object["steps"].push_back(std::move(one));
    }
    absl::StrAppend(&text, JsonText(object), "\n");
  }
  return text;
}

}  // namespace vmeventd::client
