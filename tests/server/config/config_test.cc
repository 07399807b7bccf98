#include "server/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/unique_fd.h"
#include "server/config/flags.h"
#include "server/config/listen_address.h"
#include "server/config/log_format.h"
#include "server/config/parse_config.h"
#include "tests/support/files.h"
#include "tests/support/golden_file.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_certificates.h"
#include "tests/support/third_setting.h"
#include "tests/support/unix_socket.h"
#include "watcher/core/source_specs.h"

namespace vmeventd {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

Environment Root() {
  return {0, [](const char*) { return std::string(); }};
}

std::vector<std::string> Words(absl::string_view line) { return absl::StrSplit(line, ' '); }

ParsedConfig Parse(const std::vector<std::string>& arguments) {
  return ParseConfig(arguments, Root());
}

Config Good(const std::vector<std::string>& arguments) {
  const ParsedConfig parsed = Parse(arguments);
  EXPECT_TRUE(parsed.config.has_value()) << parsed.text;
  return parsed.config.value_or(Config());
}

// Arguments that are refused, and the complaints.
struct Wrong {
  std::vector<std::string> arguments;
  std::vector<std::string> says;
  int exit_code = 2;
};

void ExpectWrong(const Wrong& row) {
  const ParsedConfig parsed = Parse(row.arguments);
  EXPECT_FALSE(parsed.config.has_value()) << row.arguments.back();
  EXPECT_EQ(parsed.exit_code, row.exit_code) << row.arguments.back() << ": " << parsed.text;
  for (const std::string& text : row.says) EXPECT_THAT(parsed.text, HasSubstr(text));
}

TEST(Config, NamesTheDefaultSourcesIfNoneIsSet) {
  EXPECT_TRUE(Good({}).sources.is_default());
  EXPECT_FALSE(Good({"--watch", "/nowhere"}).sources.is_default());
  EXPECT_FALSE(Good({"--libvirt", "qemu:///system"}).sources.is_default());
  EXPECT_THAT(Parse({"--check-config"}).text, HasSubstr(DefaultSourcesText()));
  EXPECT_THAT(Parse({"--check-config", "--watch", "/nowhere"}).text,
              Not(HasSubstr(DefaultSourcesText())));
}

TEST(Config, HasDefaultsForRootAndForOtherUsers) {
  std::map<std::string, std::string> variables = {{"HOME", "/home/u"}};
  const Environment user = {1000, [&variables](const char* name) { return variables[name]; }};
  Config config = *ParseConfig({}, user).config;
  EXPECT_EQ(config.listens[0].path, "/run/user/1000/vmeventd/vmeventd.sock");
  EXPECT_EQ(config.state_dir, "/home/u/.local/state/vmeventd");
  variables["XDG_RUNTIME_DIR"] = "/xdg/run";
  variables["XDG_STATE_HOME"] = "/xdg/state";
  config = *ParseConfig({}, user).config;
  EXPECT_EQ(config.listens[0].path, "/xdg/run/vmeventd/vmeventd.sock");
  EXPECT_EQ(config.state_dir, "/xdg/state/vmeventd");
}

TEST(Config, TakesEveryFlag) {
  const Config config = Good(Words(
      "--watch /nowhere/a:*.qmp --watch=/nowhere/b --listen unix:/x/y.sock "
      "--listen 127.0.0.1:7070 --state-dir /x/state/ --powerdown-window 1h30m --hang-check 5m "
      "--process-tracking off --signal-senders require --log-level debug --log-format json "
      "--metrics-listen 127.0.0.1:9556 --node node7.example --retention-age 7d --retention-events "
      "5000"));
  ASSERT_EQ(config.sources.watches.size(), 2);
  EXPECT_EQ(config.sources.watches[0].pattern, "*.qmp");
  EXPECT_EQ(config.sources.watches[1].directory, "/nowhere/b");
  ASSERT_EQ(config.listens.size(), 2);
  EXPECT_EQ(config.listens[1].port, 7070);
  EXPECT_EQ(config.state_dir, "/x/state");
  EXPECT_EQ(config.powerdown_window, absl::Minutes(90));
  EXPECT_EQ(config.hang_check, absl::Minutes(5));
  EXPECT_EQ(config.retention_age, absl::Hours(7 * 24));
  EXPECT_EQ(config.retention_events, 5000);
  EXPECT_EQ(Good({"--hang-check", "off"}).hang_check, absl::InfiniteDuration());
  ASSERT_TRUE(config.metrics_listen.has_value());
  EXPECT_EQ(config.metrics_listen->port, 9556);
  EXPECT_EQ(config.node, "node7.example");
  EXPECT_FALSE(config.process_tracking);
  EXPECT_EQ(config.signal_senders, SignalSenders::kRequire);
  EXPECT_EQ(config.log_level, spdlog::level::debug);
  EXPECT_EQ(config.log_format, LogFormat::kJson);
}

TEST(Config, TheCommandLineOverridesTheFile) {
  const TemporaryDirectory directory;
  std::ofstream(directory / "conf") << "# a comment\n"
                                       "watch = [\"/nowhere/a:*.qmp\", \"/nowhere/b\"]\n"
                                       "powerdown-window = \"500ms\"\n"
                                       "state-dir = /x\n"
                                       "log-format = \"json\"\n";
  const Config config = Good({"--config", directory / "conf", "--state-dir", "/y"});
  ASSERT_EQ(config.sources.watches.size(), 2);
  EXPECT_EQ(config.sources.watches[0].pattern, "*.qmp");
  EXPECT_EQ(config.powerdown_window, absl::Milliseconds(500));
  EXPECT_EQ(config.state_dir, "/y");
  EXPECT_EQ(config.log_format, LogFormat::kJson);
}

// Collects arguments and configuration files, each with the daemon's complaint about it without its
// last line, which names --help.
class Complaints {
 public:
  explicit Complaints(std::string directory) : directory_(std::move(directory)) {}

