#ifndef VMEVENTD_TESTS_SIMULATION_SQLITE_FILES_H_
#define VMEVENTD_TESTS_SIMULATION_SQLITE_FILES_H_

namespace vmeventd::simulation {

// Makes the files of the running simulation's disk those of SQLite, from now on and for the whole
// process: a VFS beside SQLite's own, with its locks and its shared memory.
void UseSimulatedFilesForSqlite();

}  // namespace vmeventd::simulation

#endif  // VMEVENTD_TESTS_SIMULATION_SQLITE_FILES_H_
