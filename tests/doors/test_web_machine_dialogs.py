"""The dialogs about a machine's power and its volumes."""

from hypervisors.drivers.simulated.world import Disk, Machine
from hypervisors.records import PowerState
from snapshots.access import SYSTEM
from snapshots.models import Job, VirtualMachine
from snapshots.services.tenancy import assign_machine, assign_volume
from tests.builders import Cloud, People, only_job, run, take
from tests.doors.browser_client import Browser, machine_page, words


def test_starting_and_stopping(people: People, web: VirtualMachine, db_machine: VirtualMachine, cloud: Cloud) -> None:
    browser = Browser(people.alice)
    assert browser.post(f"{machine_page(db_machine)}start/").status == 302
    run(only_job())
    assert cloud.machine("db").power_state == PowerState.RUNNING
    page = browser.get(f"{machine_page(web)}stop/")
    assert page.checked("way") == ["ask"]
    assert "What the guest has not written to its disks yet is lost." in page.choice("way", "force")
    assert browser.post(f"{machine_page(web)}stop/", {"way": "force"}).status == 302
    assert only_job().arguments == {"force": True}
    run(only_job())
    assert cloud.machine("web").power_state == PowerState.STOPPED
    assert browser.post(f"{machine_page(web)}stop/", {"way": "ask"}).status == 409


def test_stopping_without_a_choice_is_refused(people: People, web: VirtualMachine) -> None:
    assert Browser(people.alice).post(f"{machine_page(web)}stop/", {}).status == 422
    assert not Job.objects.filter(state="queued").exists()


def test_a_start_that_is_refused_is_said_in_a_dialog(people: People, web: VirtualMachine) -> None:
    page = Browser(people.alice).post(f"{machine_page(web)}start/", script=True)
    assert page.status == 409
    assert page.response["HX-Retarget"] == "#dialog"
    assert "web is running already." in words(page.one('//*[@role="alert"]'))
    assert page.one('//*[@id="dialog-title"]').text_content() == "Not possible in this state"


def test_a_volume_can_be_detached_and_attached_again(people: People, web: VirtualMachine, cloud: Cloud) -> None:
    volume = web.volumes.get(target="vdb")
    browser = Browser(people.alice)
    assert f"Detach {volume.name}" in browser.get(f"/volumes/{volume.uuid}/detach/").text
    assert browser.post(f"/volumes/{volume.uuid}/detach/").status == 302
    run(only_job())
    assert len(browser.get(machine_page(web)).find('//ul[@class="volumes"]/li')) == 1
    assert browser.get(f"/volumes/{volume.uuid}/detach/").status == 404
    page = browser.get(f"{machine_page(web)}attach/")
    assert volume.name in page.choice("volume", str(volume.uuid))
    assert browser.post(f"{machine_page(web)}attach/", {"volume": volume.uuid}).status == 302
    run(only_job())
    volume.refresh_from_db()
    assert volume.machine == web


def test_volumes_are_locked_while_there_are_snapshots(people: People, web: VirtualMachine) -> None:
    take(web, "first", people.alice)
    volume = web.volumes.first()
    assert volume is not None
    browser = Browser(people.alice)
    page = browser.get(f"/volumes/{volume.uuid}/detach/")
    submit = page.one('//*[@class="dialog-foot"]/button[contains(., "Detach volume")]')
    assert submit.get("aria-disabled") == "true"
    assert "web has VM snapshots (first)" in words(page.one('//*[@id="dialog-why"]'))
    assert browser.post(f"/volumes/{volume.uuid}/detach/").status == 409


def test_attaching_offers_no_volume_of_another_account(people: People, web: VirtualMachine) -> None:
    cloud = Cloud((Machine("mine"), Machine("theirs", disks=(Disk(name="secret"), Disk(name="secret-2")))))
    assign_machine(SYSTEM, machine=cloud.machine("mine"), account=people.acme)
    assign_machine(SYSTEM, machine=cloud.machine("theirs"), account=people.other)
    theirs = cloud.machine("theirs").volumes.get(name__startswith="secret-2")
    Browser(people.charlie).post(f"/volumes/{theirs.uuid}/detach/")
    run(only_job())
    browser, path = Browser(people.alice), f"{machine_page(cloud.machine('mine'))}attach/"
    page = browser.get(path)
    assert "There is no loose volume" in page.text
    assert "secret" not in page.source
    refused = browser.post(path, {"volume": theirs.uuid})
    assert refused.status == 404
    assert "There is no such volume." in refused.text
    assign_volume(SYSTEM, volume=theirs, account=people.acme)
    assert "secret-2" in browser.get(path).text


def test_attaching_nothing_is_refused(people: People, web: VirtualMachine) -> None:
    page = Browser(people.alice).post(f"{machine_page(web)}attach/", {"volume": "vdb"})
    assert page.status == 422
    assert not Job.objects.filter(state="queued").exists()
