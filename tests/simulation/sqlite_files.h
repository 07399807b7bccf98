#pragma once

namespace vmeventd::simulation {

// Makes the files of the running simulation's disk those of SQLite, from now on and for the whole
// process: a VFS beside SQLite's own, with its locks and its shared memory.
void UseSimulatedFilesForSqlite();

}  // namespace vmeventd::simulation
