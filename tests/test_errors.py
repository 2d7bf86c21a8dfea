"""The nearest known name as a remedy."""

from __future__ import annotations

from nearfar.errors import did_you_mean

KNOWN = ("simclr", "supcon", "moco")


def test_the_nearest_name_is_offered_in_the_quotes_asked_for() -> None:
    assert did_you_mean("supcn", KNOWN) == "Did you mean supcon?"
    assert did_you_mean("supcn", KNOWN, "There are others.", quote="'") == "Did you mean 'supcon'?"


def test_where_none_is_near_the_other_remedy_holds() -> None:
    assert did_you_mean("zzz", KNOWN) is None
    assert did_you_mean("zzz", KNOWN, "There are others.") == "There are others."
    assert did_you_mean(3, KNOWN) is None


def test_several_near_names_are_joined() -> None:
    found = did_you_mean("B2", iter(("B02", "B12", "nir")), most=2)
    assert found in ("Did you mean B02 or B12?", "Did you mean B12 or B02?")
