"""Three ways to register extensions with a service, and a clear error for each mistake."""

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BytesValue, Int64Value, StringValue

from actors import Registry
from callboard_service.errors import BadExtension
from callboard_service.extensions import register_all
from tests.e2e.contract_client import message
from tests.e2e.service_process import ServiceProcess, run, running
from transport.errors import NotProtobuf
from transport.wire.codec import Wire

GOOD = """
    from google.protobuf.wrappers_pb2 import StringValue
    from actors import Registry, RequestActor

    class Upper(RequestActor[StringValue, StringValue]):
        async def handle(self, request: StringValue) -> StringValue:
            return StringValue(value=request.value.upper())

    def register(registry: Registry) -> None:
        registry.register(StringValue, Upper)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(dedent(text))


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, target: str) -> None:
    """Write a package's metadata with an entry point, as an installer does."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[callboard.actors]\n{name} = {target}\n")
    # Not syspath_prepend: it takes the `pkg_resources` that another library fakes for the real one.
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    importlib.invalidate_caches()


def names(registry: Registry) -> list[str]:
    return [message.__name__ for message in registry.messages()]


def test_a_module_of_the_working_directory_by_name(folder: Path) -> None:
    write(folder, "good_a", GOOD)
    registry = Registry()
    register_all(registry, ["good_a"])
    assert names(registry) == ["StringValue"]


def test_a_module_that_is_installed_does_not_put_the_working_folder_on_the_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise, later imports of modules that are not installed would load them from there."""
    (folder / "site").mkdir()
    monkeypatch.setattr(sys, "path", [str(folder / "site"), *sys.path])
    importlib.invalidate_caches()
    (folder / "site" / "space" / "sub").mkdir(parents=True)
    write(folder / "site", "good_e", GOOD)
    write(folder / "site" / "space" / "sub", "good_f", DUPLEX)
    register_all(Registry(), ["good_e", "space.sub.good_f"])
    assert str(folder) not in sys.path


def test_a_namespace_package_may_have_a_part_in_the_working_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "site" / "room").mkdir(parents=True)
    (folder / "room").mkdir()
    monkeypatch.setattr(sys, "path", [str(folder / "site"), *sys.path])
    importlib.invalidate_caches()
    write(folder / "room", "good_g", GOOD)
    registry = Registry()
    register_all(registry, ["room.good_g"])
    assert names(registry) == ["StringValue"]


def test_what_the_user_s_own_file_names_is_not_looked_for_in_the_working_folder(
    tmp_path: Path,
) -> None:
    """That file applies in every folder, also in a folder of another user."""
    own = tmp_path / "config" / "callboard" / "callboard.toml"
    own.parent.mkdir(parents=True)
    own.write_text('actors = ["one"]\n')
    write(tmp_path, "one", "open('ran', 'w')")
    code, out, err = run(tmp_path, "serve", "--backend", "echo")
    assert (code, out) == (2, "")
    assert "--actors one: there is no module one" in err
    assert not (tmp_path / "ran").exists()


def test_a_package_of_the_working_folder_does_not_count_as_installed(tmp_path: Path) -> None:
    """Not even with an empty entry in PYTHONPATH, which `PYTHONPATH=$PYTHONPATH:DIR` leaves."""
    info = tmp_path / "evil-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[callboard.actors]\nevil = evil_actors\n")
    write(tmp_path, "evil_actors", "open('ran', 'w')")
    for path in ("", f"{os.pathsep}{tmp_path / 'gone'}", "."):
        with running(tmp_path, "--backend=echo", PYTHONPATH=path):
            assert not (tmp_path / "ran").exists()


def test_another_function_of_the_module(folder: Path) -> None:
    write(folder, "good_b", GOOD.replace("def register", "def others"))
    registry = Registry()
    register_all(registry, ["good_b:others"])
    assert names(registry) == ["StringValue"]


def test_a_package_found_by_its_entry_point_and_by_name_counts_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, "good_c", GOOD)
    install(folder, monkeypatch, "upper", "good_c:register")
    registry = Registry()
    register_all(registry, [])
    assert names(registry) == ["StringValue"]
    registry = Registry()
    register_all(registry, ["good_c"])
    assert names(registry) == ["StringValue"]


BAD = {
    "two actors": (
        GOOD.replace(
            "        registry", "        registry.register(StringValue, Upper)\n        registry"
        ),
        r"--actors {name}: StringValue is already answered by {name}.Upper; {name}.Upper cannot",
    ),
    "imports nothing": (
        "import no_such_package",
        r"--actors {name}: the module {name} cannot be imported: ModuleNotFoundError: .*:1\)",
    ),
    "syntax": ("def", r"--actors {name}: the module {name} cannot be imported: SyntaxError"),
    "raises": ("1 / 0", r"cannot be imported: ZeroDivisionError: .*{name}.py:1\)"),
    "leaves": ("raise SystemExit(3)", r"cannot be imported: SystemExit: 3"),
    "no function": ("x = 1", r"{name} has no function register\(registry: Registry\) -> None"),
    "a constant": ("register = 1", r"{name} has no function register"),
    "async": ("async def register(registry): ...", r"register must be a plain function"),
    "register raises": (
        "def register(registry): registry.nothing()",
        r"--actors {name}: register raised AttributeError: .*{name}.py:1\)",
    ),
    "lost interceptor": (
        """
        from google.protobuf.wrappers_pb2 import StringValue
        def around(call): ...
        def register(registry): registry.intercept(StringValue, around)
        """,
        r"{name}.around intercepts StringValue, which no actor answers",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_registered_is_said_in_one_line(folder: Path, case: str) -> None:
    text, message = BAD[case]
    name = "bad_" + case.replace(" ", "_")
    write(folder, name, text)
    with pytest.raises(BadExtension, match=message.format(name=name)) as error:
        register_all(Registry(), [name])
    assert "\n" not in str(error.value)


def test_a_module_that_is_not_there(folder: Path) -> None:
    with pytest.raises(BadExtension, match=r"--actors no_such.thing: there is no module no_such$"):
        register_all(Registry(), ["no_such.thing"])
    with pytest.raises(BadExtension, match=r"--actors ../x: not a module name"):
        register_all(Registry(), ["../x"])


def test_two_packages_for_one_message_are_both_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, "good_d", GOOD)
    write(folder, "rival", GOOD)
    install(folder, monkeypatch, "rival", "rival")
    with pytest.raises(
        BadExtension, match=r"answered by rival.Upper; good_d.Upper cannot be registered too"
    ):
        register_all(Registry(), ["good_d"])


def test_messages_that_clients_cannot_name(folder: Path) -> None:
    for text, complaint in (
        ("class Odd: ...", r"unknown.Upper is registered for Odd, which is not a protobuf message"),
        (
            """
            from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
            file = descriptor_pb2.FileDescriptorProto(name="odd.proto", package="odd")
            file.message_type.add(name="Odd")
            pool = descriptor_pool.DescriptorPool()
            pool.Add(file)
            Odd = message_factory.GetMessageClass(pool.FindMessageTypeByName("odd.Odd"))
            """,
            r"unknown.Upper is registered for odd.Odd: protobuf's default pool has no such",
        ),
        (
            "from callboard.v1.session_pb2 import Hello as Odd",
            r"unknown.Upper is registered for callboard.v1.Hello, which the service itself handles",
        ),
    ):
        sys.modules.pop("unknown", None)
        write(folder, "unknown", text)
        with (folder / "unknown.py").open("a") as file:
            file.write(dedent(GOOD).replace("(StringValue, Upper)", "(Odd, Upper)"))
        registry = Registry()
        register_all(registry, ["unknown"])
        with pytest.raises(NotProtobuf, match=complaint):
            Wire(registry)


def test_the_service_says_it_in_one_line_and_does_not_start_half(tmp_path: Path) -> None:
    write(
        tmp_path,
        "rival",
        GOOD.replace("StringValue", "ListSessionsRequest").replace(
            "google.protobuf.wrappers_pb2", "callboard.v1.chat_pb2"
        ),
    )
    code, out, err = run(tmp_path, "serve", "--ready-json", "--backend=echo", "--actors=rival")
    assert code == 2
    assert out == ""
    assert err == (
        "callboard: --actors rival: ListSessionsRequest is already answered by "
        "callboard_service.chat.chat.register; rival.Upper cannot be registered too\n"
    )
    assert not list((tmp_path / "run").glob("*"))


def test_a_long_lived_actor_that_does_not_start_ends_the_start(tmp_path: Path) -> None:
    write(
        tmp_path,
        "device",
        """
        from actors import Actor
        class Device(Actor[str]):
            def started(self): raise OSError("no such device")
            def receive(self, message): ...
        def register(registry): registry.supervise("device", Device)
    """,
    )
    code, out, err = run(tmp_path, "serve", "--ready-json", "--backend=echo", "--actors", "device")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == (
        "callboard: callboard/extensions/device: did not start: OSError('no such device')"
    )
    assert not list((tmp_path / "run").glob("*.json"))


DUPLEX = """
    from google.protobuf.wrappers_pb2 import BytesValue, Int64Value
    from actors import DuplexActor

    class Sums(DuplexActor[BytesValue, Int64Value, Int64Value]):
        async def handle(self, request, inputs):
            total = 0
            async for number in inputs:
                total += number.value
                yield Int64Value(value=total)

    def register(registry):
        registry.register_duplex(BytesValue, Int64Value, Sums)
