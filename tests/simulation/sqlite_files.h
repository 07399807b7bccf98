#pragma once

namespace vmeventd::simulation {

// Makes SQLite use the files on the running simulation's disk, in the whole process and from now
// on: SQLite's own VFS on the simulated system calls.
void UseSimulatedFilesForSqlite();

}  // namespace vmeventd::simulation
