"""The sentences of the HTML report."""

from __future__ import annotations

import re

import numpy as np
import pytest

import emix
from emix.report import words
from emix.report.html.facts import gather
from emix.report.html.steps import power


def test_old_faithful_is_told_in_plain_words(eruptions):
    short, long = sorted(gather(eruptions[1], eruptions[0]).descriptions, key=lambda one: one.share)
    told = short.sentence.replace("\xa0", " ")
    assert told.endswith(
        "36 % of rows: very low eruptions (about 2.0, most between 1.8 and 2.4) and low waiting "
        "(about 54, most between 47 and 63)."
    )
    assert "high eruptions (about 4.3, most between 3.7 and 4.8)" in long.sentence


def test_words_tell_components_apart(eruptions):
    model = emix.Mixture(emix.MultivariateNormal(structure="EEE"), 3)
    facts = gather(emix.fit(model, eruptions[0], random_state=0), eruptions[0])
    about = re.compile(r"eruptions \(about ([\d.]+)")
    told = sorted(facts.descriptions, key=lambda one: float(about.search(one.text)[1]))
    heights = [re.findall(r"([a-z ]+) (eruptions|waiting) ", one.text.replace(" and ", "")) for one in told]
    assert [dict(map(reversed, one))["eruptions"] for one in heights] == ["very low", "second highest", "highest"]
    assert [dict(map(reversed, one))["waiting"] for one in heights] == ["low", "second highest", "highest"]
    assert not any(one.alike for one in told)
    assert told[1].told.startswith("Second highest ")


def test_of_each_component_that_is_told_in_which_it_differs():
    rng = np.random.default_rng(0)
    z = rng.choice(3, 900, p=[0.3, 0.3, 0.4])
    chances = {"q1": (0.9, 0.1, 0.5), "q2": (0.85, 0.12, 0.5), "q3": (0.85, 0.1, 0.52), "q4": (0.8, 0.1, 0.5)}
    data = {name: np.where(rng.random(900) < np.take(p, z), "yes", "no").astype(object) for name, p in chances.items()}
    data["party"] = np.where((z == 2) & (rng.random(900) < 0.9), "none", "some").astype(object)
    family = emix.Categorical()
    labels = np.where(np.arange(900) % 2, z, -1)
    found = gather(emix.fit(emix.Mixture(family, 3), data, labels=labels, random_state=0), data, labels=labels)
    told = [one.text.replace("\xa0", " ") for one in found.descriptions]
    assert told[2].startswith("party mostly none (9")
    assert "q1" not in told[2]  # half of the rows say so, as of all
    for one, answer in ((told[0], "yes"), (told[1], "no")):
        assert sum(f"{name} mostly {answer}" in one for name in chances) >= 3
    for one in found.descriptions:
        assert "much like" not in one.text


def test_a_component_that_is_like_the_whole_or_like_another_is_said_to_be():
    rng = np.random.default_rng(0)
    x = np.r_[rng.normal(0, 1, 950), rng.normal(5, 0.2, 50)]
    model = emix.Mixture(emix.Normal([0.0, 5.0], [1.0, 0.04]), mixing_proportions=[0.95, 0.05])
    told = [one.text for one in gather(model, x).descriptions]
    assert told[0].startswith("much like the table as a whole: average x0 (about ")
    assert told[1].startswith("very high x0 (about 4.9")
    model = emix.Mixture(emix.Normal([-0.1, 0.1, 6.0], [1.0, 1.0, 1.0]), mixing_proportions=[0.4, 0.4, 0.2])
    one, other, far = gather(model, np.r_[rng.normal(0, 1, 800), rng.normal(6, 1, 200)]).descriptions
    assert one.told.endswith(" In these words like component 1: the numbers tell them apart.")
    assert (one.alike, other.alike, far.alike) == (("component 1",), ("component 0",), ())


def test_weighted_quantiles_are_those_of_repeated_values():
    rng = np.random.default_rng(0)
    values, weight = rng.normal(size=40).round(1), rng.integers(1, 5, 40)
    at = (0.1, 0.5, 0.9)
    expected = np.quantile(np.repeat(values, weight), at, method="inverted_cdf")
    assert words.weighted_quantiles(values, weight.astype(float), at) == expected.tolist()


@pytest.mark.parametrize(
    ("value", "width", "text"),
    [
        (2.0364, 0.7, "2.0"),
        (54.4, 15.0, "54"),
        (2_433_942.0, 1.7e6, "2,430,000"),
        (-0.001, 1.0, "0.0"),
        (1e-7, 1e-7, "1.00000e-07"),
        (0.0, 5.0, "0"),
    ],
)
def test_numbers_have_the_digits_that_people_want(value, width, text):
    assert words.rounded(value, width) == text


def test_what_is_not_0_is_not_rounded_to_it():
    assert words.rounded(0.23, 9.0, is_positive=True) == "0.2"
    assert [words.percent(p) for p in (0.0, 1e-9, 0.004, 0.5, 0.9999999, 1.0)] == [
        f"{text}\xa0%" for text in ("0", "under 0.1", "0.4", "50", "over 99.9", "100")
    ]
    assert power(-1000 * np.log(10)) == "1.000×10⁻¹⁰⁰⁰"
    assert power(np.log(0.25)) == "0.25"
    assert power(-1e30) == "0"
