"""Problems of a few ops with numbers small enough to add up by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.problem import Device, Flow, Limits, Link, Op, Option, Problem, Tensor

if TYPE_CHECKING:
    from placer.evaluate import Evaluation


def option(device: str, seconds: float = 0.0, joules: float = 0.0, mode: str = "m", **more: object) -> Option:
    """An option that takes nothing unless told so."""
    return Option(device=device, mode=mode, seconds=seconds, joules=joules, **more)  # type: ignore[arg-type]


def op(name: str, *options: Option, **more: object) -> Op:
    """An op with these options."""
    return Op(name=name, options=options, **more)  # type: ignore[arg-type]


def tensor(producer: str, *consumers: str, size: float = 1000.0, not_on: tuple[str, ...] = ()) -> Tensor:
    """A tensor named after who makes and who takes it."""
    return Tensor(
        name=f"{producer}>{'+'.join(consumers)}", bytes=size, producer=producer, consumers=consumers, not_on=not_on
    )


def link(source: str, target: str, **more: object) -> Link:
    """A link of half a second, 1 kB/s and a millijoule a byte."""
    fields: dict[str, object] = {"latency_s": 0.5, "bytes_per_s": 1000.0, "energy_j_per_byte": 0.001}
    return Link(source=source, target=target, **{**fields, **more})  # type: ignore[arg-type]


def problem_of(*ops: Op, tensors: tuple[Tensor, ...], devices: dict[str, dict[str, object]], **more: object) -> Problem:
    """One flow `f` of 1 Hz; links both ways between `a` and `b`, and devices that no load fills."""
    links = more.pop("links", (link("a", "b"), link("b", "a")) if "b" in devices else ())
    limits = more.pop("limits", Limits())
    return Problem(
        devices=tuple(Device(name=n, **{"max_utilization": 1e6, **f}) for n, f in devices.items()),  # type: ignore[arg-type]
        links=links,  # type: ignore[arg-type]
        limits=limits,  # type: ignore[arg-type]
        flows=(Flow(**{"name": "f", "rate_hz": 1.0, "ops": ops, "tensors": tensors, **more}),),  # type: ignore[arg-type]
    )


def only(problem: Problem, *choice: int) -> Evaluation:
    """Judge one choice of the one flow: the first option of every op unless told."""
    index = ProblemIndex(problem)
    return evaluate(index, (choice or (0,) * index.flows[0].size,))


def chain(**more: object) -> Problem:
    """Two ops, one on `a` and one on `b` for every other request, between a source on `a` and a sink on `b`."""
    return problem_of(
        op("in", option("a", mode="io")),
        op("one", option("a", 1.0, 10.0)),
        op("two", option("b", 2.0, 20.0), share=0.5),
        op("out", option("b", mode="io")),
        tensors=(tensor("in", "one"), tensor("one", "two"), tensor("two", "out")),
        **{"devices": {"a": {"segment_s": 0.25, "segment_j": 1.0, "wait_w": 4.0}, "b": {}}, **more},  # type: ignore[arg-type]
    )
