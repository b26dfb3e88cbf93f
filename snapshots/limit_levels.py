"""How much room there is for VM snapshots: every limit that holds for a machine, with what is in use of it.

The services that refuse and the pages that tell beforehand both ask here, so that there is one answer. Two kinds of limits
are shared by everything below the place they are set on, and so hold at an account, at its domain and at every domain
above: VM snapshots, and bytes. The other two, VM snapshots per machine and age, are set for each machine by the nearest
account or domain that says something. -1 does not limit.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple

from django.conf import settings
from django.db.models import BigIntegerField, BooleanField, CharField, Exists, F, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Cast

from snapshots.access import Person, is_root_admin, visible_domains
from snapshots.choices import UNLIMITED, LimitKind
from snapshots.models import Account, Domain, Limit, LimitUse

SHARED = (LimitKind.SNAPSHOTS, LimitKind.BYTES)
NEAREST = (LimitKind.PER_MACHINE, LimitKind.AGE_DAYS)

OLDEST_DAYS = 365_000
"""A limit of age above a thousand years is none: it leads out of the calendar."""


class Place(StrEnum):
    """What a limit is on, or where its value comes from."""

    MACHINE = "machine"
    ACCOUNT = "account"
    DOMAIN = "domain"
    DEFAULT = "default"


class Wanted(NamedTuple):
    """What is asked for: VM snapshots that will count, and by how many bytes the estimate of those that count grows."""

    snapshots: int = 1
    estimated_bytes: int = 0

    def of(self, kind: LimitKind) -> int:
        """How much of a limit of this kind that takes."""
        return self.estimated_bytes if kind == LimitKind.BYTES else self.snapshots


class Source(NamedTuple):
    """Where the value of a limit comes from: an account's or a domain's own, or the default. `key` is its primary key.
    `seen`: the person who asks may see that place; if not, only that there is something is for them."""

    place: Place
    key: int | None = None
    name: str = ""
    seen: bool = True


class Setting(NamedTuple):
    """The value of a limit, and where it comes from."""

    value: int
    source: Source


@dataclass(frozen=True, slots=True)
class Level:
    """A limit at one place, with what is in use of it. `admins` is the primary key of the domain whose admins may exceed
    it, None where only root admins may. `seen` as in `Source`."""

    kind: LimitKind
    place: Place
    key: int
    name: str
    setting: Setting
    used: int
    admins: int | None
    seen: bool = True

    @property
    def limit(self) -> int:
        """The most that is allowed here, -1 for any number."""
        return self.setting.value

    @property
    def limited(self) -> bool:
        """Whether there is a limit at all."""
        return self.limit != UNLIMITED

    @property
    def share(self) -> float:
        """How much of it is in use: 1.0 when it is used up."""
        if not self.limited:
            return 0.0
        return self.used / self.limit if self.limit else float(self.used + 1)

    def stops(self, wanted: Wanted) -> bool:
        """Whether that much would pass it. One that is passed already stops everything that counts."""
        return self.limited and self.used + wanted.of(self.kind) > self.limit


@dataclass(frozen=True, slots=True)
class Room:
    """The limits that hold for the machines of one account, or of none. `shared` has the account's first, then its
    domain's and so on upwards; at each place first VM snapshots, then bytes. `path` are the domains from the root down."""

    shared: tuple[Level, ...]
    per_machine: Setting
    age_days: Setting
    path: tuple[int, ...] = ()

    def levels(self, machine_name: str, counted: int) -> tuple[Level, ...]:
        """All limits on the number and size of the VM snapshots of a machine that has so many which count."""
        own = self.path[-1] if self.path else None
        source = self.per_machine.source
        admins = source.key if source.place == Place.DOMAIN else own
        of_machine = Level(LimitKind.PER_MACHINE, Place.MACHINE, 0, machine_name, self.per_machine, counted, admins)
        return (of_machine, *self.shared)

    def before(self, taken: Wanted) -> "Room":
        """The same when that was not in use yet."""
        return replace(
            self, shared=tuple(replace(level, used=level.used - taken.of(level.kind)) for level in self.shared)
        )

    def for_members(self) -> "Room":
        """The same as everybody may read it who reads the account's history: of domains only the account's own is seen."""
        return replace(
            self,
            shared=tuple(replace(level, seen=self._seen_by_members(level.place, level.key)) for level in self.shared),
            per_machine=self._setting_for_members(self.per_machine),
            age_days=self._setting_for_members(self.age_days),
        )

    def _setting_for_members(self, setting: Setting) -> Setting:
        source = setting.source
        return setting._replace(source=source._replace(seen=self._seen_by_members(source.place, source.key)))

    def _seen_by_members(self, place: Place, key: int | None) -> bool:
        return place != Place.DOMAIN or key == self.path[-1]

    def above(self, level: Level) -> Source | None:
        """The domain whose admins set this limit: the one above, named only as far as it is seen. None where only root
        admins do."""
        if level.place == Place.MACHINE:
            place, key, *_ = self.per_machine.source
        else:
            place, key = level.place, level.key
        if place == Place.DEFAULT:
            return None
        domains = self._domains()
        if place == Place.DOMAIN:
            domains = domains[1 + [domain.key for domain in domains].index(key) :]
        return domains[0] if domains else None

    def _domains(self) -> list[Source]:
        """The account's domain, then those above it."""
        return [
            Source(Place.DOMAIN, level.key, level.name, level.seen)
            for level in self.shared
            if level.place == Place.DOMAIN and level.kind == LimitKind.SNAPSHOTS
        ]

    def tightest_domains(self) -> list[Level]:
        """Of each shared kind the domain with the least room left in proportion, among those that are limited and seen."""
        found = []
        for kind in SHARED:
            limited = [
                level
                for level in self.shared
                if (level.kind, level.place) == (kind, Place.DOMAIN) and level.limited and level.seen
            ]
            if limited:
                found.append(max(limited, key=lambda level: level.share))
        return found


