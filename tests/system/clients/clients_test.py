#!/usr/bin/python3
"""Clients in other languages, made by what docs/api.md says, read the end of a VM from a real vmeventd.

  clients_test.py --vmeventd FILE --vmevents FILE --fake-qemu FILE [TEST...]
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ROOT = pathlib.Path(__file__).resolve().parents[3]
HERE = pathlib.Path(__file__).parent
BUILD = ROOT / "build/clients"
sys.path.insert(0, str(ROOT / "tests/support/python"))

# pylint: disable=wrong-import-position
import world  # noqa: E402
from patience import patience  # noqa: E402

END = "web1 SHUTDOWN_CLASS_CRASH SHUTDOWN_CAUSE_QEMU_CRASHED"


def block(language, holds=""):
    """The block of this language on the page that has the text."""
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8").split("\n## Other languages\n", 1)[1]
    (found,) = [text for kind, text in re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
                if kind == language and holds in text]
    return found


class ClientsTest(world.WorldTest):
    """A daemon whose VM web1 crashed, and a folder with the contract as a clone has it."""

    def setUp(self):
        super().setUp()
        self.port = world.free_port()
        stream = self.world.begin("--listen", f"unix:{self.world.socket}", "--listen", f"127.0.0.1:{self.port}")
        self.world.started_vm(stream, "web1").kill(signal.SIGABRT)
        stream.wait_event("STOPPED", "web1")
        self.folder = self.world.path / "client"
        self.folder.mkdir()
        (self.folder / "proto").symlink_to(ROOT / "proto")

    def run_in_folder(self, *command, **environment):
        """What a command prints."""
        done = subprocess.run(command, cwd=self.folder, env={**os.environ, **environment}, check=False,
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}{done.stderr}")
        return done.stdout

    def expect_the_end(self, *command, **environment):
        """The program prints the end of web1. It watches until it is ended."""
        # pylint: disable=consider-using-with
        process = subprocess.Popen(command, cwd=self.folder, env={**os.environ, **environment}, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        timer = threading.Timer(patience(), process.kill)
        timer.start()
        self.addCleanup(timer.cancel)
        line = process.stdout.readline()
        if line.strip() != END:
            process.kill()
            self.fail(line + process.stdout.read())
        process.stdout.close()


class NodeTest(ClientsTest):
    """grpc-js, which reads the contract at run time, or takes generated code."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.modules = install_node_modules()

    def test_the_documented_javascript_client_receives_an_end(self):
        text = block("js").replace("/run/vmeventd/vmeventd.sock", str(self.world.socket))
        (self.folder / "client.js").write_text(text, encoding="utf-8")
        self.expect_the_end("node", "client.js", NODE_PATH=str(self.modules))

    def test_a_client_of_generated_code_receives_an_end(self):
        (self.folder / "node_modules").symlink_to(self.modules)
        shutil.copy(HERE / "watch.mjs", self.folder)
        self.run_in_folder("bash", "-ec", block("", "--es_out"))
        self.expect_the_end("node", "watch.mjs", f"unix:{self.world.socket}")


class PythonTest(ClientsTest):
    """Python without vmeventd's package."""

    def test_a_client_of_generated_code_receives_an_end(self):
        shutil.copy(HERE / "watch.py", self.folder)
        self.run_in_folder("bash", "-ec", block("", "--grpc_python_out"))
        self.expect_the_end(sys.executable, "watch.py", f"unix:{self.world.socket}", PYTHONPATH="gen")


def install_node_modules():
    """The packages of the lock file, in the build tree."""
    modules = BUILD / "node_modules"
    lock = BUILD / "package-lock.json"
    if not lock.exists() or lock.read_bytes() != (HERE / "package-lock.json").read_bytes():
        shutil.rmtree(BUILD, ignore_errors=True)
        BUILD.mkdir(parents=True)
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(HERE / name, BUILD)
        done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
                              cwd=BUILD, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            print(f"npm cannot install gRPC's package; is its registry reachable? {done.stderr}", file=sys.stderr)
            shutil.rmtree(BUILD)
            sys.exit(77)
    return modules


class ReflectionTest(ClientsTest):
    """A client that has only the server's reflection."""

    def ask_reflection(self, channel, pool, symbol):
        """Adds the files that define the symbol."""
        answers = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=lambda name: b"\x22" + bytes([len(name)]) + name.encode(),  # file_containing_symbol
            response_deserializer=bytes)
        (answer,) = answers(iter([symbol]), timeout=patience())
        files = reflected_files(answer)
        while files:  # each after those that it imports
            ready = [file for file in files if not {each.name for each in files} & set(file.dependency)]
            for file in ready:
                pool.Add(file)
                files.remove(file)

    def test_a_client_that_learns_the_contract_by_reflection_receives_an_end(self):
        channel = grpc.insecure_channel(f"unix:{self.world.socket}")
        self.addCleanup(channel.close)
        pool = descriptor_pool.DescriptorPool()
        self.ask_reflection(channel, pool, "vmeventd.v1.VmEventService")
        method = pool.FindServiceByName("vmeventd.v1.VmEventService").methods_by_name["WatchEvents"]
        factory = message_factory.MessageFactory(pool)
        request, response = (factory.GetPrototype(each) for each in (method.input_type, method.output_type))
        watch = channel.unary_stream("/vmeventd.v1.VmEventService/WatchEvents",
                                     request_serializer=request.SerializeToString,
                                     response_deserializer=response.FromString)
        names = {kind: pool.FindEnumTypeByName(f"vmeventd.v1.{kind}").values_by_number
                 for kind in ("EventType", "ShutdownClass", "ShutdownCause")}
        ends = [event for message in take_until_end(watch(request(from_oldest=True), timeout=patience()), names)
                for event in message.events if names["EventType"][event.type].name == "EVENT_TYPE_STOPPED"]
        (end,) = ends
        self.assertEqual(" ".join((end.vm.name, names["ShutdownClass"][end.shutdown.shutdown_class].name,
                                   names["ShutdownCause"][end.shutdown.cause].name)), END)


