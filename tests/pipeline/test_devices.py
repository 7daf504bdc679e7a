"""Which device a job takes, on computers with several cards, old ones, failing ones and none."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.pipeline.cards import CUDA_13, FakeCard, install
from wham_blender.pipeline import cuda, devices
from wham_blender.pipeline.errors import PipelineError
from wham_blender.pipeline.options import job_parser
from wham_blender.pipeline.people import batched_network
from wham_blender.pipeline.people.batched_network import BatchedNetwork

PACKAGE = Path(cuda.__file__).parents[1]
KEPLER, ADA, BLACKWELL = FakeCard("GT 730", (3, 5)), FakeCard("RTX 4090", (8, 9)), FakeCard("RTX 5060", (12, 0))
NO_KERNEL = "no kernel image is available for execution on the device"


def choose(wish: str, warnings: list[tuple[str, str]] | None = None) -> str:
    told = [] if warnings is None else warnings
    return str(devices.choose(wish, lambda text, code: told.append((text, code))))


@pytest.mark.parametrize(
    ("cards", "device"),
    [
        ([], "cpu"),
        ([KEPLER], "cpu"),
        ([ADA], "cuda:0"),
        ([KEPLER, ADA], "cuda:1"),
        ([ADA, KEPLER], "cuda:0"),
        ([ADA, BLACKWELL], "cuda:1"),
        ([FakeCard("a", (8, 6), 3_000), FakeCard("b", (8, 6), 9_000), FakeCard("c", (8, 0), 99_000)], "cuda:1"),
    ],
)
def test_auto_is_the_best_supported_card(monkeypatch: pytest.MonkeyPatch, cards: list[FakeCard], device: str) -> None:
    computer = install(monkeypatch, *cards)
    warnings: list[tuple[str, str]] = []
    assert choose("auto", warnings) == device
    assert computer.selected == ("" if device == "cpu" else device)
    assert warnings == []


def test_memory_is_asked_only_where_it_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking makes a context, which takes hundreds of megabytes of each card."""
    computer = install(monkeypatch, KEPLER, ADA, BLACKWELL)
    assert choose("auto") == "cuda:2"
    assert computer.measured == []
    assert computer.tried == ["cuda:2"]


def test_auto_leaves_a_card_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, ADA, FakeCard("RTX 5060", (12, 0), fails="device is busy or unavailable"))
    warnings: list[tuple[str, str]] = []
    assert choose("auto", warnings) == "cuda:0"
    assert warnings == [(
        "This PyTorch does not work on cuda:1 RTX 5060 (CUDA error: device is busy or unavailable). Get NVIDIA's "
        "newest driver, or choose another device.", "card-unusable"
    )]  # fmt: skip
    install(monkeypatch, FakeCard("RTX 4090", (8, 9), error=float("nan")))
    warnings.clear()
    assert choose("auto", warnings) == "cpu"
    assert "(it calculates wrongly)" in warnings[0][0]


@pytest.mark.parametrize(
    ("wish", "device"),
    [("cpu", "cpu"), ("cuda", "cuda:1"), ("cuda:0", "cuda:0"), ("cuda:1", "cuda:1"), ("cuda:1 RTX 5060", "cuda:1"),
     ("cuda:0 RTX 5060", "cuda:1"), ("cuda:7 RTX 4090", "cuda:0")],
)  # fmt: skip
def test_the_chosen_card(monkeypatch: pytest.MonkeyPatch, wish: str, device: str) -> None:
    """By its number; if its name is given, also under another number, which a card gets when another one is removed."""
    computer = install(monkeypatch, ADA, BLACKWELL)
    assert choose(wish) == device
    assert computer.selected == ("" if device == "cpu" else device)


@pytest.mark.parametrize(
    ("wish", "code", "sentence"),
    [
        ("cuda:2", "card-not-found", "The card cuda:2 is not found on this computer. Cards that PyTorch finds: "
         "cuda:0 GT 730, cuda:1 RTX 4090. Choose another device; Check Worker"),
        ("cuda:1 RTX 5060", "card-not-found", "The card cuda:1 RTX 5060 is not found on this computer."),
        ("cuda:0 GT 730", "card-unusable", "does not work on cuda:0 GT 730 (it has compute capability 3.5, and "
         "PyTorch was built for 7.5, 8.0, 8.6, 9.0, 10.0, 12.0). Get NVIDIA's newest driver, or choose another"),
    ],
)  # fmt: skip
def test_a_chosen_card_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, wish: str, code: str, sentence: str
) -> None:
    install(monkeypatch, KEPLER, ADA)
    with pytest.raises(PipelineError) as caught:
        choose(wish)
    assert sentence in str(caught.value)
    assert caught.value.code == code


def test_cuda_without_a_card_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, version="")
    with pytest.raises(PipelineError, match=r"PyTorch was built without CUDA\. Set Device"):
        choose("cuda")
    install(monkeypatch)
    with pytest.raises(PipelineError, match=r"on this computer \(none was found\)\. Set Device to CPU"):
        choose("cuda")
    install(monkeypatch, KEPLER, FakeCard("RTX 4090", (8, 9), fails=NO_KERNEL))
    with pytest.raises(PipelineError, match=rf"GT 730: it has .*12\.0; cuda:1 RTX 4090: CUDA error: {NO_KERNEL}\)"):
        choose("cuda")
    with pytest.raises(PipelineError, match=rf"cuda:1 RTX 4090 \(CUDA error: {NO_KERNEL}\)"):
        choose("cuda:1")


