"""No family and no law escapes the contract tests."""

# each of these modules enters its laws into LAWS when it is imported
import test_constraints  # noqa: F401
import test_contract  # noqa: F401
import test_contract_cells  # noqa: F401
import test_contract_estimates  # noqa: F401
import test_contract_numbers  # noqa: F401
from cases import ALL_OR_NOTHING, CASES, COMPLETING, FACTORISED, LAWS

from emix import MultivariateNormal
from emix.families import FAMILIES, STRUCTURES


def test_no_family_is_missing_from_the_registry():
    assert {case.family.name for case in CASES} == set(FAMILIES)
    assert {case.family.structure for case in CASES if isinstance(case.family, MultivariateNormal)} >= set(STRUCTURES)
    assert len({case.id for case in CASES}) == len(CASES)


def test_no_law_is_without_cases():
    assert len(LAWS) >= 20
    assert all(LAWS.values()), [name for name, cases in LAWS.items() if not cases]
    of_all = {name for name, cases in LAWS.items() if {case.family.name for case in cases} == set(FAMILIES)}
    assert len(of_all) >= 12
    assert set(FACTORISED) | set(ALL_OR_NOTHING) | set(COMPLETING) == set(CASES)
