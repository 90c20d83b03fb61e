#!/bin/sh
# Installs every client program the tests need, and nothing that is there already.
#
# The tests never skip a missing client, so this script is what makes them runnable: Debian packages through apt,
# Go programs at pinned versions into .cache/bin. It goes on past a failure and names everything that is missing at the end.
# The Go programs are built inside their own module rather than with `go install`: that uses the go.sum each release
# was tested with, and needs no list of the module's versions from the proxy.
set -u

here=$(cd "$(dirname "$0")" && pwd)
bin=$(cd "$here/../.." && pwd)/.cache/bin
mkdir -p "$bin"
missing=""

# program:package
packages="dockerd:docker.io docker:docker.io skopeo:skopeo podman:podman buildah:buildah
          containerd:containerd ctr:containerd mmdebstrap:mmdebstrap docker-registry:docker-registry"
# program module version folder
programs="crane github.com/google/go-containerregistry v0.22.1 ./cmd/crane
oras oras.land/oras v1.3.3 ./cmd/oras
regctl github.com/regclient/regclient v0.11.7 ./cmd/regctl
notation github.com/notaryproject/notation v1.3.2 ./cmd/notation
helm helm.sh/helm/v4 v4.3.1 ./cmd/helm
cosign github.com/sigstore/cosign/v3 v3.1.3 ./cmd/cosign"

install_packages() {
    wanted=""
    for pair in $packages; do
        [ -x "/usr/bin/${pair%%:*}" ] || [ -x "/usr/sbin/${pair%%:*}" ] || wanted="$wanted ${pair##*:}"
    done
    [ -z "$wanted" ] && return
    if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
        missing="$missing$wanted(needs apt-get and root)"
        return
    fi
    apt-get update -qq || echo "install.sh: apt-get update failed; going on with the lists at hand" >&2
    # shellcheck disable=SC2086  # a list of package names
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted >&2 ||
        missing="$missing$wanted(apt-get)"
}

# build_program <program> <module> <version> <folder>
build_program() {
    stamp="$bin/.$1-$3"
    [ -x "$bin/$1" ] && [ -e "$stamp" ] && return
    if ! command -v go >/dev/null; then
        missing="$missing $1(no Go tool chain: go is not on PATH)"
        return
    fi
    echo "install.sh: building $1 $3" >&2
    source=$(cd "$bin" && GOWORK=off go mod download -json "$2@$3" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p')
    if [ -n "$source" ] &&
        GOWORK=off GOFLAGS="-trimpath -buildvcs=false -mod=readonly" go build -C "$source" -o "$bin/$1.new" "$4"; then
        mv "$bin/$1.new" "$bin/$1" && rm -f "$bin/.$1-"* && : >"$stamp"
    else
        missing="$missing $1($2@$3 did not build)"
    fi
}

install_packages
while read -r program module version folder; do
    build_program "$program" "$module" "$version" "$folder"
done <<LIST
$programs
LIST

if [ -n "$missing" ]; then
    echo "install.sh: missing:$missing" >&2
    exit 1
fi
