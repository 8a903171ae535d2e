"""Which runtime serves a model on which machine."""

from __future__ import annotations

import pytest

from reconciler.errors import Terminal
from reconciler.model.runtimes import Machine, Needs, choose

ALL = {"mlx": "0.32.4", "torch": "2.9.0", "scikit-learn": "1.9.1", "mlflow": "3.17.2"}
MAC = Machine("Darwin", "arm64", "3.12.1", ALL)
BOX = Machine("Linux", "x86_64", "3.11.7", ALL)


def without(machine: Machine, *names: str) -> Machine:
    kept = {name: version for name, version in machine.packages.items() if name not in names}
    return Machine(machine.system, machine.architecture, machine.python, kept)


@pytest.mark.parametrize(
    ("offered", "machine", "runtime", "why"),
    [
        (("sklearn", "mlx", "torch"), MAC, "mlx", "MLX with Metal"),
        (("sklearn", "mlx", "torch"), BOX, "mlx", "MLX on the CPU"),
        (("sklearn", "mlx", "torch"), without(MAC, "mlx"), "torch", "torch with MPS"),
        (("sklearn", "mlx", "torch"), without(BOX, "mlx"), "sklearn", "scikit-learn on the CPU"),
        (("torch", "pyfunc"), BOX, "torch", "torch on the CPU"),
        (("torch", "pyfunc"), without(BOX, "torch"), "pyfunc", "MLflow's pyfunc on the CPU"),
        (("pyfunc",), Machine("Darwin", "x86_64", "3.12.1", ALL), "pyfunc", "MLflow's pyfunc on the CPU"),
    ],
)
def test_auto_takes_the_first_that_runs(offered: tuple[str, ...], machine: Machine, runtime: str, why: str) -> None:
    found = choose("auto", offered, machine)
    assert (found.runtime, found.why) == (runtime, why)


def test_a_model_that_does_not_use_metal_is_served_by_the_cpu() -> None:
    assert choose("auto", ("mlx", "sklearn"), MAC, Needs(metal="unused")).runtime == "sklearn"


def test_what_the_manifest_says_is_taken() -> None:
    assert choose("sklearn", ("mlx", "sklearn"), MAC).why == "as the manifest says"
    with pytest.raises(Terminal, match=r"does not offer the runtime `torch` \(it offers `mlx`, `sklearn`\)"):
        choose("torch", ("mlx", "sklearn"), MAC)
    with pytest.raises(Terminal, match="`torch` needs torch, which is not installed"):
        choose("torch", ("torch",), without(BOX, "torch"))


def test_an_own_class_needs_nothing_that_the_model_offers() -> None:
    assert choose("bento", (), without(BOX, *ALL)).runtime == "bento"


def test_every_refusal_is_told() -> None:
    with pytest.raises(Terminal, match=r"`mlx` needs mlx.*; `torch` needs torch"):
        choose("auto", ("torch", "mlx"), without(BOX, "mlx", "torch"))
    with pytest.raises(Terminal, match="no runtime that is known here: `onnx`"):
        choose("auto", ("onnx",), BOX)


def test_a_pickle_of_another_minor_version_is_refused_with_both_versions() -> None:
    other = Needs(made_with={"scikit-learn": "1.7.2"})
    with pytest.raises(Terminal, match=r"made with scikit-learn 1\.7\.2, and 1\.9\.1 would load it"):
        choose("auto", ("sklearn",), BOX, other)
    with pytest.raises(Terminal, match=r"made with scikit-learn 1\.7\.2"):
        choose("pyfunc", ("pyfunc",), BOX, other)
    with pytest.raises(Terminal, match=r"made with scikit-learn 1\.7\.2, which is not installed"):
        choose("pyfunc", ("pyfunc",), without(BOX, "scikit-learn"), other)
    assert choose("auto", ("sklearn",), BOX, Needs(made_with={"scikit-learn": "1.9.0"})).runtime == "sklearn"
    assert choose("auto", ("mlx", "sklearn"), BOX, other).runtime == "mlx"


@pytest.mark.parametrize(
    ("needs", "said"),
    [
        (Needs(metal="required"), "needs Metal, and this is Linux on x86_64"),
        (Needs(python=">=3.12"), r"needs Python >=3\.12, and what serves models here is 3\.11\.7"),
        (Needs(packages={"mlx": ">=1"}), r"needs mlx >=1, and 0\.32\.4 is installed"),
        (Needs(packages={"xgboost": ">=2"}), "needs xgboost >=2, which is not installed"),
        (Needs(packages={"mlx": "about 1"}), "not a version specifier: `about 1`"),
    ],
)
def test_what_the_machine_lacks_is_named(needs: Needs, said: str) -> None:
    for wanted in ("auto", "sklearn", "bento"):
        with pytest.raises(Terminal, match=said):
            choose(wanted, ("sklearn", "mlx"), BOX, needs)
    assert choose("auto", ("mlx",), MAC, Needs(metal="required", python=">=3.12", packages={"mlx": ">=0.32,<1"})).runtime == "mlx"
