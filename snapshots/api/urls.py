"""Addresses of the REST API. Ids are UUIDs; what is none leads nowhere, like an unknown one."""

from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from snapshots.api import (
    capacity_views,
    inventory_views,
    job_views,
    limit_views,
    machine_views,
    schedule_views,
    snapshot_views,
    tenancy_views,
    usage_views,
)
from snapshots.api.base_views import NothingHere

app_name = "api"

version_1 = [
    path("virtual-machines/", machine_views.MachineList.as_view(), name="machines"),
    path("virtual-machines/<uuid:id>/", machine_views.MachineDetail.as_view(), name="machine"),
    path("virtual-machines/<uuid:id>/snapshots/", machine_views.MachineSnapshots.as_view(), name="machine_snapshots"),
    path("virtual-machines/<uuid:id>/schedules/", schedule_views.MachineSchedules.as_view(), name="machine_schedules"),
    path("virtual-machines/<uuid:id>/tree/", machine_views.MachineTree.as_view(), name="machine_tree"),
    path("virtual-machines/<uuid:id>/start/", machine_views.MachineStart.as_view(), name="machine_start"),
    path("virtual-machines/<uuid:id>/stop/", machine_views.MachineStop.as_view(), name="machine_stop"),
    path("virtual-machines/<uuid:id>/sync/", machine_views.MachineSync.as_view(), name="machine_sync"),
    path(
        "virtual-machines/<uuid:id>/consolidate/",
        machine_views.MachineConsolidate.as_view(),
        name="machine_consolidate",
    ),
    path("snapshots/", snapshot_views.SnapshotList.as_view(), name="snapshots"),
    path("snapshots/<uuid:id>/", snapshot_views.SnapshotDetail.as_view(), name="snapshot"),
    path("snapshots/<uuid:id>/revert/", snapshot_views.SnapshotRevert.as_view(), name="snapshot_revert"),
    path("snapshots/<uuid:id>/adopt/", snapshot_views.SnapshotAdopt.as_view(), name="snapshot_adopt"),
    path("snapshots/<uuid:id>/acknowledge/", snapshot_views.SnapshotAcknowledge.as_view(), name="snapshot_acknowledge"),
    path("snapshots/<uuid:id>/keep/", snapshot_views.SnapshotKeep.as_view(), name="snapshot_keep"),
    path("schedules/", schedule_views.ScheduleList.as_view(), name="schedules"),
    path("schedules/<uuid:id>/", schedule_views.ScheduleDetail.as_view(), name="schedule"),
    path("jobs/", job_views.JobList.as_view(), name="jobs"),
    path("jobs/<uuid:id>/", job_views.JobDetail.as_view(), name="job"),
    path("jobs/<uuid:id>/cancel/", job_views.JobCancel.as_view(), name="job_cancel"),
    path("events/", job_views.EventList.as_view(), name="events"),
    path("volumes/", inventory_views.VolumeList.as_view(), name="volumes"),
    path("volumes/<uuid:id>/", inventory_views.VolumeDetail.as_view(), name="volume"),
    path("volumes/<uuid:id>/attach/", inventory_views.VolumeAttach.as_view(), name="volume_attach"),
    path("volumes/<uuid:id>/detach/", inventory_views.VolumeDetach.as_view(), name="volume_detach"),
    path("hypervisors/", inventory_views.HypervisorList.as_view(), name="hypervisors"),
    path("hypervisors/<uuid:id>/", inventory_views.HypervisorDetail.as_view(), name="hypervisor"),
    path("hypervisors/<uuid:id>/sync/", inventory_views.HypervisorSync.as_view(), name="hypervisor_sync"),
    path("storage-pools/", inventory_views.PoolList.as_view(), name="pools"),
    path("storage-pools/<uuid:id>/", inventory_views.PoolDetail.as_view(), name="pool"),
    path("usage-records/", usage_views.UsageRecordList.as_view(), name="usage_records"),
    path("storage-pools/<uuid:id>/capacity/", capacity_views.PoolCapacityView.as_view(), name="pool_capacity"),
    path("accounts/", tenancy_views.AccountList.as_view(), name="accounts"),
    path("accounts/<uuid:id>/", tenancy_views.AccountDetail.as_view(), name="account"),
    path("domains/", tenancy_views.DomainList.as_view(), name="domains"),
    path("domains/<uuid:id>/", tenancy_views.DomainDetail.as_view(), name="domain"),
    path("limits/", limit_views.Limits.as_view(), name="limits"),
    path("tokens/", tenancy_views.TokenList.as_view(), name="tokens"),
    path("tokens/<uuid:id>/", tenancy_views.TokenDetail.as_view(), name="token"),
    re_path(r"", NothingHere.as_view(), name="nothing"),
]

urlpatterns = [
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path(
        "docs/",
        SpectacularSwaggerSplitView.as_view(url_name="api:schema", template_name="api/docs.html"),
        name="docs",
    ),
    path("v1/", include(version_1)),
]
