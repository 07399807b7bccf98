#pragma once

#include <cstddef>
#include <string>

#include "client/doctor/diagnosis.h"
#include "client/output/formatter.h"

namespace vmeventd::client {

// The findings and a summary, for people. Wrapped to `width` columns, except the lines to paste.
std::string DiagnosisText(const Diagnosis& diagnosis, size_t width, bool color);
// The findings, for programs: one JSON object for each finding, or one subject, on each line.
std::string DiagnosisLines(const Diagnosis& diagnosis, Form form);

}  // namespace vmeventd::client
