"""Addresses of the pages."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import URLPattern, path

from snapshots.web import (
    account_views,
    drift_views,
    import_views,
    job_views,
    machine_views,
    snapshot_views,
    usage_views,
)

sign_in = LoginView.as_view(template_name="account/sign_in.html", redirect_authenticated_user=True)

urlpatterns: list[URLPattern] = [
    path("", machine_views.list_machines, name="machine_list"),
    path("machines/<uuid:machine_uuid>/", machine_views.show_machine, name="machine"),
    path("machines/<uuid:machine_uuid>/pulse/", machine_views.pulse, name="machine_pulse"),
    path("machines/<uuid:machine_uuid>/history/", machine_views.machine_history, name="machine_history"),
    path("machines/<uuid:machine_uuid>/take/", snapshot_views.take_snapshot, name="take_snapshot"),
    path("machines/<uuid:machine_uuid>/start/", machine_views.start_machine, name="start_machine"),
    path("machines/<uuid:machine_uuid>/stop/", machine_views.stop_machine, name="stop_machine"),
    path("machines/<uuid:machine_uuid>/sync/", machine_views.sync_machine, name="sync_machine"),
    path("machines/<uuid:machine_uuid>/consolidate/", drift_views.consolidate_machine, name="consolidate_machine"),
    path("machines/<uuid:machine_uuid>/adopt/", drift_views.adopt_machine, name="adopt_machine"),
    path("machines/<uuid:machine_uuid>/attach/", machine_views.attach_volume, name="attach_volume"),
    path("volumes/<uuid:volume_uuid>/detach/", machine_views.detach_volume, name="detach_volume"),
    path("snapshots/<uuid:snapshot_uuid>/", snapshot_views.show_snapshot, name="snapshot"),
    path("snapshots/<uuid:snapshot_uuid>/revert/", snapshot_views.revert_snapshot, name="revert_snapshot"),
    path("snapshots/<uuid:snapshot_uuid>/rename/", snapshot_views.rename_snapshot, name="rename_snapshot"),
    path("snapshots/<uuid:snapshot_uuid>/delete/", snapshot_views.delete_snapshot, name="delete_snapshot"),
    path(
        "snapshots/<uuid:snapshot_uuid>/delete-with-descendants/",
        snapshot_views.delete_snapshot_tree,
        name="delete_snapshot_tree",
    ),
    path("snapshots/<uuid:snapshot_uuid>/adopt/", drift_views.adopt_snapshot, name="adopt_snapshot"),
    path("snapshots/<uuid:snapshot_uuid>/acknowledge/", drift_views.acknowledge_snapshot, name="acknowledge_snapshot"),
    path("jobs/", job_views.list_jobs, name="job_list"),
    path("jobs/<uuid:job_uuid>/", job_views.show_job, name="job"),
    path("jobs/<uuid:job_uuid>/cancel/", job_views.cancel_job, name="cancel_job"),
    path("drift/", drift_views.show_drift, name="drift"),
    path("drift/sync/", drift_views.sync_everything, name="sync_everything"),
    path("import/", import_views.list_importable, name="import_machines"),
    path("import/assign/", import_views.assign_machines, name="assign_machines"),
    path("import/machines/<uuid:machine_uuid>/", import_views.assign_machine, name="assign_machine"),
    path("import/rules/", import_views.list_rules, name="import_rules"),
    path("import/rules/add/", import_views.add_rule, name="add_import_rule"),
    path("import/rules/apply/", import_views.apply_rules, name="apply_import_rules"),
    path("import/rules/<uuid:rule_uuid>/", import_views.change_rule, name="change_import_rule"),
    path("import/rules/<uuid:rule_uuid>/delete/", import_views.delete_rule, name="delete_import_rule"),
    path("import/rules/<uuid:rule_uuid>/move/", import_views.move_rule, name="move_import_rule"),
    path("usage/", usage_views.show_usage, name="usage"),
    path("usage/records.csv", usage_views.usage_csv, name="usage_csv"),
    path("account/", account_views.show_account, name="account"),
    path("account/tokens/", account_views.make_token, name="make_token"),
    path("account/tokens/<uuid:token_uuid>/revoke/", account_views.revoke_token, name="revoke_token"),
    path("account/theme/", account_views.choose_theme, name="choose_theme"),
    path("sign-in/", sign_in, name="sign_in"),
    path("sign-out/", LogoutView.as_view(), name="sign_out"),
]