  void AddTitle(absl::string_view title) {
    absl::StrAppend(&text_, text_.empty() ? "" : "\n", "# ", title, "\n");
  }
  void AddArguments(const std::vector<std::string>& arguments) {
    text_ += "$ vmeventd";
    for (const std::string& word : arguments) {
      const bool is_plain = !word.empty() && !absl::StrContains(word, ' ');
      absl::StrAppend(&text_, " ", is_plain ? word : "'" + word + "'");
    }
    text_ += "\n";
    AddComplaintAbout(arguments);
  }
  // `lines` are those of a configuration file.
  void AddFile(const std::string& lines) {
    const std::string file = directory_ + "/conf";
    std::ofstream(file) << lines;
    for (const absl::string_view line : absl::StrSplit(absl::StripSuffix(lines, "\n"), '\n')) {
      absl::StrAppend(&text_, line.empty() ? ">" : "> ", line, "\n");
    }
    AddComplaintAbout({"--config", file});
  }

  // Paths in the test's directory begin with DIR.
  std::string text() const {
    return absl::StrReplaceAll(text_, {{directory_, "DIR"}, {absl::string_view("\0", 1), "(NUL)"}});
  }

 private:
  void AddComplaintAbout(const std::vector<std::string>& arguments) {
    const ParsedConfig parsed = Parse(arguments);
    EXPECT_FALSE(parsed.config.has_value()) << arguments.back();
    EXPECT_EQ(parsed.exit_code, 2) << arguments.back();
    absl::string_view text = parsed.text;
    EXPECT_TRUE(absl::ConsumeSuffix(&text, "Try vmeventd --help.\n")) << text;
    absl::StrAppend(&text_, text);
  }

