"""What every row of a table must meet, declared in yaml and kept with the checkpoint.

    data.constraints=[{_target_: src.constraints.Range, column: age, low: 0, high: 120}]

A row of the training data that breaks one is reported; a synthetic row that does is drawn again. A cell that is missing
breaks a range or an order no more than NULL breaks a CHECK in SQL; in a one-hot group it does.
"""

from src.constraints.base import Constraint
from src.constraints.expression import Expression
from src.constraints.groups import FixedCombinations, OneHot, Unique
from src.constraints.ranges import Inequality, Range
from src.constraints.rules import Rules

__all__ = ["Constraint", "Expression", "FixedCombinations", "Inequality", "OneHot", "Range", "Rules", "Unique"]
