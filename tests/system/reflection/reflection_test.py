#!/usr/bin/python3
"""A client that knows nothing of the service but what reflection says, as grpcurl and gRPC's own for Python."""

import pathlib
import queue
import subprocess
import sys
import tempfile

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/support/python"))

# pylint: disable=wrong-import-position
import world  # noqa: E402

VERSIONS = ("v1", "v1alpha")


def reflection_messages():
    """The messages of reflection's own protocol, whose encoding both versions share."""
    with tempfile.NamedTemporaryFile() as file:
        subprocess.run(["protoc", f"-I{ROOT}/proto", f"--descriptor_set_out={file.name}",
                        "grpc/reflection/v1/reflection.proto"], check=True)
        return message_factory.GetMessages(descriptor_pb2.FileDescriptorSet.FromString(file.read()).file)


MESSAGES = reflection_messages()
REQUEST = MESSAGES["grpc.reflection.v1.ServerReflectionRequest"]
RESPONSE = MESSAGES["grpc.reflection.v1.ServerReflectionResponse"]


class Reflection:
    """One open stream, which is asked one thing after another."""

    def __init__(self, channel, version):
        self._requests = queue.Queue()
        method = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
        call = channel.stream_stream(method, REQUEST.SerializeToString, RESPONSE.FromString)
        self._answers = call(iter(self._requests.get, None), timeout=world.PATIENCE)

    def ask(self, **request):
        self._requests.put(REQUEST(host="a-host", **request))
        answer = next(self._answers)
        assert answer.valid_host == "a-host"
        assert answer.original_request == REQUEST(host="a-host", **request)
        return answer

    def services(self):
        return [service.name for service in self.ask(list_services="").list_services_response.service]

    def files(self, **request):
        encoded = self.ask(**request).file_descriptor_response.file_descriptor_proto
        return [descriptor_pb2.FileDescriptorProto.FromString(each) for each in encoded]

    def close(self):
        self._requests.put(None)
        assert not list(self._answers)
        assert self._answers.code() == grpc.StatusCode.OK


class ReflectionTest(world.WorldTest):
    def setUp(self):
        super().setUp()
        self.world.start()

    def pool_of(self, reflection, services):
        files = {file.name: file for service in services
                 for file in reflection.files(file_containing_symbol=service)}
        pool = descriptor_pool.DescriptorPool()

        def add(name):
            file = files.pop(name, None)
            if file is not None:
                for other in file.dependency:
                    add(other)
                pool.Add(file)

        for name in list(files):
            add(name)
        return pool

    def test_every_service_can_be_called_by_what_reflection_says(self):
        for version in VERSIONS:
            reflection = Reflection(self.world.channel, version)
            services = reflection.services()
            self.assertIn("vmeventd.v1.VmEventService", services)
            pool = self.pool_of(reflection, services)
            for service in services:
                for method in pool.FindServiceByName(service).methods:
                    for symbol in (method.full_name, method.input_type.full_name, method.output_type.full_name):
                        self.assertTrue(reflection.files(file_containing_symbol=symbol), symbol)
            reflection.close()
            method = pool.FindServiceByName("vmeventd.v1.VmEventService").FindMethodByName("GetServerInfo")
            factory = message_factory.MessageFactory(pool)
            call = self.world.channel.unary_unary(
                "/vmeventd.v1.VmEventService/GetServerInfo",
                factory.GetPrototype(method.input_type).SerializeToString,
                factory.GetPrototype(method.output_type).FromString)
            answer = call(factory.GetPrototype(method.input_type)(), timeout=world.PATIENCE)
            self.assertEqual(answer.journal_id, self.world.info().journal_id)

    def test_what_is_not_known_is_an_answer_and_the_stream_goes_on(self):
        for version in VERSIONS:
            reflection = Reflection(self.world.channel, version)
            for request in ({"file_containing_symbol": "no.such"}, {"file_by_filename": "no_such.proto"}):
                answer = reflection.ask(**request)
                self.assertEqual(answer.error_response.error_code, grpc.StatusCode.NOT_FOUND.value[0])
            self.assertTrue(reflection.files(file_by_filename="vmeventd/v1/vm_events.proto"))
            reflection.close()


if __name__ == "__main__":
    world.run_tests(__doc__)
