# Sourced by set_up: which Debian or Ubuntu packages are missing, and their installation.
# A package is wanted only when what it brings is not there yet, wherever that came from.

# want PACKAGE COMMAND...: PACKAGE is missing unless COMMAND succeeds.
want() {
    wanted_package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $wanted_package"
}

# want_known PACKAGE FILE...: like want, for packages that only some releases have split off. Sets `unsure` where
# nothing tells whether this release has.
want_known() {
    wanted_package=$1
    shift
    for wanted_file in "$@"; do
        [ -e "$wanted_file" ] && return
    done
    if apt-cache show "$wanted_package" >/dev/null 2>&1; then
        missing="$missing $wanted_package"
    elif ! package_lists; then
        unsure=yes
    fi
}

# Images of containers and clouds come without.
package_lists() {
    for found_list in /var/lib/apt/lists/*_Packages*; do
        [ -e "$found_list" ] && return
    done
    return 1
}

static_busybox() {
    found_busybox=$(command -v busybox) && ! grep -q /lib64/ld-linux "$found_busybox"
}

libvirt_headers() {
    pkg-config --exists libvirt
}

python_headers() {
    "$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))'
}

python_environments() {
    "$python" -c 'import ensurepip, venv'
}

postgresql_server() {
    for found_server in /usr/lib/postgresql/*/bin/postgres; do
        [ -x "$found_server" ] && return
    done
    command -v postgres
}

a_chromium() {
    command -v chromium || command -v google-chrome || playwright_chromium
}

playwright_chromium() {
    for found_chromium in "${PLAYWRIGHT_BROWSERS_PATH:-$HOME/.cache/ms-playwright}"/chromium-*/; do
        [ -d "$found_chromium" ] && return
    done
    return 1
}

# Ubuntu's package of this name only fetches a snap, which needs snapd and does not run in containers.
chromium_is_a_snap() {
    grep -q '^ID=ubuntu' /etc/os-release
}

a_font() {
    find /usr/share/fonts -name '*.ttf' 2>/dev/null | grep -q .
}

# Sets `missing` for the lab, the libvirt binding and the front end.
look_for_demo_packages() {
    drivers="/usr/lib/*/libvirt/connection-driver /usr/lib64/libvirt/connection-driver"
    want libvirt-daemon test -x /usr/sbin/libvirtd
    # shellcheck disable=SC2086  # the patterns are meant to be expanded
    want_known libvirt-daemon-driver-qemu $(ls -d $drivers 2>/dev/null | sed 's|$|/libvirt_driver_qemu.so|')
    # shellcheck disable=SC2086
    want_known libvirt-daemon-driver-storage $(ls -d $drivers 2>/dev/null | sed 's|$|/libvirt_driver_storage.so|')
    want_known libvirt-daemon-log /usr/sbin/virtlogd
    want libvirt-clients test -x /usr/bin/virsh
    want qemu-system-x86 test -x /usr/bin/qemu-system-x86_64
    want qemu-utils test -x /usr/bin/qemu-img
    want busybox-static static_busybox
    want util-linux command -v unshare
    # The binding is built on this machine, against its own libvirt.
    want libvirt-dev libvirt_headers
    want pkg-config command -v pkg-config
    want gcc command -v gcc
    want libc6-dev test -e /usr/include/stdio.h
    want ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
    # Only a distribution's Python comes without its headers and without ensurepip.
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    want "python$version-dev" python_headers
    want "python$version-venv" python_environments
}

govmomi_library() {
    test -d /usr/share/gocode/src/github.com/vmware/govmomi/simulator
}

# Adds what only the tests start: servers on private ports, a vCenter, a browser, the README's REST calls.
look_for_test_packages() {
    look_for_demo_packages
    want postgresql postgresql_server
    want redis-server command -v redis-server
    want rabbitmq-server test -x /usr/sbin/rabbitmq-server
    # The tests' vCenter is compiled from this library, which has no program of its own.
    want golang-go command -v go
    want golang-github-vmware-govmomi-dev govmomi_library
    chromium_is_a_snap || want chromium a_chromium
    want fonts-dejavu-core a_font
    want curl command -v curl
}

# Sets `as_root`, the word before what only root may do.
become_root() {
    as_root=
    if [ "$(id -u)" = 0 ]; then return 0; fi
    if ! command -v sudo >/dev/null; then return 1; fi
    as_root=sudo
}

fetch_package_lists() {
    say "This computer has no lists of packages yet; apt-get update fetches them."
    if [ "$dry_run" = yes ]; then return 1; fi
    become_root && apt update
}

# Installs $missing. Services that come with the packages are neither started now nor enabled for the next start of
# the computer: the tests run their own on private ports and folders.
install_missing_packages() {
    say "These Debian packages are missing and will be installed:"
    say "   $missing"
    if [ "$dry_run" = yes ]; then return 0; fi
    if ! become_root; then
        say "This needs root and there is no sudo. As root: apt-get install --no-install-recommends$missing"
        return 1
    fi
    if [ -n "$as_root" ]; then say "(as root, through sudo)"; fi
    remember_enabled_services
    forbid_service_starts
    trap allow_service_starts EXIT INT TERM
    installed=yes
    # shellcheck disable=SC2086  # a list of words
    if ! apt install -s $missing >/dev/null 2>&1; then apt update || true; fi
    # shellcheck disable=SC2086
    if ! apt install -y $missing; then
        # Lists of yesterday name files that are gone today.
        # shellcheck disable=SC2086
        { apt update && apt install -y $missing; } || installed=no
    fi
    allow_service_starts
    trap - EXIT INT TERM
    disable_new_services
    [ "$installed" = yes ]
}

apt() {
    action=$1
    shift
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=600 --no-install-recommends "$action" "$@"
}

# The documented way to keep maintainer scripts from starting services (policy-rc.d(8), exit 101: forbidden).
# One that is there already decides for itself.
policy=/usr/sbin/policy-rc.d
policy_is_ours=no

forbid_service_starts() {
    if [ -e "$policy" ]; then return 0; fi
    policy_is_ours=yes
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
}

allow_service_starts() {
    if [ "$policy_is_ours" = yes ]; then $as_root rm -f "$policy"; fi
    policy_is_ours=no
}

enabled_services() {
    systemctl list-unit-files --state=enabled --no-legend --plain 2>/dev/null | cut -d' ' -f1 | sort
}

remember_enabled_services() {
    enabled_before=
    if [ -d /run/systemd/system ]; then enabled_before=$(enabled_services); fi
}

disable_new_services() {
    if [ ! -d /run/systemd/system ]; then return 0; fi
    for service in $(enabled_services); do
        case "
$enabled_before
" in
        *"
$service
"*) ;;
        *) $as_root systemctl disable --quiet "$service" ;;
        esac
    done
}
