"""Numbers in an any-order network: what a value says about other columns, and where other columns expect it to lie.

A number has a coordinate: its code and the place inside it, in [0, K) for K ordered codes; a code of a single value
holds it in its middle. The density of the coordinate is a mixture of the codes, even inside each, and of logistic
components whose locations are other columns' values, or robust linear predictions by them, plus a learnt shift (the
discretised logistic mixture of Salimans et al., 2017, https://arxiv.org/abs/1701.05517, with locations from elsewhere).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from datakiln.nets import planes
from datakiln.nets.codes import Codes, Terms

EDGES = 1e-3  # of its range: as far beyond it a number may be said to be a sum
WAVES = 4  # pairs of a sine and a cosine of the rank
FEATURES = 3 + 2 * WAVES
REFERENCES = 4  # other columns that a number may lie close to
COMPONENTS = REFERENCES + 1  # the last is the plane over all columns before
UNLIKELY = -2.0  # logit that a component begins with
PLANE = 0.0  # and the plane
OUTERMOST = 1e-4  # least rank that normal scores tell apart
LOGISTIC = math.sqrt(3.0) / math.pi  # scale of a logistic of deviation 1
NARROWEST = 0.02  # least scale of a component, in codes
FINEST = 0.003  # and of the plane, in normal scores
SHARPEST = 5e-4  # and of a component that lies among values, in standardised ones
CLOSED = -30.0  # logit of a component whose columns are not all there: no weight, and a finite gradient
BELOW = 2.0**-10  # by which the last coordinate stays below the number of codes
ROWS = 2000  # training rows that weights are taken from, fewer, but not fewer than
LEAST_ROWS = 50  # these, where there are
PAIRS = 2**25  # pairs of numbers in so many of them
WEIGHINGS = 30  # updates of them
LEAST_WEIGHT = 0.005  # of a component
LEAST_OF_CODES = (0.05, 0.25)  # least weight of a number's codes; where it has states besides them
FAR = 4.0  # standardised values are told apart up to here


class Numbers(nn.Module):
    """Values, features and references of the N columns that have a coordinate.

    Arguments:
        codes: All columns.
        width: Size of the context that features are added to.
        hinted: Whether a number's own context hears what its references predict: features of a place among its own
            values, by which its codes can be told from those below or above.

    Attributes:
        columns: Which of all columns they are, N of them.
        place: Where a column stands among them.
    """

    below: Tensor  # share of the training rows that lie below each code, (T,)
    share: Tensor  # and inside it
    reference: Tensor  # two other columns, their places among the N, -1 for none, (N, R, 2); one may stand alone
    slope: Tensor  # of the prediction by each, in standardised values, (N, R, 2)
    intercept: Tensor
    straight: Tensor  # which references are of one width in values, not in coordinates, (N, R)
    start: Tensor  # log of the scale that a component begins with, (N, R + 1)
    plane: Tensor  # slopes of the normal scores of a number on those of the numbers before it, (N, N)
    level: Tensor  # row of `lift` of each code, 0 for none, (T,)
    lift: Tensor  # what codes of categories, and missing numbers, add to it, (K, N)
    height: Tensor  # its intercept, (N,)
    has_plane: Tensor  # whether it says something about a number, (N,)
    knots: Tensor  # standardised values at even steps through the codes of all numbers, (nodes,)
    first: Tensor  # node of each number's first code, (N,)
    steps: Tensor  # steps of each number's codes
    last: Tensor  # ordered codes of each number, K
    numbers: Tensor  # the columns, as a tensor
    narrowest: Tensor  # least scales of references in coordinates, of references in values, of the plane, (3,)
    lumped: Tensor  # whether a code is a single value, by node of its begin; (nodes,)
    low: Tensor  # standardised values that a code stands for, from here, by node; (nodes,)
    high: Tensor  # to there
    rate: Tensor  # standardised values per coordinate, by node, or per code where it is lumped; (nodes,)
    ends: Tensor  # least and greatest of all of them, (N, 2)
    has_gaps: Tensor  # whether there are values that no code stands for, (N,)
    rising: Tensor  # standardised values in ascending order, inf beyond, (N, A)
    at: Tensor  # their coordinates

    def __init__(self, codes: Codes, width: int, hinted: bool = False) -> None:
        """See the class."""
        super().__init__()
        self.codes = codes
        self.columns = [j for j, knots in enumerate(codes.knots) if knots is not None]
        self.place = {j: i for i, j in enumerate(self.columns)}
        n = len(self.columns)
        self.features = nn.Parameter(torch.randn(n, FEATURES, width) * 0.1)
        self.hints = nn.Parameter(torch.zeros(n, REFERENCES * FEATURES, width)) if hinted else None
        self.heads = nn.Parameter(torch.zeros(n, width, 3 * COMPONENTS))
        self.bias = nn.Parameter(torch.tensor([UNLIKELY, 0.0, 0.0]).repeat_interleave(COMPONENTS).repeat(n, 1))
        self.register_buffer("below", torch.zeros(codes.total))
        self.register_buffer("share", torch.zeros(codes.total))
        self.register_buffer("reference", torch.full((n, REFERENCES, 2), -1))
        self.register_buffer("slope", torch.zeros(n, REFERENCES, 2))
        self.register_buffer("intercept", torch.zeros(n, REFERENCES))
        self.register_buffer("straight", torch.zeros(n, REFERENCES, dtype=torch.bool))
        self.register_buffer("start", torch.zeros(n, COMPONENTS))
        self.register_buffer("plane", torch.zeros(n, n))
        self.register_buffer("level", torch.zeros(codes.total, dtype=torch.long))
        self.register_buffer("lift", torch.zeros(1 + max(min(planes.MOST - n, codes.total), 0), n))
        self.register_buffer("height", torch.zeros(n))
        self.register_buffer("has_plane", torch.zeros(n, dtype=torch.bool))
        self.register_buffer("narrowest", torch.tensor([NARROWEST, SHARPEST, FINEST]), persistent=False)
        self._lay_out()

    def _lay_out(self) -> None:
        knots = [self.codes.knots[j].double() for j in self.columns]  # type: ignore[union-attr]
        self.middle = [float(k.median()) for k in knots]
        self.spread = [_spread(k) for k in knots]
        scaled = [(k - m) / s for k, m, s in zip(knots, self.middle, self.spread, strict=True)]
        sizes = torch.tensor([k.numel() for k in knots], dtype=torch.long)
        lumped = [(k[:, -1:] == k[:, :1]).expand_as(k) for k in knots]
        flat = torch.cat([k.flatten() for k in scaled]) if scaled else torch.zeros(0)
        self.register_buffer("knots", flat.float(), persistent=False)
        first = sizes.cumsum(0) - sizes
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("steps", torch.tensor([k.shape[1] - 1 for k in knots], dtype=torch.long), persistent=False)
        self.register_buffer("last", torch.tensor([len(k) for k in knots], dtype=torch.long), persistent=False)
        self.register_buffer("numbers", torch.tensor(self.columns, dtype=torch.long), persistent=False)
        everywhere = torch.cat([k.flatten() for k in lumped]) if lumped else torch.zeros(0, dtype=torch.bool)
        self.register_buffer("lumped", everywhere, persistent=False)
        for name, part in zip(("low", "high", "rate", "ends", "has_gaps"), _edges(scaled), strict=True):
            self.register_buffer(name, part, persistent=False)
        lines = [_rising(k, is_lumped[:, 0]) for k, is_lumped in zip(scaled, lumped, strict=True)]
        longest = max((len(values) for values, _ in lines), default=0)
        rising, at = torch.full((len(lines), longest), math.inf), torch.zeros(len(lines), longest)
        for i, (values, coordinates) in enumerate(lines):
            rising[i, : len(values)], at[i, : len(values)] = values.float(), coordinates.float()
            at[i, len(values) :] = coordinates[-1]
        self.register_buffer("rising", rising, persistent=False)
        self.register_buffer("at", at, persistent=False)

    def __len__(self) -> int:
        """N."""
        return len(self.columns)

    @property
    def has_components(self) -> bool:
        """Whether other columns tell where any number lies."""
        return self.has_references() or bool(self.has_plane.any())

    def has_references(self, number: int | slice = slice(None)) -> bool:
        """Whether references tell where any number lies, or this one."""
        return bool((self.reference[number] >= 0).any())

    def has_any(self, number: int) -> bool:
        """Whether they do of this number."""
        return self.has_references(number) or bool(self.has_plane[number])

    def are_open(self, seen: Tensor, whole: Tensor) -> Tensor:
        """Which components all of whose columns are there, (B, N, R + 1).

        Arguments:
            seen: Which numbers are there, for each number, (B, N, N).
            whole: Of which numbers all columns before are there, (B, N).
        """
        flat = self.reference.clamp(min=0).flatten(1)
        there = seen.gather(2, flat.expand(len(seen), -1, -1)).unflatten(2, self.reference.shape[1:])
        return self._open(there, whole)

    def are_open_to(self, sees: Tensor, valued: Tensor, whole: Tensor) -> Tensor:
        """The same of what each column sees, (B, C, C), and which numbers are not missing, (B, N); to (B, N, R + 1)."""
        flat = self.reference.clamp(min=0).flatten(1)
        there = sees[:, self.numbers[:, None], self.numbers[flat]] & valued[:, flat]
        return self._open(there.unflatten(2, self.reference.shape[1:]), whole)

    def _open(self, there: Tensor, whole: Tensor) -> Tensor:
        open_ = (there | (self.reference < 0)).all(dim=-1) & (self.reference[..., 0] >= 0)
        return torch.cat([open_, (whole & self.has_plane)[..., None]], dim=-1)

    def are_open_of(self, number: int, there: Tensor) -> Tensor:
        """The same of one number, after all columns before it, (B, N) to (B, R + 1)."""
        reference = self.reference[number]
        open_ = (there[:, reference.clamp(min=0)] | (reference < 0)).all(dim=-1) & (reference[:, 0] >= 0)
        return torch.cat([open_, self.has_plane[number].expand(len(there), 1)], dim=1)

    def set_planes(self, coordinates: Tensor, codes: Tensor, valued: Tensor, order: Sequence[int]) -> None:
        """Takes the planes from training rows; see `planes.fit`."""
        found = planes.fit(self.scores(coordinates), valued, codes, order, self.place)
        if found is None:
            return
        slopes, counted, lift, height, deviation, says = (part.to(self.plane.device) for part in found)
        self.plane.copy_(slopes)
        self.level[counted] = torch.arange(1, len(counted) + 1, device=self.level.device)
        self.lift[1 : len(counted) + 1] = lift.to(self.lift.dtype)
        self.height.copy_(height)
        self.has_plane.copy_(says)
        self.start[:, -1] = (deviation * LOGISTIC).clamp(min=1e-3).log()
        self.bias[:, COMPONENTS - 1] = torch.where(says, PLANE, UNLIKELY)

    @torch.no_grad()
    def set_weights(
        self,
        coordinates: Tensor,
        codes: Tensor,
        valued: Tensor,
        rank: Tensor,
        least_of_codes: tuple[float, float] = LEAST_OF_CODES,
        fits: Tensor | None = None,
    ) -> Tensor:
        """Components begin with the weights that fit training rows, by expectation maximisation.

        A small table is learnt in a few hundred steps at a low rate, which do not bring weights far.

        Arguments:
            coordinates: Of training rows, (B, N).
            codes: Of all columns, numbered through, (B, C).
            valued: Which numbers are not missing, (B, N).
            rank: Places of the columns in the fixed order, (C,).
            least_of_codes: Least weight of a number's codes; where it has states besides them.
            fits: Which numbers weights are fitted to, (B, N); None for all that are not missing.

        Returns:
            Log of the weights that are left to the codes of each number, (N,).
        """
        rows = min(ROWS, max(PAIRS // max(len(self), 1) ** 2, LEAST_ROWS))
        coordinates, codes, valued = coordinates[:rows], codes[:rows], valued[:rows]
        mine = codes[:, self.numbers]
        inside = valued & (mine - self.codes.first[self.numbers] < self.last)
        scale = torch.maximum(self.start.exp(), self._least(slice(None)))
        location = self.expected(coordinates, codes, valued)
        dense = self.log_densities(coordinates, location, scale.expand_as(location), slice(None))
        gain = dense - self.share[mine].clamp(min=1e-9).log()[..., None]
        before = rank[self.numbers] < rank[self.numbers, None]
        seen = before & valued[:, None, :]
        together = self.are_open(seen, torch.ones_like(valued))
        alone = self.are_open(valued[:, None, :].expand_as(seen), torch.ones_like(valued))
        counts = inside if fits is None else inside & fits[:rows]
        weights = fitted_weights(gain.masked_fill(~together, CLOSED), counts)
        each = gain.masked_fill(~alone, CLOSED)[..., None].unbind(dim=2)
        by_itself = torch.stack([fitted_weights(part, counts)[:, 1] for part in each], dim=1)
        mass = inside.float().mean(dim=0).clamp(min=1e-3)
        least = torch.where(mass < 1.0, least_of_codes[1], least_of_codes[0])
        rest = torch.maximum(weights[:, :1], least[:, None])
        others = weights[:, 1:] * (1.0 - rest) / (1.0 - weights[:, :1]).clamp(min=1e-6)
        is_late = ~together.any(dim=0)
        late = by_itself.clamp(max=0.8) / (1.0 - by_itself.clamp(max=0.8)) * rest
        late = late / is_late.sum(dim=1, keepdim=True).clamp(min=1)
        logits = (torch.where(is_late, late, others).clamp(min=LEAST_WEIGHT) * mass[:, None]).log()
        there = torch.cat([self.reference[..., 0] >= 0, self.has_plane[:, None]], dim=1)
        self.bias[:, :COMPONENTS] = torch.where(there, logits, self.bias[:, :COMPONENTS])
        return torch.where(there.any(dim=1), rest[:, 0], 1.0).log()

    def set_shares(self, shares: Tensor) -> None:
        """Takes ranks of values from the shares of all codes, (T,)."""
        for j in self.columns:
            begin = self.codes.part(j).start
            part = shares[begin : begin + int(self.last[self.place[j]])]
            part = part / part.sum()
            self.share[begin : begin + len(part)] = part
            self.below[begin : begin + len(part)] = part.cumsum(0) - part

    def is_lumped(self, number: int) -> bool:
        """Whether all codes of a number are single values, so that its code tells all about it."""
        begin, size = int(self.first[number]), int(self.last[number] * (self.steps[number] + 1))
        j = self.columns[number]
        return bool(self.lumped[begin : begin + size].all()) and not self.codes.equal_to[j]

    def nodes(self, coordinates: Tensor, at: slice | Tensor | int = slice(None)) -> tuple[Tensor, Tensor, Tensor]:
        """Coordinates (B, N), or (B,) of one number, to their node, the share of the way to the next one, the code."""
        steps, last, first = self.steps[at], self.last[at], self.first[at]
        code = torch.minimum(coordinates.floor().long().clamp(min=0), last - 1)
        within = (coordinates - code).clamp(0.0, 1.0) * steps
        step = torch.minimum(within.floor().long(), steps - 1)
        return first + code * (steps + 1) + step, within - step, code

    def values(self, coordinates: Tensor, at: slice | Tensor | int = slice(None)) -> Tensor:
        """Standardised values, of the shape of the coordinates."""
        node, share, _ = self.nodes(coordinates, at)
        return torch.lerp(self.knots[node], self.knots[node + 1], share)

    def describe(self, coordinates: Tensor, at: slice | Tensor | int = slice(None)) -> Tensor:
        """Features of values, shape (B, N, F) or (B, F): rank, standardised value, its asinh, waves of the rank."""
        node, share, code = self.nodes(coordinates, at)
        value = torch.lerp(self.knots[node], self.knots[node + 1], share)
        number = code + self.codes.first[self.numbers[at]]
        rank = self.below[number] + self.share[number] * (coordinates - code).clamp(0.0, 1.0)
        angles = rank[..., None] * (2 * math.pi * torch.arange(1, WAVES + 1, device=rank.device))
        plain = torch.stack([2 * rank - 1, value.clamp(-FAR, FAR) / 2, torch.asinh(value)], dim=-1)
        return torch.cat([plain, angles.sin(), angles.cos()], dim=-1)

    def scores(self, coordinates: Tensor, at: slice | Tensor | int = slice(None)) -> Tensor:
        """Normal scores of coordinates: what a standard normal has at their ranks; of the coordinates' shape."""
        _, _, code = self.nodes(coordinates, at)
        return self._score(code + self.codes.first[self.numbers[at]], (coordinates - code).clamp(0.0, 1.0))

    def _score(self, code: Tensor, within: Tensor | float) -> Tensor:
        rank = self.below[code] + self.share[code] * within
        return torch.special.ndtri(rank.clamp(OUTERMOST, 1.0 - OUTERMOST))

    def locate(self, values: Tensor, at: slice | Tensor = slice(None)) -> Tensor:
        """Standardised values (N, M) to coordinates, also between the codes and beyond the ends; of those numbers."""
        return _interpolate(values, self.rising[at], self.at[at])

    def expected(
        self,
        coordinates: Tensor,
        codes: Tensor,
        valued: Tensor,
        at: slice = slice(None),
        predicted: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Where other columns expect each number, (B, N) to (B, N, R + 1); meaningless where they do not.

        References tell a coordinate, or a standardised value where they are straight, the plane a normal score.

        Arguments:
            coordinates: Of all numbers; only of earlier ones does a plane know.
            codes: Of all columns, numbered through, (B, C).
            valued: Which numbers are not missing, (B, N).
            at: Of those numbers alone.
            predicted: See there, if it is worked out already.
        """
        places = torch.where(self.straight[at], *(predicted or self.predicted(coordinates, at)))
        lift = functional.embedding(self.level[codes], self.lift).sum(dim=1)
        plane = (self.scores(coordinates) * valued) @ self.plane.T + lift + self.height
        return torch.cat([places, plane[:, at, None]], dim=-1)

    def predicted(self, coordinates: Tensor, at: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """What references tell each number, (B, N) to standardised values and coordinates, (B, N, R) each."""
        values = self.values(coordinates)
        seen = values[:, self.reference[at].clamp(min=0)]  # (B, N, R, 2); the slope of none is 0
        predicted = (seen * self.slope[at]).sum(dim=-1) + self.intercept[at]
        flat = predicted.permute(1, 0, 2).flatten(1)
        places = _interpolate(flat, self.rising[at], self.at[at]).view(len(flat), len(values), -1).transpose(0, 1)
        return predicted, places

    def predicted_of(self, number: int, coordinates: Tensor) -> tuple[Tensor, Tensor]:
        """The same of one number, (B, N) to (B, R) each."""
        others = self.reference[number].clamp(min=0).flatten()
        values = self.values(coordinates[:, others], others).unflatten(1, (-1, 2))
        predicted = (values * self.slope[number]).sum(dim=-1) + self.intercept[number]
        return predicted, self.place_of(number, predicted)

    def hint(self, places: Tensor, open_: Tensor) -> Tensor:
        """What references add to contexts, by the coordinates they predict and where they are open, (B, N, R) each."""
        told = self.describe(places.transpose(1, 2)).transpose(1, 2) * open_[..., None]
        return torch.bmm(told.flatten(2).transpose(0, 1), self._hints).transpose(0, 1)

    def hint_of(self, number: int, coordinates: Tensor, open_: Tensor) -> Tensor:
        """The same of one number, (B, N) to (B, H), where they are open, (B, R)."""
        _, places = self.predicted_of(number, coordinates)
        at = torch.full((places.shape[1],), number, device=places.device)
        return (self.describe(places, at) * open_[..., None]).flatten(1) @ self._hints[number]

    @property
    def _hints(self) -> Tensor:
        if self.hints is None:
            raise RuntimeError("these numbers were built without hints")
        return self.hints

    def expected_of(self, number: int, coordinates: Tensor, codes: Tensor, scores: Tensor | None) -> Tensor:
        """The same of one number, (B, N) to (B, R + 1); codes may be those of the columns with a level alone.

        Scores are those of the coordinates, 0 for missing numbers; None where there is no plane.
        """
        places = torch.where(self.straight[number], *self.predicted_of(number, coordinates))
        plane = self.lift[:, number][self.level[codes]].sum(dim=1) + self.height[number]
        if scores is not None:
            plane = plane + scores @ self.plane[number]
        return torch.cat([places, plane[:, None]], dim=1)

    def place_of(self, number: int, values: Tensor) -> Tensor:
        """Coordinates of standardised values of one number, also between the codes and beyond the ends."""
        alone = slice(number, number + 1)
        return _interpolate(values.flatten()[None], self.rising[alone], self.at[alone]).view(values.shape)

    def equal(self, number: int, terms: Terms, coordinates: Tensor) -> Tensor:
        """The coordinates (B,) at which a number is the sum of others, all numbers' coordinates being (B, N)."""
        value = self._sum(number, terms, coordinates)
        at = self.place_of(number, value.to(coordinates.dtype))
        return self.settled(at.clamp(0.0, float(self.last[number]) - BELOW), number)

    def is_beyond(self, number: int, terms: Terms, coordinates: Tensor) -> Tensor:
        """Whether a sum of others is a value that the number never came near, (B,); see `equal`."""
        value = self._sum(number, terms, coordinates)
        low, high = self.ends[number].double()
        spare = EDGES * (high - low)
        return (value < low - spare) | (value > high + spare)

    def _sum(self, number: int, terms: Terms, coordinates: Tensor) -> Tensor:
        """The sum in standardised values of a number, (B,), float64."""
        user = torch.zeros(len(coordinates), dtype=torch.float64, device=coordinates.device)
        for column, sign in zip(terms.columns, terms.signs, strict=True):
            other = self.place[column]
            values = self.values(coordinates[:, other, None], slice(other, other + 1))[:, 0]
            user += sign * (values.double() * self.spread[other] + self.middle[other])
        return (user - self.middle[number]) / self.spread[number]

    def components(self, features: Tensor, number: int | slice) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, shifts and scales of the components, each (..., R + 1), of what the network says of one number.

        Features are (B, H) for one number, or (B, N, H) for several.
        """
        if isinstance(number, int):
            raw = features.float() @ self.heads[number] + self.bias[number]
        else:
            raw = torch.einsum("bnh,nhk->bnk", features.float(), self.heads[number]) + self.bias[number]
        logits, shift, scale = raw.chunk(3, dim=-1)
        width = torch.maximum((self.start[number] + scale.clamp(-6.0, 6.0)).exp(), self._least(number))
        return logits, shift * self.start[number].exp(), width

    def _least(self, number: int | slice) -> Tensor:
        """Least scales of the components, (..., R + 1)."""
        of_references = torch.where(self.straight[number], self.narrowest[1], self.narrowest[0])
        return torch.cat([of_references, self.narrowest[2].expand(*of_references.shape[:-1], 1)], dim=-1)

    def log_densities(self, coordinates: Tensor, location: Tensor, scale: Tensor, at: slice | int) -> Tensor:
        """Log-density of coordinates (B, N) or (B,) under components (..., R + 1); mass in codes of single values.

        References are logistics of the coordinate, or of the value, cut off at the ends, the plane is one of the normal
        score.
        """
        near = self._near(coordinates, location[..., :-1], scale[..., :-1], at)
        node, _, code = self.nodes(coordinates, at)
        number = code + self.codes.first[self.numbers[at]]
        middle, width = location[..., -1], scale[..., -1]
        score = self._score(number, (coordinates - code).clamp(0.0, 1.0))
        density = (score - middle) / width
        slope = self.share[number].log() + score.square() / 2 + math.log(2 * math.pi) / 2
        inside = functional.logsigmoid(density) + functional.logsigmoid(-density) - width.log() + slope
        low, high = self._score(number, 0.0), self._score(number, 1.0)
        mass = log_mass((low - middle) / width, (high - middle) / width)
        plane = torch.where(self.lumped[node], mass, inside).clamp(min=CLOSED)
        return torch.cat([near, plane[..., None]], dim=-1)

    def _near(self, coordinates: Tensor, location: Tensor, scale: Tensor, at: slice | int) -> Tensor:
        node, share, code = self.nodes(coordinates, at)
        straight = self.straight[at]
        value = torch.lerp(self.knots[node], self.knots[node + 1], share)[..., None]
        left = code.to(location.dtype)[..., None]
        low, high = (torch.where(straight, edge[node][..., None], left + k) for k, edge in enumerate(self._sides))
        density = (torch.where(straight, value, coordinates[..., None]) - location) / scale
        inside = functional.logsigmoid(density) + functional.logsigmoid(-density) - scale.log()
        inside = inside + torch.where(straight, self.rate[node][..., None].log(), 0.0)
        mass = log_mass((low - location) / scale, (high - location) / scale)
        inside = torch.where(self.lumped[node][..., None], mass, inside)
        return (inside - self._log_kept(location, scale, at)).clamp(min=CLOSED)

    def _log_kept(self, location: Tensor, scale: Tensor, at: slice | int) -> Tensor:
        """Log of what references have between the ends of a number, (..., R).

        Far beyond the ends next to nothing of a logistic is left: what is cut off must still sum to one.
        """
        straight, end = self.straight[at], self.last[at].to(location.dtype)
        first = torch.where(straight, self.ends[at, :1], 0.0)
        last = torch.where(straight, self.ends[at, 1:], end[..., None] if end.ndim else end)
        return log_mass((first - location) / scale, (last - location) / scale)

    def log_masses(self, low: Tensor, high: Tensor, location: Tensor, scale: Tensor, at: slice | int) -> Tensor:
        """Log of what references (..., R) have between two coordinates (B, N) or (B,) of one code each, (..., R).

        All of a code of a single value, where the two are its ends.
        """
        node, share, code = self.nodes(low, at)
        steps = self.steps[at]
        within = (high - code).clamp(0.0, 1.0) * steps
        step = torch.minimum(within.floor().long(), steps - 1)
        last = self.first[at] + code * (steps + 1) + step
        values = (
            torch.lerp(self.knots[node], self.knots[node + 1], share),
            torch.lerp(self.knots[last], self.knots[last + 1], within - step),
        )
        is_single, straight = self.lumped[node], self.straight[at]
        sides = [
            torch.where(straight, torch.where(is_single, edge[node], value)[..., None], coordinate[..., None])
            for edge, value, coordinate in zip(self._sides, values, (low, high), strict=True)
        ]
        inside = log_mass((sides[0] - location) / scale, (sides[1] - location) / scale)
        return (inside - self._log_kept(location, scale, at)).clamp(max=0.0)

    @property
    def _sides(self) -> tuple[Tensor, Tensor]:
        return self.low, self.high

    def drawn(self, location: Tensor, scale: Tensor, uniforms: Tensor, number: int, component: Tensor) -> Tensor:
        """Coordinates (B,) drawn from components (B,): of logistics cut off beyond the codes, or on the plane."""
        straight = functional.pad(self.straight[number], (0, 1))[component]
        first, last = (torch.where(straight, self.ends[number, k], k * self.last[number]) for k in range(2))
        found = location + scale * truncated((first - location) / scale, (last - location) / scale, uniforms)
        found = torch.where(straight, self.place_of(number, found), found)
        found = found.clamp(0.0, float(self.last[number]) - BELOW)
        score = location + scale * torch.logit(uniforms.double().clamp(1e-9, 1.0 - 1e-9)).to(scale.dtype)
        found = torch.where(component < REFERENCES, found, self._at_rank(torch.special.ndtr(score), number))
        return self.settled(found, number)

    def _at_rank(self, rank: Tensor, number: int) -> Tensor:
        """Inverse of the rank: the coordinate that so large a share of the training rows lies below."""
        begin, size = self.codes.part(self.columns[number]).start, int(self.last[number])
        below, share = self.below[begin : begin + size].contiguous(), self.share[begin : begin + size]
        code = (torch.searchsorted(below, rank.contiguous(), right=True) - 1).clamp(0, size - 1)
        return code + ((rank - below[code]) / share[code]).clamp(0.0, 1.0 - BELOW)

    def settled(self, coordinates: Tensor, number: int) -> Tensor:
        """Coordinates with those in a code of a single value put to its middle."""
        node, _, code = self.nodes(coordinates, number)
        return torch.where(self.lumped[node], code + 0.5, coordinates)


def _interpolate(values: Tensor, rising: Tensor, at: Tensor) -> Tensor:
    """Values (N, M) to what lies at them, in lines through `rising` and `at`, (N, A) each, and a little beyond."""
    top = ((rising < math.inf).sum(dim=1, keepdim=True) - 1).clamp(min=1)
    right = torch.minimum(torch.searchsorted(rising, values.contiguous()).clamp_(min=1), top)
    low, high = rising.gather(1, right - 1), rising.gather(1, right)
    begin, end = at.gather(1, right - 1), at.gather(1, right)
    share = torch.where(high > low, (values - low) / (high - low).clamp(min=1e-12), 0.5).clamp(-2.0, 3.0)
    return torch.where(torch.isfinite(high), begin + share * (end - begin), begin)


def log_mass(low: Tensor, high: Tensor) -> Tensor:
    """Log of the mass of a standard logistic between two points, exact in either tail, where a difference is 0."""
    inner = -torch.expm1(-(high - low).clamp(min=1e-9))
    return functional.logsigmoid(high) + functional.logsigmoid(-low) + inner.log()


def truncated(low: Tensor, high: Tensor, uniforms: Tensor) -> Tensor:
    """Draws of a standard logistic cut off at two points, by uniform numbers; exact in either tail."""
    is_above = low + high > 0  # seen from the other side: small shares are exact, those near 1 are not
    low, high = low.double(), high.double()
    low, high = torch.where(is_above, -high, low), torch.where(is_above, -low, high)
    left = torch.where(is_above, 1.0 - uniforms.double(), uniforms.double()).clamp(1e-9, 1.0 - 1e-9)
    rank = torch.logaddexp(functional.logsigmoid(low), left.log() + log_mass(low, high))  # log of it
    found = rank - torch.log1p(-rank.exp())
    found = torch.maximum(torch.minimum(found, high), low)
    return torch.where(is_above, -found, found).to(uniforms.dtype)


def fitted_weights(gain: Tensor, counts: Tensor) -> Tensor:
    """Likeliest weights of what gains nothing and of K others, (N, K + 1), from gains in the log-density, (B, N, K)."""
    gain = torch.cat([torch.zeros_like(gain[..., :1]), gain], dim=-1)
    weights = torch.full_like(gain[0], 1.0 / gain.shape[-1])
    for _ in range(WEIGHINGS):
        parts = (gain + weights.clamp(min=1e-6).log()).softmax(dim=-1) * counts[..., None]
        weights = parts.sum(dim=0) / counts.sum(dim=0).clamp(min=1)[:, None]
    return weights


def _edges(scaled: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """`low`, `high`, `rate`, `ends` and `has_gaps` of the numbers, from the knots of their codes; see `Numbers`.

    A code of a single value stands for what lies between the codes around it, half way where those are such codes too.
    """
    sides, ends, gaps = [], [], []
    for knots in scaled:
        first, last = knots[:, 0].clone(), knots[:, -1].clone()
        lumped = first == last
        before, after = last.roll(1), first.roll(-1)
        low = torch.where(lumped.roll(1), (first + before) / 2, before)
        high = torch.where(lumped.roll(-1), (first + after) / 2, after)
        low[0], high[-1] = first[0] - (high[0] - first[0]), first[-1] + (first[-1] - low[-1])
        if len(knots) == 1:
            low, high = first - 0.5, first + 0.5
        low, high = torch.where(lumped, low, first), torch.where(lumped, high, last)
        high = torch.maximum(low, high)  # inside a bin there is no room for a value of its own
        rate = knots.diff(dim=1, append=knots[:, -1:]) * (knots.shape[1] - 1)
        rate = torch.where(lumped[:, None], (high - low)[:, None], rate)
        sides.append(torch.stack([low[:, None].expand_as(knots), high[:, None].expand_as(knots), rate]).flatten(1))
        ends.append(torch.stack([low[0], high[-1]]))
        gaps.append(_is_torn(low, high))
    if not scaled:
        nothing = torch.zeros(0)
        return nothing, nothing, nothing, torch.zeros(0, 2), torch.zeros(0, dtype=torch.bool)
    low, high, rate = torch.cat(sides, dim=1).float()
    return low, high, rate.clamp(min=1e-9), torch.stack(ends).float(), torch.tensor(gaps)


def _is_torn(low: Tensor, high: Tensor) -> bool:
    """Whether something lies between the codes."""
    order = low.argsort(stable=True)
    return bool((low[order][1:] > high[order].cummax(0).values[:-1] + 1e-6).any())


def _spread(knots: Tensor) -> float:
    """A scale of values: the range of their middle half, or what there is."""
    low, high = torch.quantile(knots.flatten(), torch.tensor([0.25, 0.75], dtype=knots.dtype)).tolist()
    return high - low if high > low else float(knots.max() - knots.min()) or 1.0


def _rising(knots: Tensor, lumped: Tensor) -> tuple[Tensor, Tensor]:
    """Values in ascending order and their coordinates, shape (A,) each."""
    steps = knots.shape[1] - 1
    code = torch.arange(len(knots), dtype=knots.dtype)[:, None]
    at = code + torch.arange(steps + 1, dtype=knots.dtype) / steps
    at = torch.where(lumped[:, None], code + 0.5, at)
    order = knots.flatten().argsort(stable=True)
    values, coordinates = knots.flatten()[order], at.flatten()[order].cummax(0).values
    new = torch.ones(len(values), dtype=torch.bool)
    new[1:] = (values[1:] > values[:-1]) | (coordinates[1:] > coordinates[:-1])
    return values[new], coordinates[new]