def test_a_card_that_does_not_answer_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    computer = install(monkeypatch, KEPLER, ADA)
    describe = computer.describe

    def fallen_off(device: str) -> tuple[str, tuple[int, int]]:
        if device == "cuda:0":
            raise RuntimeError("CUDA error: GPU is lost")
        return describe(device)

    monkeypatch.setattr(cuda, "describe", fallen_off)
    assert [card.fault for card in devices.cards()] == ["CUDA error: GPU is lost", ""]
    assert choose("auto") == "cuda:1"


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((8, 9), ["sm_86"], True),  # the same major version, an earlier minor one
        ((8, 0), ["sm_86"], False),
        ((9, 0), ["sm_86"], False),
        ((9, 0), ["sm_86", "compute_86"], True),  # which the driver compiles
        ((7, 5), ["compute_86"], False),
        ((9, 0), ["sm_90a"], True),
        ((12, 1), ["sm_120a"], False),
        ((12, 1), ["sm_120f"], True),
        ((6, 1), CUDA_13, False),
        ((8, 7), CUDA_13, True),
        ((10, 3), CUDA_13, True),
        ((9, 4), ["gfx942"], True),  # another vendor's
    ],
)
def test_what_a_build_supports(capability: tuple[int, int], architectures: list[str], runs: bool) -> None:
    assert (devices._unsupported(capability, architectures) == "") == runs


@pytest.mark.parametrize(
    ("text", "device"),
    [("auto", "auto"), ("CPU", "cpu"), ("cuda", "cuda"), ("CUDA:1", "cuda:1"),
     ("cuda:0 NVIDIA GeForce RTX 4090", "cuda:0 NVIDIA GeForce RTX 4090")],
)  # fmt: skip
def test_the_command_line_takes(text: str, device: str) -> None:
    assert job_parser(None).parse_args(["clip.mp4", "-o", "m.npz", "--device", text]).device == device


@pytest.mark.parametrize("text", ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cuda:1000", "cpu fast", "cuda:1RTX", "mps"])
def test_the_command_line_refuses(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        job_parser(None).parse_args(["clip.mp4", "-o", "m.npz", "--device", text])
    assert "is neither auto nor cpu nor cuda nor cuda:N" in capsys.readouterr().err


def test_the_batch_is_measured_on_the_chosen_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Free memory, peak memory and half precision are those of its card, not of the first."""
    computer = install(monkeypatch, FakeCard("a", (7, 5), free=10_000), FakeCard("b", (8, 6), free=1_000_000))
    asked: list[str] = []

    def peak(device: torch.device, run: object) -> int:
        asked.append(str(device))
        return 100_000

    monkeypatch.setattr(cuda, "peak_bytes", peak)
    monkeypatch.setattr(cuda, "free_cache", lambda: None)
    monkeypatch.setattr(cuda, "has_bfloat16", lambda device: computer.card(device).capability >= (8, 0))
    network = object.__new__(BatchedNetwork)
    network._device = torch.device(choose("cuda:1"))
    monkeypatch.setattr(network, "_run", lambda crops: [])
    assert network._batch_for_free_memory() == 7
    assert asked == computer.measured == ["cuda:1"]
    assert batched_network.half_precision(network._device) is torch.bfloat16
    assert batched_network.half_precision(torch.device(choose("cuda:0"))) is torch.float16


@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
def test_a_batch_that_is_too_large_for_any_card_is_halved(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    freed: list[bool] = []
    monkeypatch.setattr(cuda, "free_cache", lambda: freed.append(True))
    network = object.__new__(BatchedNetwork)
    network._device, network._name, network.batch = torch.device(device), "ViTPose", 4
    log: list[str] = []
    network._log = log.append

    def run(crops: np.ndarray) -> list[np.ndarray]:
        if len(crops) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [np.zeros((len(crops), 1))]

    monkeypatch.setattr(network, "_run", run)
    (values,) = network(np.zeros((3, *batched_network.CROP), np.uint8))
    assert len(values) == 3
    assert len(freed) == len(log) == 2


def test_only_one_module_calls_cuda() -> None:
    """So that tests can replace all of it, and nothing asks the first card about another one."""
    callers = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "cuda" and getattr(node.value, "id", "") == "torch"
    ]
    assert set(callers) == {"pipeline/cuda.py"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about a computer without a card")
def test_this_computer_without_a_card() -> None:
    assert cuda.count() == 0
    assert devices.cards() == []
    assert choose("auto") == "cpu"
    assert devices.device_name("cpu") == "cpu"
    with pytest.raises(PipelineError, match="PyTorch finds: none"):
        choose("cuda:0")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a card")
def test_this_computer_s_cards() -> None:
    found = devices.cards()
    assert found
    for card in found:
        if not devices.fault_of(card):
            assert choose(str(card)) == card.device
            assert torch.cuda.current_device() == int(card.device[5:])
            assert " GB free" in devices.free_memory(card)
