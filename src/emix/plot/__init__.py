"""Pictures of fitted models, by Matplotlib (`pip install 'emix[plot]'`). Functions over a result; they compute nothing.

Each takes a `Mixture`, what `emix.fit` returned, or a fitted estimator; takes and returns Axes; and leaves their style
to the user: `emix.plot.density(result, data).set_title("Eruptions")`.
"""

from emix.plot.bars import profile, responsibilities
from emix.plot.checks import qq, residuals
from emix.plot.columns import density
from emix.plot.lines import selection, trace
from emix.plot.matrix import pairs

__all__ = ["density", "pairs", "profile", "qq", "residuals", "responsibilities", "selection", "trace"]
