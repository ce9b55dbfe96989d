"""What every row of a table must meet, declared in yaml and kept with the checkpoint.

    data.constraints=[{_target_: datakiln.constraints.Range, column: age, low: 0, high: 120}]

A row of the training data that breaks one is reported; a synthetic row that does is drawn again. A cell that is missing
breaks a range or an order no more than NULL breaks a CHECK in SQL; in a one-hot group it does.
"""

from datakiln.constraints.base import Constraint
from datakiln.constraints.formula import Expression
from datakiln.constraints.groups import FixedCombinations, OneHot, Unique
from datakiln.constraints.ranges import Inequality, Range
from datakiln.constraints.rules import Rules

__all__ = ["Constraint", "Expression", "FixedCombinations", "Inequality", "OneHot", "Range", "Rules", "Unique"]
