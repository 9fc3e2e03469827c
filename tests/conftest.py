"""Data sets as fixtures."""

import pytest

from mlmfast.catalogue.codes import UNLISTED
from mlmfast.errors import taken_down

from .cases import data_of


@pytest.fixture(autouse=True)
def _warnings_are_in_the_catalogue():
    """A note of a certificate whose wording no entry of the catalogue knows fails the test."""
    with taken_down() as heard:
        yield
    assert [notice.message for notice in heard if notice.code == UNLISTED] == []


@pytest.fixture
def sleepstudy():
    """Reaction times of 18 subjects over 10 days."""
    return data_of("sleepstudy_slope_corr_reml")


@pytest.fixture
def pastes():
    """Strength of a paste: casks within batches."""
    return data_of("pastes_nested_reml")


@pytest.fixture
def orthodont():
    """Dental distance of boys and girls at four ages."""
    return data_of("orthodont_slope_reml")


@pytest.fixture
def dyestuff2():
    """Simulated yields whose batches do not differ: the variance estimate is 0."""
    return data_of("dyestuff2_reml")


@pytest.fixture
def cake():
    """Breakage angle of cakes; `temperature` is a factor, `temp` the same as a number."""
    return data_of("cake_rank_deficient_reml")
