#include "client/output/zone_name.h"

#include <filesystem>
#include <string>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"

namespace vmeventd::client {
namespace {

const absl::Time kSummer = absl::FromUnixSeconds(1782907200);  // 2026-07-01T12:00:00Z

absl::TimeZone Loaded(const std::string& name) {
  absl::TimeZone zone;
  EXPECT_TRUE(absl::LoadTimeZone(name, &zone)) << name;
  return zone;
}

TEST(ZoneName, AZoneThatWasLoadedByItsNameHasIt) {
  EXPECT_EQ(ZoneName(absl::UTCTimeZone(), kSummer), "UTC");
  EXPECT_EQ(ZoneName(Loaded("Europe/Berlin"), kSummer), "Europe/Berlin");
}

TEST(ZoneName, ALinkIntoADatabaseOfZonesHasTheNameOfItsZone) {
  const TemporaryDirectory directory;
  std::filesystem::create_directories(directory / "zoneinfo/Europe");
  std::filesystem::copy("/usr/share/zoneinfo/Europe/Berlin", directory / "zoneinfo/Europe/Berlin");
  std::filesystem::create_symlink("zoneinfo/Europe/Berlin", directory / "localtime");
  EXPECT_EQ(ZoneName(Loaded(directory / "localtime"), kSummer), "Europe/Berlin");
}

TEST(ZoneName, AZoneWithoutANameIsItsOffsetAtTheTime) {
  const TemporaryDirectory directory;
  std::filesystem::copy("/usr/share/zoneinfo/Europe/Berlin", directory / "localtime");
  const absl::TimeZone berlin = Loaded(directory / "localtime");
  EXPECT_EQ(ZoneName(berlin, kSummer), "+02:00");
  EXPECT_EQ(ZoneName(berlin, kSummer + absl::Hours(24 * 180)), "+01:00");
  EXPECT_EQ(ZoneName(absl::FixedTimeZone(-9000), kSummer), "-02:30");
}

}  // namespace
}  // namespace vmeventd::client
