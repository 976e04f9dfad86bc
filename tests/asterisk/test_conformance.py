"""The simulator does what real Asterisk does, event by event; `make conformance` is the same on many more sequences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from ivrd.simulator.sounds import DirectorySounds
from tests.asterisk.conformance.real import Real
from tests.asterisk.conformance.scenario import Scenario, load
from tests.asterisk.conformance.sequences import draw
from tests.asterisk.conformance.simulated import run_simulated
from tests.asterisk.conformance.stage import Record, Stage, open_stage
from tests.asterisk.conformance.trial import Trial, keep_aside, try_scenarios
from tests.asterisk.conftest import StartAsterisk

pytestmark = pytest.mark.asterisk

SEED = 22
RANDOM = 30


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with open_stage() as stage:
        yield stage


@pytest.fixture(scope="module")
def simulated(stage: Stage) -> tuple[Mapping[str, Scenario], Mapping[str, Record]]:
    """All written scenarios and what the simulator makes of them."""
    named = stage.put(load())
    return named, run_simulated(stage, named)


def passed(trial: Trial, hint: str = "") -> None:
    complaints = [*trial.complaints(), *filter(None, [hint])]
    assert not complaints, f"on Asterisk {trial.version}:\n" + "\n".join(complaints)


@pytest.mark.parametrize("version", ["22", "16"])
def test_every_scenario_gives_the_same_events(
    version: str,
    start_asterisk: StartAsterisk,
    stage: Stage,
    simulated: tuple[Mapping[str, Scenario], Mapping[str, Record]],
) -> None:
    named, records = simulated
    assert len(named) >= 60
    real = Real(stage, version)
    real.use(start_asterisk(version, bind=real.bind))
    passed(try_scenarios(stage, real, named, records))


def test_random_sequences_give_the_same_events(
    start_asterisk: StartAsterisk, stage: Stage, request: pytest.FixtureRequest
) -> None:
    real = Real(stage, "22")
    real.use(start_asterisk("22", bind=real.bind))
    scenarios = draw(RANDOM, SEED, DirectorySounds(stage.sounds))
    trial = try_scenarios(stage, real, stage.put(scenarios), twice=True)
    kept = ""
    if trial.failures:
        assert request.config.cache is not None
        kept = keep_aside(trial, request.config.cache.mkdir("conformance"), request.config.rootpath)
    passed(trial, kept)
