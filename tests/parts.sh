# What the suites with published parts share: sourced by their `run`, with `suite` as the suite's name.

fail() {
    echo "$suite: $1" >&2
    exit 1
}

need() {
    command -v "$1" >/dev/null || fail "'$1' is missing: install $2"
}

need_node() {
    need node "Node.js 20 or newer"
    need npm "npm, which comes with Node.js"
    node -e 'process.exit(+process.versions.node.split(".")[0] < 20 ? 1 : 0)' || fail "node $(node --version) is too old: install Node.js 20 or newer"
}

# Installs exactly what a package-lock.json names, without running anything of it: npm_ci FROM TO.
npm_ci() {
    mkdir -p "$2"
    cp "$1"/{package.json,package-lock.json} "$2/"
    # Some `engines` ask for a newer Node than they use here; the tests show that it works, so no warning.
    npm --prefix "$2" ci --ignore-scripts --no-audit --no-fund --loglevel=error
}

# Runs a command and all that it starts as one process group. Whatever ends this script ends the group.
as_group() {
    set -m
    "$@" </dev/null &
    group=$!
    set +m
    trap stop_group EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    wait "$group"
}

stop_group() {
    kill -TERM -- "-$group" 2>/dev/null || return 0
    for _ in {1..50}; do
        kill -0 -- "-$group" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL -- "-$group" 2>/dev/null || true
}