def take_until_end(responses, names):
    """The responses up to the one with a STOPPED."""
    for response in responses:
        yield response
        if any(names["EventType"][event.type].name == "EVENT_TYPE_STOPPED" for event in response.events):
            return


def reflected_files(answer):
    """The files of a ServerReflectionResponse, whose field 4 has them, encoded, in its field 1."""
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="reflected.proto", syntax="proto3")
    for name, number, label, kind in (("Response", 4, 1, 11), ("Files", 1, 3, 12)):
        message = file.message_type.add(name=name)
        field = message.field.add(name="files", number=number, label=label, type=kind)
        if kind == 11:
            field.type_name = ".Files"
    pool.Add(file)
    response = message_factory.MessageFactory(pool).GetPrototype(pool.FindMessageTypeByName("Response"))
    return [descriptor_pb2.FileDescriptorProto.FromString(each) for each in response.FromString(answer).files.files]


# The modules that generated code needs, as Debian's packages lay them out: its golang has no module proxy.
GO_SOURCES = pathlib.Path("/usr/share/gocode/src")
GO_MODULES = ("google.golang.org/grpc", "google.golang.org/protobuf", "google.golang.org/genproto", "golang.org/x/net",
              "golang.org/x/sys", "golang.org/x/text", "github.com/golang/protobuf")
JAVA_LIBRARIES = ("grpc-*", "protobuf", "guava", "failureaccess", "geronimo-annotation-1.3-spec", "netty*", "perfmark*",
                  "opencensus*", "jsr305", "gson")


class GeneratedTest(ClientsTest):
    """Code that protoc generates, compiled, and what buf generates."""

    def setUp(self):
        super().setUp()
        self.tools = self.world.path / "tools"
        self.tools.mkdir()
        # Debian 12's own protoc-gen-go knows no optional fields.
        self.run_in_folder("go", "build", "-o", self.tools / "protoc-gen-go", "google.golang.org/protobuf/cmd/protoc-gen-go",
                           GO111MODULE="off", GOPATH=str(GO_SOURCES.parent))
        self.path = f"{self.tools}:{os.environ['PATH']}"

    def test_a_go_client_receives_an_end(self):
        shutil.copy(HERE / "client.go", self.folder)
        self.go("mod", "init", "client.invalid/watch")
        self.run_in_folder("bash", "-ec", block("", "go mod"), PATH=self.path)
        for module in GO_MODULES:
            copy = self.tools / "modules" / module
            shutil.copytree(GO_SOURCES / module, copy)
            (copy / "go.mod").write_text(f"module {module}\ngo 1.18\n", encoding="utf-8")
            self.go("mod", "edit", "-require", f"{module}@v0.0.0", "-replace", f"{module}={copy}")
        self.go("build", "-o", "watch", ".")
        self.expect_the_end("./watch", f"unix://{self.world.socket}")

    def go(self, *arguments):
        self.run_in_folder("go", *arguments, GOFLAGS="-mod=mod", GOPROXY="off", GOSUMDB="off")

    def test_a_java_client_receives_an_end(self):
        shutil.copy(HERE / "Watch.java", self.folder)
        self.run_in_folder("bash", "-ec", block("", "--java_out"))
        jars = ":".join(str(jar) for name in JAVA_LIBRARIES for jar in pathlib.Path("/usr/share/java").glob(f"{name}.jar"))
        sources = [str(file) for file in (self.folder / "gen").rglob("*.java")]
        self.run_in_folder("javac", "-d", "classes", "-cp", jars, "Watch.java", *sources)
        self.expect_the_end("java", "-cp", f"classes:{jars}", "Watch", f"127.0.0.1:{self.port}")



    def test_buf_generates_code_for_each_language(self):
        (self.folder / "buf.gen.yaml").write_text(block("yaml"), encoding="utf-8")
        (self.folder / "node_modules").symlink_to(install_node_modules())
        buf = ROOT / "build/buf/node_modules/.bin/buf"
        self.run_in_folder(buf, "generate", "proto", "--path", "proto/vmeventd/v1", PATH=self.path)
        made = {file.name for file in (self.folder / "gen").rglob("*") if file.is_file()}
        self.assertLessEqual({"vm_events.pb.go", "vm_events_grpc.pb.go", "vm_events_pb2.py", "vm_events_pb2_grpc.py",
                              "VmEventServiceGrpc.java", "Event.java", "vm_events_pb.js"}, made)


if __name__ == "__main__":
    world.run_tests(__doc__)
