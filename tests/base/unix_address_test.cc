#include "base/unix_address.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace vmeventd {
namespace {

// A socket of a pod, as the node sees it: 121 bytes below the root.
constexpr char kPod[] =
    "var/lib/kubelet/pods/01234567-89ab-cdef-0123-456789abcdef/volumes/kubernetes.io~empty-dir/"
    "libvirt-runtime";

UniqueFd NewSocket() { return UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)); }

bool IsSocket(const std::string& path) {
  struct stat status {};
  return lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode);
}

// Binds a socket to the path, and connects another one to it.
void ExpectBindAndConnect(const std::string& path) {
  const UniqueFd listener = NewSocket();
  const absl::StatusOr<UnixAddress> address = UnixAddress::Open(path);
  ASSERT_TRUE(address.ok()) << address.status();
  ASSERT_EQ(address->Bind(listener.get()), 0);
  ASSERT_EQ(listen(listener.get(), 1), 0);
  EXPECT_TRUE(IsSocket(path));
  EXPECT_EQ(address->Bind(NewSocket().get()), EADDRINUSE);
  const absl::StatusOr<UnixAddress> other = UnixAddress::Open(path);
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(other->Connect(NewSocket().get()), 0);
}

class UnixAddressTest : public testing::Test {
 protected:
  // A path in the directory of that many bytes, whose directories exist.
  std::string PathOf(size_t bytes, const std::string& name = "s") const {
    std::string directory = directory_.path();
    size_t left = bytes - directory.size() - name.size() - 1;
    for (; left > 200; left -= 101) directory += "/" + std::string(100, 'd');
    if (left > 1) directory += "/" + std::string(left - 1, 'd');
    std::filesystem::create_directories(directory);
    EXPECT_EQ(directory.size() + 1 + name.size(), bytes);
    return directory + "/" + name;
  }

  const TemporaryDirectory directory_;
};

TEST_F(UnixAddressTest, APathThatFitsIsTheAddress) {
  const std::string path = PathOf(107);
  EXPECT_EQ(UnixAddress::Open(path)->text(), path);
  ExpectBindAndConnect(path);
}

TEST_F(UnixAddressTest, ALongerPathIsBoundAndConnectedTo) {
  for (const size_t bytes : {108, 121, 155, 1000}) ExpectBindAndConnect(PathOf(bytes));
  ExpectBindAndConnect(directory_.MakeDirectory(kPod) + "/virtqemud-sock");
}

TEST_F(UnixAddressTest, ALongerPathMayContainASymbolicLink) {
  const std::string directory = directory_.MakeDirectory(kPod);
  const std::string link = std::filesystem::path(directory).parent_path() / "link";
  std::filesystem::create_symlink(directory, link);
  ExpectBindAndConnect(link + "/virtqemud-sock");
  EXPECT_TRUE(IsSocket(directory + "/virtqemud-sock"));
}

TEST_F(UnixAddressTest, TheAddressOfALongerPathLivesAsLongAsItsObject) {
  const std::string path = PathOf(155);
  std::string text;
  {
    const UnixAddress address = *UnixAddress::Open(path);
    const UniqueFd listener = NewSocket();
    ASSERT_EQ(address.Bind(listener.get()), 0);
    text = address.text();
    EXPECT_TRUE(IsSocket(text));
  }
  EXPECT_FALSE(IsSocket(text));
}

TEST_F(UnixAddressTest, TheFileNameInALongerPathHasALimit) {
  ExpectBindAndConnect(PathOf(300, std::string(UnixAddress::kMaxNameOfLongerPath, 'n')));
  const std::string name(UnixAddress::kMaxNameOfLongerPath + 1, 'n');
  const std::string path = PathOf(300, name);
  EXPECT_THAT(UnixAddress::Open(path),
              FailsAs(absl::IsInvalidArgument,
                      path + ": its file name is too long for a Unix socket: 83 bytes; in a path "
                             "of more than 107 bytes at most 82 fit"));
  EXPECT_EQ(UnixAddress::Refusal(directory_.path() + "/" + name), "") << "that path fits";
  EXPECT_NE(UnixAddress::Refusal(std::string(108, 'x')), "") << "a path without a directory";
  EXPECT_EQ(UnixAddress::Refusal(std::string(107, 'x')), "");
}

TEST_F(UnixAddressTest, AMissingDirectoryIsNamedWithThePath) {
  const std::string path = PathOf(150) + "/missing/s";
  EXPECT_THAT(UnixAddress::Open(path), FailsAs(absl::IsNotFound, path));
  std::ofstream(PathOf(150)) << "a file";
  EXPECT_THAT(UnixAddress::Open(PathOf(150) + "/s"), Says("Not a directory"));
}

TEST_F(UnixAddressTest, ConnectReturnsTheErrnoOfAMissingSocketAndOfOneWithoutAListener) {
  const std::string path = PathOf(155);
  const UnixAddress address = *UnixAddress::Open(path);
  EXPECT_EQ(address.Connect(NewSocket().get()), ENOENT);
  ASSERT_EQ(address.Bind(NewSocket().get()), 0);
  EXPECT_EQ(address.Connect(NewSocket().get()), ECONNREFUSED);
}

TEST_F(UnixAddressTest, ALongerPathFailsWithoutAFreeDescriptor) {
  const std::string path = PathOf(155);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{0, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const absl::StatusOr<UnixAddress> address = UnixAddress::Open(path);
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_THAT(address, FailsAs(absl::IsResourceExhausted, path));
}

TEST_F(UnixAddressTest, AnOpenSocketFileIsReachedAfterItWasRenamed) {
  const std::string path = PathOf(155);
  const UniqueFd listener = NewSocket();
  ASSERT_EQ(UnixAddress::Open(path)->Bind(listener.get()), 0);
  ASSERT_EQ(listen(listener.get(), 1), 0);
  const UniqueFd file(open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  ASSERT_TRUE(file.valid());
  std::filesystem::rename(path, path + "-old");
  EXPECT_EQ(UnixAddress::OfFile(file.get()).Connect(NewSocket().get()), 0);
}

}  // namespace
}  // namespace vmeventd