  const std::string directory_;
  std::string text_;
};

// Run it with VMEVENTS_WRITE_CAPTURES=1 to write the golden file again, and read the difference.
TEST(Config, ComplaintsMatchTheGoldenFile) {
  const TemporaryDirectory directory;
  const std::string file = directory / "file";
  std::ofstream(file) << "unknown-setting = 1\n";
  const std::string socket = directory / "socket";
  const UniqueFd listening(e2e::ListenUnix(socket));
  const std::vector<std::string> arguments[] = {
      {"--unknown"},
      {"--wach", "/run/qemu"},
      {"--state-dri=/x"},
      {"stray"},
      {"--socket=/x"},
      {"-c", "/etc/vmeventd.conf"},
      {"-v"},
      {"-d"},
      {"--foreground"},
      {"restart"},
      {"why", "web1"},
      {"run", "--watch", "/run/qemu"},
      {"help"},
      {"--watch"},
      {"--watch", ""},
      {"--watch", "/run/vms/a1/qmp.sock", "/run/vms/a2/qmp.sock", "--log-level", "debug"},
      {"/run/vms/a2/qmp.sock"},
      {"--watch", socket},
      {"--watch", file},
      {"--watch", "/nowhere", "--watch", "/nowhere:*.qmp"},
      {"--listen", "0.0.0.0:1"},
      {"--listen", "unix:/a", "--listen", "unix:/a"},
      {"--state-dir", ""},
      {"--state-dir", file},
      {"--state-dir", socket},
      {"--hang-check", "999ms"},
      {"--hang-check", "on"},
      {"--powerdown-window", "0s"},
      {"--powerdown-window", "10"},
      {"--powerdown-window=-3s"},
      {"--powerdown-window", "inf"},
      {"--retention-age", "30"},
      {"--retention-age", "-1d"},
      {"--retention-age", "0d"},
      {"--metrics-listen", "19703"},
      {"--metrics-listen", "unix:/x"},
      {"--metrics-listen", "10.0.0.1:1"},
      {"--metrics-listen", "127.0.0.1:1,role=reader"},
      {"--listen", "unix:/a,mode=0666"},
      {"--tls-cert", file},
      {"--tls-key", file},
      {"--tls-client-ca", file},
      {"--tls-operator", "a"},
      {"--tls-cert", file, "--tls-key", file, "--tls-client-ca", ""},
      {"--insecure-listen=maybe"},
      {"--listen", "unix:/a", "--tls-cert", file, "--tls-key", file},
      {"--max-connections", "0"},
      {"--max-streams", "-1"},
      {"--retention-events", "0"},
      {"--retention-events", "many"},
      {"--process-tracking", "on"},
      {"--signal-senders", "on"},
      {"--log-level", "loud"},
      {"--log-format", "xml"},
      {"--node", "a b"},
      {"--node", std::string(254, 'n')},
      {"--config", file},
      {"--state-dir", "/a", "--state-dir", "/b"},
  };
  const std::string files[] = {
      "watch = []\n",
      "# sources\nlisten = [ # none\n]\n",
      "node = a\nwatch = [\"/a\"",
      "watch = [\"/a\",\nlisten = [\"127.0.0.1:1\"]\n",
      "node = a\nwatch = [\"/a\n",
      "state-dir = '/a\n",
      "state-dir = \"/a#b\"\n",
      "watch = [\"/a\"] x\n",
      "watch = [\"/a\",\n\"/b\"]\nnode = a\nwatch = [\"/c\"]\n",
      "watch = [\"/a\"]\nwatch = /b\n",
      "log-level = info\n#log-level = warn\nlog-level = debug\n",
      "# sources\n\nwach = [\"/a\"]\n",
      "\"state_dir\" = /a\n",
      "verbose = true\n",
      "uri = qemu:///system\n",
      "insecure-listn # a switch\n",
      "check-config = true\n",
      "node = a\n[vmeventd]\n",
      std::string("listen = [\"unix:/a\0b\"]\n", 23),
      std::string("state-dir = \"/a\0b\"\n", 19),
      std::string("watch = [\"/a\0b\"]\n", 17),
      std::string("node = \"a\0b\"\n", 13),
  };
  Complaints complaints(directory.path());
  complaints.AddTitle("Arguments");
  for (const std::vector<std::string>& row : arguments) complaints.AddArguments(row);
  complaints.AddTitle("Lines of the configuration file");
  for (const std::string& row : files) complaints.AddFile(row);
  ExpectGolden("tests/server/config/golden/complaints.txt", complaints.text());
}

TEST(Config, AListMayHaveSeveralLines) {
  const TemporaryDirectory directory;
  std::ofstream(directory / "conf") << "watch = [  # sources\n"
                                       "  \"/nowhere/a:*.qmp\",  # one's = other's\n"
                                       "\n"
                                       "  '/nowhere/b',\n"
                                       "]  # end\n"
                                       "node = it's\n"
                                       "libvirt = [qemu+unix:///system?socket=/x]\n";
  const Config config = Good({"--config", directory / "conf"});
  ASSERT_EQ(config.sources.watches.size(), 2);
  EXPECT_EQ(config.sources.watches[0].pattern, "*.qmp");
  EXPECT_EQ(config.sources.watches[1].directory, "/nowhere/b");
  EXPECT_EQ(config.node, "it's");
  EXPECT_EQ(config.sources.libvirts.size(), 1);
}

// Things that the flags name on this host may exist the next time: the service manager tries again
// after exit code 1, and not after 2.
TEST(Config, AMissingFileOrGroupIsAFailureAndNotAUsageError) {
  const TemporaryDirectory directory;
  const Wrong rows[] = {
      {{"--config", directory / "missing"},
       {"--config: ", "missing: cannot be read: No such file"}},
      {{"--config", directory.path()}, {directory.path(), "cannot be read: Is a directory"}},
      {{"--listen", "unix:/x,group=no-such-group"},
       {"--listen", "unix:/x", "no-such-group", "does not exist"}},
      {{"--listen", "127.0.0.1:1", "--tls-cert", "/none", "--tls-key", "/none"},
       {"--tls-cert", "/none", "No such file"}},
  };
  for (Wrong row : rows) {
    row.arguments.emplace_back("--check-config");
    ExpectWrong(row);
    row.arguments.pop_back();
    row.says.emplace_back("cannot start");
    row.exit_code = 1;
    ExpectWrong(row);
    if (row.arguments[0] == "--config") continue;
    row.arguments.insert(row.arguments.end(), {"--log-level", "loud"});
    EXPECT_EQ(Parse(row.arguments).exit_code, 2) << "wrong usage comes first";
  }
}

TEST(Config, AGroupIsLookedUp) {
  const Config config = Good({"--listen", "unix:/x,group=root", "--listen", "unix:/y,group=54321"});
  EXPECT_EQ(config.listens[0].gid, 0);
  EXPECT_EQ(config.listens[1].gid, 54321);
}

TEST(Config, RefusesAWatchOfAManagersOwnMonitors) {
  const struct {
    std::string watch;
    std::vector<std::string> says;
  } rows[] = {
      {"/var/run/qemu-server:*.qmp", {"Proxmox VE", "/var/run/qemu-server/*.qmp", "qm set VMID"}},
      {"/run/qemu-server:*", {"Proxmox VE"}},
      {"/run/qemu-server:1*.qmp", {"Proxmox VE"}},
      {"/run/qemu-server:20*.qmp", {"Proxmox VE"}},
      {"/var/run/ganeti/kvm-hypervisor/ctrl:*.qmp", {"Ganeti", "*.kvmd"}},
      {"/var/lib/libvirt/qemu/domain-1-web:*.sock", {"libvirt", "--libvirt qemu:///system"}},
      {"/home/u/.config/libvirt/qemu/lib/domain-1-web:*.sock", {"--libvirt qemu:///session"}},
      {"/run/incus/web:qemu.*", {"Incus", "/run/incus/web/qemu.monitor", "raw.qemu"}},
      {"/var/snap/lxd/common/lxd/logs/web:*.monitor", {"LXD"}},
      {"/var/lib/microvms/*:*.sock", {"microvm.nix", "to stop the VM", "microvm.qemu.extraArgs"}},
      {"/home/u/.lima/*:qmp.sock", {"lima", "to stop the VM", "QEMU_SYSTEM_X86_64="}},
      {"/root/.minikube/machines/*:monitor", {"minikube", "cannot be followed"}},
      {"/run/user/1000/podman:qmp_*.sock", {"podman machine", "cannot be followed"}},
      {"/run/vc/vm/*:qmp.sock", {"Kata Containers", "extra_monitor_socket"}},
      {"/var/run/xen:qmp-libxl-*", {"Xen's libxl", "cannot be followed"}},
      {"/home/u/build/output-*:web.monitor", {"packer", "qemuargs"}},
  };
  for (auto row : rows) {
    row.says.insert(row.says.end(), {"--watch: \"" + row.watch, "--watch-manager-sockets"});
    ExpectWrong({{"--check-config", "--watch", row.watch}, row.says});
    EXPECT_EQ(Good({"--watch", row.watch, "--watch-manager-sockets"}).sources.watches.size(), 1);
  }
}

TEST(Config, RefusesALinkToAManagersDirectory) {
  const TemporaryDirectory directory;
  const std::string managers = directory / ".lima";
  const std::string link = directory / "link";
  std::filesystem::create_directories(managers + "/web1");
  std::filesystem::create_directory_symlink(managers, link);
  for (const std::string& watch : {link + "/web1:qmp.*", link + "/*:qmp.sock"}) {
    ExpectWrong({{"--check-config", "--watch", watch}, {"--watch: \"" + watch, managers, "lima"}});
    EXPECT_EQ(Good({"--watch", watch, "--watch-manager-sockets"}).sources.watches.size(), 1);
  }
  EXPECT_EQ(Good({"--watch", link + "/web1:*.events"}).sources.watches.size(), 1);
}

TEST(Config, PermitsAWatchNextToAManagersOwnMonitors) {
  for (const std::string watch :
       {"/run/vmeventd/qmp:*.qmp", "/run/qemu-server:*.vmev", "/run/qemu-server/extra:*.qmp",
        "/var/run/ganeti/kvm-hypervisor/ctrl:*.kvmd", "/run/incus/web:*.events",
        "/srv/qemu:*.monitor", "/srv/qemu:*.sock"}) {
    EXPECT_EQ(Good({"--watch", watch}).sources.watches.size(), 1) << watch;
  }
}

// Every flag is documented everywhere as --help describes it.
TEST(Config, EveryFlagIsInTheHelpTheManualAndTheExample) {
  const auto read = [](const std::string& path) {
    return e2e::ReadFile(VMEVENTD_SOURCE_DIR + path);
  };
  const std::string manual = read("/docs/vmeventd.8");
  const std::string example = read("/deploy/vmeventd.conf");
  const std::string help = Parse({"--help"}).text;
  const Config defaults = DefaultConfig(Root());
  for (const Flag& flag : Flags()) {
    EXPECT_THAT(help, HasSubstr("--" + flag.name)) << flag.name;
    EXPECT_THAT(manual, HasSubstr("Fl -" + flag.name)) << flag.name;
    const std::vector<std::string> values = flag.print(defaults);
    if (values.empty()) {
      EXPECT_THAT(example, HasSubstr(flag.name + " = ")) << flag.name;
      continue;
    }
    EXPECT_THAT(example, HasSubstr("#" + flag.name + " = " + ConfigFileValue(flag, defaults)))
        << flag.name;
    EXPECT_THAT(help, HasSubstr(values.front())) << flag.name;
  }
}

TEST(Config, TheHelpOfTheFirstSourceNamesTheDefaultSources) {
  EXPECT_THAT(Flags().front().help, EndsWith(". " + DefaultSourcesHelp()));
}

TEST(Config, AThirdSourceGetsItsFlagFromItsTable) {
  const TemporaryDirectory directory;
  const std::string file = directory / "file";
  e2e::Touch(file);
  const std::string socket = directory / "socket";
  const UniqueFd listening(e2e::ListenUnix(socket));
  third_values.clear();
  const Flag flag = FlagOf(kThirdSetting);
  EXPECT_EQ(flag.name, "third");
  EXPECT_EQ(flag.argument, "PLACE");
  EXPECT_TRUE(flag.repeatable);
  Config config;
  EXPECT_EQ(ConfigFileValue(flag, config), "");
  EXPECT_TRUE(flag.read({directory.path(), "/nowhere"}, &config).ok());
  EXPECT_EQ(ConfigFileValue(flag, config), "[\"" + directory.path() + "\", \"/nowhere\"]");
  EXPECT_EQ(flag.read({"bad"}, &config).message(), "\"bad\" is no place");
  EXPECT_EQ(flag.read({"/a", "/b", "/a"}, &config).message(), "\"/a\" is given twice");
  EXPECT_EQ(flag.read({file}, &config).message(), "\"" + file + "\" exists and is not a directory");
  EXPECT_EQ(flag.read({socket}, &config).message(),
            "\"" + socket + "\" is a socket; write the place of the third");
}

TEST(Config, AnswersHelpVersionAndCheck) {
  const ParsedConfig help = Parse({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (const char* text : {"--config", "--version", "--check-config", "Examples:"}) {
    EXPECT_THAT(help.text, HasSubstr(text));
  }
  for (const absl::string_view line : absl::StrSplit(help.text, '\n')) {
    EXPECT_LE(line.size(), 80) << line;
  }
  EXPECT_THAT(Parse({"--version"}).text, ::testing::StartsWith("vmeventd "));
  const ParsedConfig check = Parse({"--check-config", "--powerdown-window", "90m"});
  EXPECT_EQ(check.exit_code, 0);
  EXPECT_FALSE(check.config.has_value());
  EXPECT_THAT(check.text, HasSubstr("powerdown-window = \"1h30m\""));
  EXPECT_EQ(Parse({"--check-config", "--log-level", "x"}).exit_code, 2);
}

// A daemon's certificate, and the flags for it.
class TlsConfig : public ::testing::Test {
 protected:
  std::vector<std::string> With(std::vector<std::string> more) const {
    std::vector<std::string> out = {"--listen",          "0.0.0.0:7070", "--tls-cert",
                                    server_.certificate, "--tls-key",    server_.key};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }

  const TemporaryDirectory directory_;
  const std::unique_ptr<CertificateAuthority> authority_ =
      MakeCertificateAuthority(directory_.path());
  const CertificateFiles server_ = authority_->Issue(ServerCertificate());
};

TEST_F(TlsConfig, PermitsListeningBeyondLoopback) {
  const Config config = Good(
      With({"--listen", "127.0.0.1:1,role=reader", "--tls-client-ca", authority_->certificate(),
            "--tls-operator", "a.example", "--tls-operator", "spiffe://x/mover"}));
  ASSERT_TRUE(config.tls().has_value());
  EXPECT_EQ(config.tls()->client_ca, authority_->certificate());
  EXPECT_THAT(config.tls_operators, ::testing::ElementsAre("a.example", "spiffe://x/mover"));
  EXPECT_EQ(Good(With({})).listens[0].host, "0.0.0.0");
  EXPECT_EQ(Good({"--listen", "0.0.0.0:1", "--metrics-listen", "[::]:2", "--insecure-listen"})
                .metrics_listen->host,
            "::");
}

TEST_F(TlsConfig, ErrorsNameFileAndFix) {
  std::ofstream(directory_ / "garbage") << "-----BEGIN CERTIFICATE-----\nnot base64\n";
  std::ofstream(directory_ / "empty") << "";
  const std::string ca = authority_->certificate();
  const Wrong rows[] = {
      {{"--tls-operator", "a"}, {"--tls-operator", "--tls-client-ca"}},
      {{"--tls-client-ca", ca, "--tls-operator", ""}, {"--tls-operator", "empty"}},
      {{"--tls-client-ca", ca, "--tls-operator", "me@example"}, {"\"me@example\"", "DNS name"}},
      {{"--tls-client-ca", ca, "--tls-operator", "2001:db8::1"}, {"\"2001:db8::1\"", "a URI"}},
      {{"--metrics-listen", "0.0.0.0:2"}, {"--metrics-listen", "--insecure-listen"}},
      {{"--tls-client-ca", directory_ / "none"}, {"--tls-client-ca", "none", "No such file"}, 1},
      {{"--tls-client-ca", directory_ / "empty"}, {"--tls-client-ca", "empty", "PEM"}, 1},
      {{"--tls-client-ca", directory_.path()}, {"--tls-client-ca", "not a regular file"}, 1},
  };
  for (const Wrong& row : rows) ExpectWrong({With(row.arguments), row.says, row.exit_code});
  const auto says = [](const std::string& certificate, const std::string& key) {
    return Parse({"--listen", "[::]:1", "--tls-cert", certificate, "--tls-key", key}).text;
  };
  EXPECT_THAT(says(directory_ / "garbage", server_.key),
              HasSubstr("must hold a certificate in PEM"));
  EXPECT_THAT(says(server_.certificate, server_.certificate),
              HasSubstr("must hold the private key"));
  EXPECT_THAT(says(server_.certificate, directory_ / "none"), HasSubstr("--tls-key"));
  const std::string other_type = directory_ / "rsa.key";
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> rsa(EVP_RSA_gen(2048), &EVP_PKEY_free);
  const std::unique_ptr<FILE, decltype(&fclose)> out(fopen(other_type.c_str(), "w"), &fclose);
  PEM_write_PrivateKey(out.get(), rsa.get(), nullptr, nullptr, 0, nullptr, nullptr);
  fflush(out.get());
  EXPECT_THAT(says(server_.certificate, other_type),
              HasSubstr("it must hold the private key of the certificate in"));
}

TEST_F(TlsConfig, CheckConfigPrintsAConfigurationFile) {
  std::vector<std::string> check = With(
      {"--listen", "unix:/x,role=reader,mode=0666", "--tls-client-ca", authority_->certificate(),
       "--tls-operator", "a", "--tls-operator", "b", "--insecure-listen", "--max-streams", "7",
       "--watch", "/nowhere/a", "--watch", "/nowhere/b:x*y", "--check-config"});
  const std::string text = Parse(check).text;
  std::ofstream(directory_ / "conf") << text;
  EXPECT_THAT(text, HasSubstr("\"unix:/x,role=reader,mode=0666\""));
  EXPECT_EQ(Parse({"--check-config", "--config", directory_ / "conf"}).text, text);
}

TEST(ListenAddress, ParsesValidAddresses) {
  const std::pair<const char*, const char*> rows[] = {
      {"unix:/run/x.sock", "unix:/run/x.sock"},
      {"unix:///run/x.sock", "unix:/run/x.sock"},
      {"unix:/run/../run//x.sock", "unix:/run/x.sock"},
      {"127.0.0.1:7070", "127.0.0.1:7070"},
      {"127.255.0.9:1", "127.255.0.9:1"},
      {"localhost:65535", "127.0.0.1:65535"},
      {"[::1]:80", "[::1]:80"},
      {"127.0.0.1:0", "127.0.0.1:0"},
      {"0.0.0.0:7070", "0.0.0.0:7070"},
      {"[::]:7070", "[::]:7070"},
      {"unix:/run/a,b.sock", "unix:/run/a,b.sock"},
      {"unix:/run/a=b,c.sock,role=reader", "unix:/run/a=b,c.sock"},
  };
  for (const auto& [text, is] : rows) {
    const absl::StatusOr<ListenAddress> address = ParseListenAddress(text);
    ASSERT_TRUE(address.ok()) << text << ": " << address.status();
    EXPECT_EQ(address->ToString(), is);
  }
}

TEST(ListenAddress, RefusesMalformedAddressesWithTheReason) {
  const std::pair<std::string, const char*> rows[] = {
      {"|/run/x.sock|7070", "neither"},
      {"unix:", "no path"},
      {"unix:/run/", "directory"},
      {"unix:/" + std::string(107, 'x'), "107 bytes; in a path of more than 107 bytes at most 82"},
      {":7070", "no host"},
      {"example.org:7070|*:7070|127.1:80", "not an IP address"},
      {"::1:7070", "write an IPv6 address as [ADDRESS]:PORT"},
      {"[::1:7070", "without a ]"},
      {"127.0.0.1:", "port"},
      {"127.0.0.1:65536|127.0.0.1:-1|127.0.0.1:http|127.0.0.1: 80", "0 to 65535"},
      {"unix:/x,role=operator|unix:/x,role=", "use role=reader, or no role"},
      {"unix:/x,rolle=reader", "the options are role=, mode= and group="},
      {"127.0.0.1:1,mode=0600", "the options are role="},
      {"unix:/x,mode=660u|unix:/x,mode=66|unix:/x,mode=4660", "use one such as 0660"},
      {"unix:/x,mode=0666|unix:/x,mode=0662", "role=reader"},
      {"unix:/x,group=", "has no name after group="},
  };
  for (const auto& [texts, why] : rows) {
    for (const absl::string_view text : absl::StrSplit(texts, '|')) {
      EXPECT_THAT(ParseListenAddress(text), FailsAs(absl::IsInvalidArgument, why)) << text;
    }
  }
  EXPECT_TRUE(ParseListenAddress("unix:/" + std::string(106, 'x')).ok());
  EXPECT_TRUE(
      ParseListenAddress("unix:/" + std::string(200, 'd') + "/" + std::string(82, 'x')).ok());
}

TEST(ListenAddress, ParsesTheOptionsOfASocket) {
  const ListenAddress plain = ParseListenAddress("unix:/x").value();
  EXPECT_EQ(plain.mode, 0660);
  EXPECT_FALSE(plain.readers_only);
  EXPECT_FALSE(plain.gid.has_value());
  EXPECT_EQ(plain.ToFlag(), "unix:/x");

  ListenAddress all = ParseListenAddress("unix:/x,mode=0666,group=root,role=reader").value();
  EXPECT_EQ(all.path, "/x");
  EXPECT_EQ(all.mode, 0666);
  EXPECT_TRUE(all.readers_only);
  EXPECT_FALSE(all.gid.has_value()) << "parsing asks no name service";
  EXPECT_EQ(all.ToString(), "unix:/x");
  EXPECT_EQ(all.ToFlag(), "unix:/x,role=reader,mode=0666,group=root");
  EXPECT_EQ(ParseListenAddress(all.ToFlag()).value().ToFlag(), all.ToFlag());

  EXPECT_TRUE(ParseListenAddress("[::1]:7,role=reader").value().readers_only);
  EXPECT_EQ(ParseListenAddress("unix:/x,group=54321").value().gid, 54321);

  EXPECT_TRUE(ResolveGroup(&all).ok());
  EXPECT_EQ(all.gid, 0);
  ListenAddress unknown = ParseListenAddress("unix:/x,group=no-such-group").value();
  EXPECT_THAT(ResolveGroup(&unknown), Says("does not exist"));
  EXPECT_EQ(unknown.ToFlag(), "unix:/x,group=no-such-group");
}

}  // namespace
}  // namespace vmeventd
