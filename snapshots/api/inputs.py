"""What may come in: shapes and types only. Whether a value is allowed is for the services to say.

Types are taken at their word: a number is no text, "yes" is no truth value. What is not known is refused with its name, so
that a misspelt option is never taken for one that was left out.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from rest_framework import serializers

from hypervisors.records import PowerAfterRevert
from snapshots.choices import LimitKind, TokenScope


class Text(serializers.CharField):
    """A JSON text, untouched."""

    default_error_messages = {"invalid": "Give a text."}

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_blank=True, trim_whitespace=False, **options)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Truth(serializers.BooleanField):
    """`true` or `false`."""

    default_error_messages = {"invalid": "Give true or false."}

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid")
        return data


class Whole(serializers.IntegerField):
    """A whole number."""

    default_error_messages = {"invalid": "Give a whole number."}

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return data


class PublicId(serializers.UUIDField):
    """The `id` of something."""

    default_error_messages = {"invalid": "Give an id (a UUID)."}

    def to_internal_value(self, data: Any) -> UUID:
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        try:
            return UUID(data)
        except ValueError:
            self.fail("invalid", value=data)


class OneOf(serializers.ChoiceField):
    """One of a few words."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid_choice", input=type(data).__name__)
        return super().to_internal_value(data)


class Input(serializers.Serializer[Any]):
    """A JSON object with these fields and no others."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise serializers.ValidationError({"body": ["Send a JSON object."]})
        unknown = {str(name): ["This field is not known here."] for name in data if name not in self.fields}
        try:
            values = super().to_internal_value(data)
        except serializers.ValidationError as error:
            raise serializers.ValidationError({**error.detail, **unknown}) from None  # type: ignore[dict-item]  # raised by the fields, so by name
        if unknown:
            raise serializers.ValidationError(unknown)
        return values


class NoInput(Input):
    """Nothing: an empty body or an empty object."""


EXCEED = (
    "Go beyond a limit that is in the way. For admins of the domain whose limit it is, where the installation lets them; "
    "it is written into the history. Everybody else is refused all the same."
)


class SnapshotInput(Input):
    """A VM snapshot to be taken."""

    name = Text(help_text="1 to 255 characters of any script, unique in the machine, without control characters.")
    description = Text(default="", help_text="Up to 4000 characters.")
    memory = Truth(default=False, help_text="Keep the memory too. Only while the machine runs; not with `quiesce`.")
    quiesce = Truth(default=False, help_text="Have the guest settle its file systems first. Not with `memory`.")
    exceed_limits = Truth(default=False, help_text=EXCEED)


class SnapshotChangeInput(Input):
    """What is to change of a VM snapshot; at least one of the two."""

    name = Text(required=False, help_text="1 to 255 characters of any script, unique in the machine.")
    description = Text(required=False, help_text="Up to 4000 characters.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("Give name, description or both.")
        return attrs


class RevertInput(Input):
    """How to revert."""

    power = OneOf(
        choices=[choice.value for choice in PowerAfterRevert],
        required=False,
        allow_null=True,
        default=None,
        help_text=(
            "`as_snapshot`: resume a kept memory, stay stopped after a disk snapshot. `running`: start from the disks. "
            "`stopped`: leave it off. Needed where a running machine goes back to a snapshot without memory."
        ),
    )
    safety_snapshot = Truth(default=True, help_text="First take a VM snapshot of the machine as it is now.")
    exceed_limits = Truth(default=False, help_text=EXCEED)


class AdoptInput(Input):
    """How to adopt."""

    exceed_limits = Truth(default=False, help_text=EXCEED)


class StopInput(Input):
    """How to stop."""

    force = Truth(default=False, help_text="Cut the power instead of asking the guest to shut down.")


class AttachInput(Input):
    """Where to attach a volume."""

    virtual_machine = PublicId(help_text="The machine's `id`.")


class LimitInput(Input):
    """A limit to be set, on an account or on a domain."""

    account = PublicId(default=None, allow_null=True, help_text="The account's `id`, or null.")
    domain = PublicId(default=None, allow_null=True, help_text="The domain's `id`, or null.")
    kind = OneOf(choices=LimitKind.choices)
    value = Whole(
        allow_null=True,
        help_text="A number of VM snapshots, bytes or days; -1 for no limit; null to leave it to the default, or to what "
        "holds above.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if (attrs["account"] is None) == (attrs["domain"] is None):
            raise serializers.ValidationError("Give an account or a domain.")
        return attrs


class TokenInput(Input):
    """A token to be made."""

    name = Text(help_text="What it is for, 1 to 255 characters.")
    scope = OneOf(
        choices=TokenScope.choices, default=TokenScope.READ.value, help_text="`read` only reads, `operate` acts too."
    )
    days = Whole(default=90, help_text="How long it lasts, 1 to 3650.")
