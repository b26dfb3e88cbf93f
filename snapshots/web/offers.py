"""What a page offers to do, with the reason wherever it cannot be done. The reasons come from the services' rules."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from django.urls import reverse

from snapshots.access import looking_only
from snapshots.choices import PowerState
from snapshots.models import VMSnapshot, Volume
from snapshots.reading.machine_page import MachinePage
from snapshots.refusals import Refusal, VMBusy, reason
from snapshots.services import snapshot_rules as rules
from snapshots.web.limit_rows import in_the_way

# The elements of the machine's page that say what stands against everything: a notice, or the bar of the job under way.
COMMON_REASON_ID = "common-reason"
BUSY_ID = "busy-words"


@dataclass(frozen=True, slots=True)
class Offer:
    """One button. `why_not` is empty when it can be used; `effect` says what it does. `at_once`: it opens no dialog.
    `reason_id` is the id of the element on the page that holds `why_not`. `beyond` tells of a limit that this person may go
    beyond by saying so. `about` names what it is done with, for those who hear the button alone."""

    key: str
    label: str
    icon: str
    address: str
    why_not: str
    effect: str = ""
    at_once: bool = False
    danger: bool = False
    reason_id: str = ""
    beyond: str = ""
    about: str = ""

    @property
    def says_why_itself(self) -> bool:
        """Whether its reason is its own, not one written elsewhere on the page."""
        return self.reason_id == f"why-{self.key}"


def common_reason(page: MachinePage) -> tuple[str, str]:
    """What stands against everything on this machine for this person, and the id of the element that says it. Both are
    empty when nothing does."""
    if not page.may_operate:
        return looking_only(page.machine).detail, COMMON_REASON_ID
    refusal = rules.why_not_any(page.machine, page.busy)
    if refusal is None:
        return "", ""
    return refusal.detail, BUSY_ID if isinstance(refusal, VMBusy) else COMMON_REASON_ID


def explained(page: MachinePage, offered: Iterable[Offer]) -> tuple[list[Offer], dict[str, str]]:
    """The offers, each pointing to its reason, and the texts of those reasons by id, every one once.

    What stands against everything on the machine is written once, at its top, and not repeated.
    """
    return pointing_to_reasons(offered, *common_reason(page))


def pointing_to_reasons(offered: Iterable[Offer], common: str, common_id: str) -> tuple[list[Offer], dict[str, str]]:
    """The same, where `common` is written once already, in the element with this id (both empty: nothing is)."""
    ids = {common: common_id} if common else {}
    pointing = []
    for offer in offered:
        if offer.why_not:
            ids.setdefault(offer.why_not, f"why-{offer.key}")
            offer = replace(offer, reason_id=ids[offer.why_not])
        pointing.append(offer)
    return pointing, {reason_id: text for text, reason_id in ids.items() if reason_id != common_id}


def take_offer(page: MachinePage) -> Offer:
    """Take a VM snapshot."""
    refusal = rules.why_not_take_any(page.machine, page.busy) or in_the_way(page, page.taking(memory=False)).stops
    address = reverse("take_snapshot", args=[page.machine.uuid])
    return Offer("take", "Take VM snapshot", "camera", address, _reason(page, refusal))


def delete_all_offer(page: MachinePage) -> Offer:
    """Delete all VM snapshots of the machine."""
    refusal = rules.why_not_delete_all(page.machine, page.busy, page.snapshots)
    address = reverse("delete_all_snapshots", args=[page.machine.uuid])
    label = f"Delete all {len(page.snapshots)}"
    return Offer("delete-all", label, "trash", address, _reason(page, refusal), danger=True)


def machine_offers(page: MachinePage) -> list[Offer]:
    """Start, stop and read again. A running machine is not offered to be started, nor a stopped one to be stopped."""
    machine, offers = page.machine, []
    if machine.power_state != PowerState.RUNNING:
        resume = machine.power_state == PowerState.SUSPENDED
        refusal = rules.why_not_start(machine, page.busy)
        address = reverse("start_machine", args=[machine.uuid])
        offers.append(
            Offer("start", "Resume" if resume else "Start", "play", address, _reason(page, refusal), at_once=True)
        )
    if machine.power_state != PowerState.STOPPED:
        refusal = rules.why_not_stop(machine, page.busy)
        offers.append(
            Offer("stop", "Stop", "power", reverse("stop_machine", args=[machine.uuid]), _reason(page, refusal))
        )
    # Whoever sees a machine may have it read again.
    busy = "" if page.busy is None else rules.busy_refusal(page.busy).detail
    offers.append(Offer("sync", "Sync now", "sync", reverse("sync_machine", args=[machine.uuid]), busy, at_once=True))
    return offers


def drift_offers(page: MachinePage) -> list[Offer]:
    """What is offered beside the notices about the machine: adopt everything made elsewhere, consolidate its disks."""
    machine, offers = page.machine, []
    if len(page.waiting) > 1:
        limit = in_the_way(page, page.adoption_of(page.waiting))
        refusal = rules.why_not_adopt_all(machine, page.waiting) or limit.stops
        address, label = reverse("adopt_machine", args=[machine.uuid]), f"Adopt all {len(page.waiting)}"
        offers.append(
            Offer("adopt-all", label, "adopt", address, _reason(page, refusal), at_once=True, beyond=limit.beyond)
        )
    if machine.needs_consolidation:
        refusal = rules.why_not_consolidate(machine, page.busy)
        address = reverse("consolidate_machine", args=[machine.uuid])
        offers.append(Offer("consolidate", "Consolidate", "merge", address, _reason(page, refusal), at_once=True))
    return offers


def snapshot_offers(page: MachinePage, snapshot: VMSnapshot) -> list[Offer]:
    """Everything that can be done with one VM snapshot; what its being made elsewhere or lost asks for comes first."""
    offers = [*_of_drift(page, snapshot), *_of_its_schedule(page, snapshot), *_of_any(page, snapshot)]
    # What is not on the hypervisor any more cannot be reverted to or renamed, and acknowledging is deleting its entry.
    return [offer for offer in offers if offer.key not in ("revert", "rename", "delete")] if snapshot.lost else offers


def _of_drift(page: MachinePage, snapshot: VMSnapshot) -> list[Offer]:
    if snapshot.lost:
        children = len(page.children_of(snapshot))
        moved = (
            f" The {children} below it move up." if children > 1 else " The one below it moves up." if children else ""
        )
        return [
            Offer(
                "acknowledge",
                "Acknowledge",
                "check",
                reverse("acknowledge_snapshot", args=[snapshot.uuid]),
                _reason(page, rules.why_not_acknowledge(snapshot, page.busy)),
                f"Takes note that it is lost and removes this entry.{moved} The hypervisor is not touched.",
                at_once=True,
            )
        ]
    if not snapshot.counts:
        limit = in_the_way(page, page.adoption_of([snapshot]))
        refusal = rules.why_not_adopt(page.machine, snapshot) or limit.stops
        return [
            Offer(
                "adopt",
                "Adopt",
                "adopt",
                reverse("adopt_snapshot", args=[snapshot.uuid]),
                _reason(page, refusal),
                "It counts as taken here from now on. The hypervisor is not touched.",
                at_once=True,
                beyond=limit.beyond,
            )
        ]
    return []


def _of_its_schedule(page: MachinePage, snapshot: VMSnapshot) -> list[Offer]:
    if snapshot.schedule is None or snapshot.lost:
        return []
    return [
        Offer(
            "keep",
            "Keep for good",
            "pin",
            reverse("keep_snapshot", args=[snapshot.uuid]),
            _reason(page, rules.why_not_keep(page.busy, snapshot)),
            f"Takes it out of the schedule “{snapshot.schedule.name}”, which does not delete it any more then."
            f"{_still_deleted(page)}",
            at_once=True,
        )
    ]


def _still_deleted(page: MachinePage) -> str:
    """What deletes it all the same; empty where nothing does."""
    days = page.oldest_days
    if days is None:
        return ""
    return f" The limit of age still deletes it at {days} day{'' if days == 1 else 's'}."


def _of_any(page: MachinePage, snapshot: VMSnapshot) -> list[Offer]:
    machine, busy = page.machine, page.busy
    doomed = page.with_descendants(snapshot)
    below = len(doomed) - 1
    offers = [
        Offer(
            "revert",
            "Revert to this",
            "revert",
            reverse("revert_snapshot", args=[snapshot.uuid]),
            _reason(page, rules.why_not_revert(machine, busy, snapshot)),
            f"Puts {machine.name} back to how it was then.",
        ),
        Offer(
            "rename",
            "Rename",
            "pencil",
            reverse("rename_snapshot", args=[snapshot.uuid]),
            _reason(page, rules.why_not_rename(machine, busy, snapshot)),
            "Changes its name and description.",
        ),
        Offer(
            "delete",
            "Delete",
            "trash",
            reverse("delete_snapshot", args=[snapshot.uuid]),
            _reason(page, rules.why_not_delete(machine, busy, snapshot)),
            _deleted(page, snapshot),
            danger=True,
        ),
    ]
    if below:
        offers.append(
            Offer(
                "delete-tree",
                f"Delete with {below} below it",
                "trash",
                reverse("delete_snapshot_tree", args=[snapshot.uuid]),
                _reason(page, rules.why_not_delete_tree(machine, busy, doomed)),
                f"Deletes {len(doomed)} VM snapshots: this one and everything that stems from it.",
                danger=True,
            )
        )
    return offers


def attach_offer(page: MachinePage) -> Offer:
    """Attach a volume."""
    names = [row.name for row in page.snapshots]
    refusal = rules.why_not_change_volumes(page.machine, page.busy, names, page.machine.abilities.attach)
    address = reverse("attach_volume", args=[page.machine.uuid])
    return Offer("attach", "Attach a volume", "plug", address, _reason(page, refusal))


def detach_reason(page: MachinePage) -> str:
    """Why no volume of the machine can be detached, empty when they can."""
    return _reason(page, rules.why_not_detach(page.machine, page.busy, [row.name for row in page.snapshots]))


def detach_offer(page: MachinePage, volume: Volume, why_not: str) -> Offer:
    """Detach this volume."""
    return Offer(
        f"detach-{volume.uuid}", "Detach", "unplug", reverse("detach_volume", args=[volume.uuid]), why_not, danger=True
    )


def _deleted(page: MachinePage, snapshot: VMSnapshot) -> str:
    children = len(page.children_of(snapshot))
    if not children:
        return "Deletes this one only; the machine goes on as it is."
    parent = page.parent_of(snapshot)
    moved = "The one below it moves" if children == 1 else f"The {children} below it move"
    return f"Deletes this one only. {moved} up to {parent.name if parent else 'the top'}."


def _reason(page: MachinePage, refusal: Refusal | None) -> str:
    return reason(refusal) if page.may_operate else looking_only(page.machine).detail
