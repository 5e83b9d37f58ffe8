#!/bin/sh
# Sees to it that the programs that the tests start are there: RabbitMQ, Redis, and a browser for the HTML report.
# Installs Debian's packages where it may (as root, or with sudo that asks for no password); else says what is missing.
# No system service is started: the tests start servers of their own, on free ports, with data in temporary folders.
#
# Containers are no way out here: the tests kill, stop and restart the servers, so they need the programs themselves.
set -eu

there() {
    case $1 in
        rabbitmq-server) { [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || command -v rabbitmq-server; } && command -v epmd ;;
        chromium) command -v chromium || command -v chromium-browser || command -v google-chrome ;;
        chromium-driver) command -v chromedriver ;;
        *) command -v "$1" ;;
    esac >/dev/null 2>&1
}

missing() {
    found=
    for package in rabbitmq-server redis-server chromium chromium-driver; do
        there $package || found="$found $package"
    done
    echo "${found# }"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; }
}

policy=/usr/sbin/policy-rc.d
forbid_services() {
    # Debian's way to install a server without starting it: a program of this name that says no (101).
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
        as_root chmod 755 $policy
        trap 'as_root rm -f $policy' EXIT
        trap 'exit 1' INT TERM HUP
    fi
}

update() {
    # Unlike installing, this does not wait for another apt-get; and a machine that has just started often runs one.
    for _ in $(seq 180); do
        as_root apt-get update --quiet -o Acquire::Retries=3 >"$log" 2>&1 && return
        grep -q lists/lock "$log" || return 0 # something else is wrong: what can be installed all the same will show
        sleep 5
    done
}

install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends \
        -o DPkg::Lock::Timeout=900 -o Acquire::Retries=3 "$@" </dev/null
}

wanted=$(missing)
[ -n "$wanted" ] || exit 0

if may_install; then
    echo "Installing for the tests: $wanted ..."
    log=$(mktemp)
    forbid_services
    # One by one, so that a package which this system does not have takes no other with it.
    update
    for package in $wanted; do
        install "$package" >>"$log" 2>&1 || { echo "apt-get could not install $package:"; tail -n 5 "$log"; }
    done
    rm -f "$log"
    wanted=$(missing)
    [ -n "$wanted" ] || exit 0
fi

echo "Not installed: $wanted" >&2
echo "Install them (Debian, Ubuntu: sudo apt install $wanted); without them the tests that need them are skipped," >&2
echo "and fail where the environment variable CI is set." >&2
[ -z "${CI:-}" ]
