#!/usr/bin/env bash
# Installs what this project needs into .tools/, inside the checkout and nowhere else.
#
#   tools/install.sh build     .tools/build:  CMake, for libhdf5
#   tools/install.sh judges    .tools/judges: the Python readers that judge our files in tests;
#                              .tools/globus-sdk, .tools/globus-cli: Globus's own software, and RabbitMQ,
#                              through which its compute endpoint is spoken to;
#                              .tools/schemathesis: sends the dashboard's API all that its description allows
#   tools/install.sh dist      .tools/dist:   zig, for a binary that starts on older systems; debootstrap
#   tools/install.sh globus-long   the endpoint's worker on other Pythons, an old endpoint
#   tools/install.sh prefect   .tools/prefect3, .tools/prefect2: the Prefect servers that tests start
#   tools/install.sh instructions   valgrind, which counts instructions
#   tools/install.sh browser   Chromium, and ui/node_modules: what builds the viewer's page and drives it in tests
#
# Does nothing, quickly, when everything is there. Debian packages (compiler, python3-venv) are
# installed by apt-get for root; anybody else is told the command.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3}
CMAKE_MINIMUM="3.26"

say() { printf 'tools: %s\n' "$*" >&2; }
die() { printf 'tools: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# debian_packages NAME... : installs them as root, else says how.
debian_packages() {
    have apt-get || die "missing: $*. Install them with this system's package manager, then run make again."
    if [ "$(id -u)" -ne 0 ]; then
        die "missing: $*. Run: sudo apt-get install $*   then make again."
    fi
    say "installing $* with apt-get"
    apt-get update -qq -o Acquire::Retries=3 >.tools/apt.log 2>&1 ||
        say "apt-get update failed; trying with the package lists at hand"
    if ! DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o Acquire::Retries=3 \
        --no-install-recommends "$@" >>.tools/apt.log 2>&1; then
        tail -n 5 .tools/apt.log >&2
        die "apt-get could not install $* (all of it: .tools/apt.log). Once the network is there, run make again."
    fi
}

# True if a working CMake that is new enough answers under this name.
cmake_suffices() {
    local version
    version=$("$1" --version 2>/dev/null | sed -n '1s/^cmake version \([0-9.]*\).*/\1/p') || return 1
    [ -n "$version" ] && [ "$(printf '%s\n' "$CMAKE_MINIMUM" "$version" | sort -V | head -n 1)" = "$CMAKE_MINIMUM" ]
}

need_compilers() {
    local missing=()
    have cc || missing+=(gcc libc6-dev)
    have c++ || missing+=(g++)
    have make || missing+=(make)
    [ ${#missing[@]} -eq 0 ] || debian_packages "${missing[@]}"
    have cargo || die "cargo is not on the PATH. Install Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml) or newer: https://rustup.rs"
}

need_python() {
    have "$PYTHON" || debian_packages python3 python3-venv
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "Python 3.11 or newer is needed; $("$PYTHON" -V) is here. Name another with: make PYTHON=python3.12"
}

need_venv() {
    # Debian ships python3 without ensurepip; `python3 -m venv` then fails half-way.
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || debian_packages python3-venv
}

# make_venv DIR REQUIREMENTS : a fresh venv with the pinned packages; the stamp is written last.
make_venv() {
    local dir=$1 requirements=$2
    need_venv
    say "making $dir from $requirements"
    rm -rf "$dir"
    "$PYTHON" -m venv "$dir" || die "'$PYTHON -m venv $dir' failed (see above). On Debian: apt-get install python3-venv"
    local pip=("$dir/bin/python" -m pip install --quiet --no-input --disable-pip-version-check -r "$requirements")
    # A constraints.txt beside it pins what those packages bring in.
    local constraints="${requirements%/*}/constraints.txt"
    [ ! -f "$constraints" ] || pip+=(-c "$constraints")
    if ! "${pip[@]}" >&2; then
        rm -rf "$dir"
        die "pip could not install $requirements (see above). It needs the Python package index:
       check the network, or a proxy or mirror in pip's configuration, then run make again."
    fi
    stamp "$requirements" "$dir" >"$dir/stamp"
}

# What a finished venv was made from: the pins and the Python that holds them.
stamp() {
    { cat "$1" "${1%/*}/constraints.txt" 2>/dev/null || true; "$2/bin/python" -V; } | cksum
}

install_build() {
    need_compilers
    need_python
    # A CMake named by the user, or one made here before, is good enough if it runs: a venv breaks
    # when the checkout moves or the system's Python changes.
    if [ -n "${CMAKE:-}" ]; then
        cmake_suffices "$CMAKE" && return
        die "CMAKE=$CMAKE is not CMake $CMAKE_MINIMUM or newer. Unset it to have one installed here."
    fi
    cmake_suffices .tools/build/bin/cmake && return
    if cmake_suffices cmake; then
        rm -rf .tools/build
        mkdir -p .tools/build/bin
        # `cmake` may be a launcher that looks at its own place: call it by path, do not link to it.
        printf '#!/bin/sh\nexec "%s" "$@"\n' "$(command -v cmake)" >.tools/build/bin/cmake
        chmod +x .tools/build/bin/cmake
        say "using the system's $(command -v cmake)"
        return
    fi
    make_venv .tools/build tools/build-requirements.txt
    cmake_suffices .tools/build/bin/cmake || die ".tools/build/bin/cmake does not run; remove .tools/build and run make again."
}

# install_venv NAME REQUIREMENTS : .tools/NAME with the pinned packages, unless it is there already.
install_venv() {
    local dir=.tools/$1 requirements=$2
    [ -f "$requirements" ] || die "$requirements is missing; this checkout is incomplete."
    if [ -x "$dir/bin/python" ] && [ -f "$dir/stamp" ] &&
        [ "$(stamp "$requirements" "$dir" 2>/dev/null)" = "$(cat "$dir/stamp")" ]; then
        return
    fi
    make_venv "$dir" "$requirements"
}

install_judges() {
    need_python
    install_venv judges tests/judges/requirements.txt
    install_venv globus-sdk tests/judges/globus-sdk/requirements.txt
    install_venv globus-cli tests/judges/globus-cli/requirements.txt
    install_venv schemathesis tests/judges/schemathesis/requirements.txt
    install_rabbitmq
}

# A message broker; the test of the real compute endpoint starts one of its own. Where it cannot be had, that
# test says so and is skipped.
install_rabbitmq() {
    [ ! -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || return 0
    if [ "$(id -u)" -ne 0 ] || ! have apt-get; then
        say "no RabbitMQ here (apt-get install rabbitmq-server): the real compute endpoint is not tested"
        return 0
    fi
    # Run level 1 keeps the package from starting its service.
    (RUNLEVEL=1 debian_packages rabbitmq-server) || say "no RabbitMQ: the real compute endpoint is not tested"
}

# python_of VERSION : a Python of this version, if there is one.
python_of() {
    local candidate
    for candidate in "python$1" "$(command -v pyenv >/dev/null && pyenv root)"/versions/"$1".*/bin/python; do
        "$candidate" -c pass 2>/dev/null && echo "$candidate" && return
    done
    return 1
}

# For make test-long: the endpoint's worker on other Pythons, and an old endpoint. What cannot be had is told,
# and its tests say that they were skipped.
install_globus_long() {
    local version python
    install_judges
    for version in 3.10 3.12 3.13; do
        python=$(python_of "$version") || { say "no Python $version here: its worker is not tested"; continue; }
        PYTHON=$python install_venv "globus-worker-$version" tests/judges/globus-worker/requirements.txt
    done
    install_venv globus-old tests/judges/globus-old/requirements.txt
}

# For make dist; an old system to try the binary in is made by debootstrap, which only root can.
install_dist() {
    need_python
    install_venv dist tools/dist-requirements.txt
    if [ "$(id -u)" -eq 0 ] && have apt-get && ! have debootstrap; then
        (debian_packages debootstrap) || say "no debootstrap: the binary is not tried in an old system"
    fi
}

# Prefect 3.9.1 asks for a certifi that not every index has; its lists are complete, so nothing is resolved.
install_prefect() {
    local version dir requirements
    need_python
    for version in 3 2; do
        dir=.tools/prefect$version requirements=tests/prefect/requirements-$version.txt
        [ -f "$requirements" ] || die "$requirements is missing; this checkout is incomplete."
        if [ -x "$dir/bin/prefect" ] && [ -f "$dir/stamp" ] && [ -f "$dir/home/prefect.db" ] &&
            [ "$(stamp "$requirements" "$dir" 2>/dev/null)" = "$(cat "$dir/stamp")" ]; then
            continue
        fi
        PIP_NO_DEPS=1 make_venv "$dir" "$requirements"
        # An empty database with its tables: tests copy it, and save the half minute of making them.
        say "making the tables of Prefect $version"
        PREFECT_HOME="$PWD/$dir/home" DO_NOT_TRACK=1 "$dir/bin/prefect" server database upgrade -y \
            >"$dir/upgrade.log" 2>&1 || die "prefect server database upgrade failed, see $dir/upgrade.log"
    done
}

# For make instructions, which says so and ends well without it.
install_instructions() {
    have valgrind || (debian_packages valgrind) || say "no valgrind: instructions are not counted"
}

# Node builds and tests ui/; compiling needs only its build, which is committed.
install_browser() {
    local packages=() wanted
    have node && have npm || packages+=(nodejs npm)
    [ -n "${CHROMIUM:-}" ] || have chromium || have chromium-browser || have google-chrome || packages+=(chromium fonts-dejavu-core)
    [ ${#packages[@]} -eq 0 ] || debian_packages "${packages[@]}"
    node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
        die "Node 20.19 or newer is needed to build ui/; $(node -v) is here. Install it from nodejs.org, then run make again."
    wanted=$({ cat ui/package-lock.json; node -v; } | cksum)
    [ "$(cat ui/node_modules/.stamp 2>/dev/null)" != "$wanted" ] || return 0
    say "installing ui/node_modules from ui/package-lock.json"
    (cd ui && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >&2 ||
        die "npm ci failed (see above). It needs the npm registry: check the network or npm's proxy, then run make again."
    printf '%s\n' "$wanted" >ui/node_modules/.stamp
}

mkdir -p .tools
# Two makes at once would build the same venv into each other.
if have flock; then
    exec 9>.tools/lock
    flock 9
fi

case "${1:-}" in
    build) install_build ;;
    judges) install_judges ;;
    dist) install_dist ;;
    globus-long) install_globus_long ;;
    prefect) install_prefect ;;
    instructions) install_instructions ;;
    browser) install_browser ;;
    *) die "usage: tools/install.sh build|judges|dist|globus-long|prefect|instructions|browser" ;;
esac
