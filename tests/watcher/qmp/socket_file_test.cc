#include "watcher/qmp/socket_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "base/unique_fd.h"
#include "gtest/gtest.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/files.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/wait.h"

namespace vmeventd {
namespace {

TEST(OpenSocketFileTest, ReturnsTheErrnoIfThePathIsNoSocket) {
  TemporaryDirectory directory;
  SocketFile file;
  EXPECT_EQ(OpenSocketFile(directory.Path("missing"), &file), ENOENT);
  e2e::Touch(directory.Path("file"));
  EXPECT_EQ(OpenSocketFile(directory.Path("file"), &file), ENOTSOCK);
  ASSERT_EQ(mkfifo(directory.Path("fifo").c_str(), 0600), 0);
  EXPECT_EQ(OpenSocketFile(directory.Path("fifo"), &file), ENOTSOCK);
  FakeQemu qemu;
  qemu.AddMonitor(directory.Path("socket"));
  ASSERT_EQ(symlink(directory.Path("socket").c_str(), directory.Path("link").c_str()), 0);
  EXPECT_EQ(OpenSocketFile(directory.Path("link"), &file), ENOTSOCK);
  EXPECT_EQ(OpenSocketFile(directory.Path("socket"), &file), 0);
}

TEST(LookAtSocketTest, DistinguishesASocketFromTheNextAtItsPath) {
  TemporaryDirectory directory;
  FakeQemu qemu;
  const std::string path = directory.Path("socket");
  SeenSocket seen;
  EXPECT_EQ(LookAtSocket(path, &seen), ENOENT);
  qemu.AddMonitor(path);
  SocketFile file;
  ASSERT_EQ(OpenSocketFile(path, &file), 0);
  ASSERT_EQ(LookAtSocket(path, &seen), 0);
  EXPECT_EQ(seen.identity, file.identity);
  file.fd.Reset();
  ASSERT_TRUE(StepUntil([] {}, [&] {  // its inode may be used again, and its time in one tick
    EXPECT_EQ(unlink(path.c_str()), 0);
    qemu.AddMonitor(path);
    EXPECT_EQ(LookAtSocket(path, &seen), 0);
    return !(seen.identity == file.identity);
  }));
  ASSERT_EQ(symlink(path.c_str(), directory.Path("link").c_str()), 0);
  EXPECT_EQ(LookAtSocket(directory.Path("link"), &seen), ENOTSOCK);
}

TEST(ConnectToTest, ReturnsTheErrnoOfASocketThatDoesNotListen) {
  TemporaryDirectory directory;
  FakeQemu qemu;
  qemu.AddMonitor(directory.Path("socket"), {.listen = false});
  SocketFile file;
  UniqueFd connection;
  ASSERT_EQ(OpenSocketFile(directory.Path("socket"), &file), 0);
  EXPECT_EQ(ConnectTo(file, &connection), ECONNREFUSED);
}

}  // namespace
}  // namespace vmeventd
