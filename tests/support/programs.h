#pragma once

#include <string>

namespace vmeventd::e2e {

// Path of a program under test, "vmeventd" or "vmevents": in the folder that the environment
// variable VMEVENTD_PROGRAMS names, otherwise beside the running test program.
std::string ProgramPath(const std::string& name);

// Path of a program that only tests have: always beside the running test program.
std::string TestProgramPath(const std::string& name);

// Returns whether the programs under test are built with a sanitizer, which makes them slow and
// their memory large: they are those beside a sanitized test program.
bool ProgramsAreSanitized();

}  // namespace vmeventd::e2e