class _Fact(NamedTuple):
    what: str
    account: int | None
    domain: int | None
    name: str
    first: int
    second: int
    seen: bool


def default_of(kind: LimitKind, place: Place) -> int:
    """The value of a limit of this kind, where neither the place nor, for kinds that are not shared, any above has one."""
    defaults = {
        (LimitKind.SNAPSHOTS, Place.ACCOUNT): settings.LIMIT_ACCOUNT_SNAPSHOTS,
        (LimitKind.SNAPSHOTS, Place.DOMAIN): settings.LIMIT_DOMAIN_SNAPSHOTS,
        (LimitKind.BYTES, Place.ACCOUNT): settings.LIMIT_ACCOUNT_BYTES,
        (LimitKind.BYTES, Place.DOMAIN): settings.LIMIT_DOMAIN_BYTES,
    }
    either = {LimitKind.PER_MACHINE: settings.SNAPSHOTS_PER_MACHINE, LimitKind.AGE_DAYS: settings.LIMIT_AGE_DAYS}
    value: int = either[kind] if kind in either else defaults[kind, place]
    return value


def room_of_nobody() -> Room:
    """For machines that belong to no account: nothing is shared, and nothing expires."""
    default = Source(Place.DEFAULT)
    return Room((), Setting(default_of(LimitKind.PER_MACHINE, Place.ACCOUNT), default), Setting(UNLIMITED, default))


def room_of(account: Account | None, person: Person | None) -> Room:
    """The limits for the machines of this account (with its domain loaded), as far as this person may see where they come
    from; None sees everything. One query, none without an account."""
    return room_of_nobody() if account is None else rooms_of([account], person)[account.pk]


def rooms_of(accounts: Iterable[Account], person: Person | None) -> dict[int, Room]:
    """The same of several accounts, by their primary keys. One query, however many there are and however deep."""
    wanted = {account.pk: account for account in accounts}
    if not wanted:
        return {}
    domains = {key for account in wanted.values() for key in account.domain.ancestor_ids}
    known = _Known(_facts(wanted.keys(), domains, person))
    return {account.pk: known.room(account) for account in wanted.values()}


class LimitHere(NamedTuple):
    """What holds at an account or a domain of one kind. `own` is what was set there, None for nothing; `effective` is the
    least of that and of all above that the person sees (of kinds that are not shared: the nearest); `used` is None for
    kinds that are not shared."""

    kind: LimitKind
    own: int | None
    effective: Setting
    used: int | None


def limits_at(places: Iterable[Account | Domain], person: Person | None) -> dict[Account | Domain, list[LimitHere]]:
    """What holds at each of these accounts (with their domains loaded) and domains, of every kind. One query."""
    wanted = list(places)
    paths = {place: (place.domain if isinstance(place, Account) else place).ancestor_ids for place in wanted}
    if not wanted:
        return {}
    accounts = [place.pk for place in wanted if isinstance(place, Account)]
    known = _Known(_facts(accounts, {key for path in paths.values() for key in path}, person))
    return {place: known.here(place, paths[place]) for place in wanted}


