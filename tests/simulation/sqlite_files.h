#pragma once

namespace vmeventd::simulation {

// From now on, for the whole process, SQLite uses the files on the running simulation's disk:
// SQLite's own VFS on the simulated system calls.
void UseSimulatedFilesForSqlite();

}  // namespace vmeventd::simulation