"""


def packed(value: Message) -> Any:
    into = message("google.protobuf.Any")
    into.Pack(value)
    return into


async def check(service: ServiceProcess) -> None:
    """Check that both modules are served, the second with inputs beyond its first credit."""
    async with service.connect() as client:
        answer = await client.call(call=packed(StringValue(value="a word")))
        said = StringValue()
        assert answer.reply.Unpack(said)
        assert said.value == "A WORD"
        request_id = await client.open(call=packed(BytesValue()))
        limit = client.welcome.limits.input_window
        total, number = Int64Value(), 0
        while number < 100:
            while number < limit:
                number += 1
                item = message("Input", number=number, payload=packed(Int64Value(value=number)))
                await client.send(request_id, input=item)
            answer = await client.queue(request_id).get()
            if answer.WhichOneof("payload") == "credit":
                limit = min(answer.credit.limit, 100)
        await client.send(request_id, input=message("Input", number=101, last=True))
        answers = [answer async for answer in client.answers(request_id)]
        assert answers[-1].WhichOneof("payload") == "completed"
        assert answers[-2].reply.Unpack(total)
        assert total.value == 5050


async def test_modules_from_flags_the_environment_and_the_user_s_file(tmp_path: Path) -> None:
    write(tmp_path, "one", GOOD)
    write(tmp_path, "two", DUPLEX)
    own = tmp_path / "config" / "callboard" / "callboard.toml"
    own.parent.mkdir(parents=True)
    own.write_text('actors = ["one", "two"]\n')
    with running(tmp_path, "--backend=echo", PYTHONPATH=str(tmp_path)) as service:
        await check(service)
    own.unlink()
    with running(tmp_path, "--backend=echo", CALLBOARD_ACTORS="one, two") as service:
        await check(service)
    with running(tmp_path, "--backend=echo", "--actors", "one", "--actors", "two") as service:
        await check(service)