class _Known:
    """What one query told of some accounts and all domains above them."""

    def __init__(self, facts: Iterable[_Fact]) -> None:
        self.domains: dict[int, tuple[str, bool]] = {}
        self.used: dict[tuple[Place, int], tuple[int, int]] = defaultdict(lambda: (0, 0))
        self.limits: dict[tuple[Place, int, str], int] = {}
        for fact in facts:
            place = Place.DOMAIN if fact.account is None else Place.ACCOUNT
            key = fact.domain if fact.account is None else fact.account
            assert key is not None  # noqa: S101  # a constraint of both tables
            if fact.what == "domain":
                self.domains[key] = (fact.name, fact.seen)
            elif fact.what == "use":
                self.used[place, key] = (fact.first, fact.second)
            else:
                self.limits[place, key, fact.what] = fact.first

    def room(self, account: Account) -> Room:
        path = tuple(account.domain.ancestor_ids)
        levels = self._levels(Source(Place.ACCOUNT, account.pk, account.name), path[-1])
        for key in reversed(path):
            name, seen = self.domains[key]
            levels += self._levels(Source(Place.DOMAIN, key, name, seen), key)
        return Room(
            tuple(levels),
            self._nearest(account, path, LimitKind.PER_MACHINE),
            self._nearest(account, path, LimitKind.AGE_DAYS),
            path,
        )

    def _levels(self, of: Source, admins: int) -> list[Level]:
        assert of.key is not None  # noqa: S101  # an account or a domain
        return [
            Level(kind, of.place, of.key, of.name, self._at(of, kind), used, admins, of.seen)
            for kind, used in zip(SHARED, self.used[of.place, of.key], strict=True)
        ]

    def _own(self, of: Source, kind: LimitKind) -> int | None:
        assert of.key is not None  # noqa: S101  # an account or a domain
        return self.limits.get((of.place, of.key, kind))

    def _at(self, of: Source, kind: LimitKind) -> Setting:
        """What a place has of its own, or the default."""
        own = self._own(of, kind)
        return Setting(default_of(kind, of.place), Source(Place.DEFAULT)) if own is None else Setting(own, of)

    def _nearest(self, account: Account, path: Iterable[int], kind: LimitKind) -> Setting:
        return self._first([Source(Place.ACCOUNT, account.pk, account.name), *self._upwards(path)], kind)

    def _upwards(self, path: Iterable[int]) -> list[Source]:
        return [Source(Place.DOMAIN, key, *self.domains[key]) for key in reversed(tuple(path))]

    def _first(self, places: Iterable[Source], kind: LimitKind) -> Setting:
        for of in places:
            if (own := self._own(of, kind)) is not None:
                return Setting(own, of)
        return Setting(default_of(kind, Place.ACCOUNT), Source(Place.DEFAULT))

    def here(self, place: Account | Domain, path: Sequence[int]) -> list[LimitHere]:
        """What holds at one place."""
        upwards = self._upwards(path)
        if isinstance(place, Account):
            upwards.insert(0, Source(Place.ACCOUNT, place.pk, place.name))
        here = upwards[0]
        found = []
        for kind in LimitKind:
            own = self._own(here, kind)
            if kind in NEAREST:
                found.append(LimitHere(kind, own, self._first(upwards, kind), None))
                continue
            used = dict(zip(SHARED, self.used[here.place, place.pk], strict=True))[kind]
            found.append(LimitHere(kind, own, self._least(upwards, kind), used))
        return found

    def _least(self, upwards: Iterable[Source], kind: LimitKind) -> Setting:
        """The least of what holds at these places, the nearest of equals; of those that are not seen nothing is told."""
        settings_ = [self._at(of, kind) for of in upwards if of.seen]
        finite = [setting for setting in settings_ if setting.value != UNLIMITED]
        return min(finite, key=lambda setting: setting.value) if finite else settings_[0]


def _facts(accounts: Collection[int], domains: Collection[int], person: Person | None) -> Iterable[_Fact]:
    """Names of the domains, and limits and use of all, in one statement."""
    here = Q(account__in=accounts) | Q(domain__in=domains)
    nothing = Value(0, BigIntegerField())
    of_limits = _columns(Limit.objects.filter(here), F("kind"), F("account_id"), F("domain_id"), F("value"), nothing)
    of_use = _columns(
        LimitUse.objects.filter(here),
        Value("use"),
        F("account_id"),
        F("domain_id"),
        F("snapshots"),
        F("estimated_bytes"),
    )
    of_domains = _columns(
        Domain.objects.filter(pk__in=domains),
        Value("domain"),
        Cast(Value(None), BigIntegerField()),
        F("pk"),
        nothing,
        nothing,
        name=F("name"),
        seen=_seen_by(person),
    )
    return map(_Fact._make, of_domains.union(of_use, of_limits, all=True))


def _columns(
    rows: QuerySet[Any],
    what: Any,
    account: Any,
    domain: Any,
    first: Any,
    second: Any,
    *,
    name: Any = None,
    seen: Any = None,
) -> QuerySet[Any, Any]:
    columns: QuerySet[Any, Any] = (
        rows.order_by()
        .annotate(
            fact_what=Cast(what, CharField()),
            fact_account=account,
            fact_domain=domain,
            fact_name=Cast(Value("") if name is None else name, CharField()),
            fact_first=first,
            fact_second=second,
            fact_seen=Value(True, BooleanField()) if seen is None else seen,
        )
        .values_list(*(f"fact_{column}" for column in _Fact._fields))
    )
    return columns


def _seen_by(person: Person | None) -> Any:
    if person is None or is_root_admin(person):
        return Value(True, BooleanField())
    return Exists(visible_domains(person).filter(pk=OuterRef("pk")).order_by())
