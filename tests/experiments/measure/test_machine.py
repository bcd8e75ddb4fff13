"""What is kept of the machine that measured."""

from __future__ import annotations

from experiments.measure.machine import machine_facts, processor_of

_CPUINFO = (
    "processor\t: 0\ncpu family\t: {}\nmodel\t\t: {}\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\nmodel name\t: another\n"
)


def test_processors_of_one_name_and_two_generations_are_told_apart() -> None:
    assert processor_of(_CPUINFO.format(25, 1)) == "AMD EPYC (family 25, model 1)"
    assert processor_of(_CPUINFO.format(25, 17)) != processor_of(_CPUINFO.format(25, 1))
    assert processor_of("model name\t: P\n") == "P"
    assert processor_of("Features\t: fp asimd\n") == ""


def test_the_facts_name_a_processor_and_the_versions() -> None:
    assert {
        "processor",
        "cores",
        "threads",
        "python",
        "torch",
        "numpy",
        "date",
        "git_revision",
    } <= machine_facts().keys()
