#!/usr/bin/env bash
# build.sh OUT [OS/ARCH] builds the binary for release: static, stripped, no
# path of this machine in it, and its version stamped. The same tree and the
# same Go give the same bytes, wherever they are built.
set -euo pipefail
out=$(realpath -m "$1")
system=${2:-$(go env GOHOSTOS)/$(go env GOHOSTARCH)}
cd "$(dirname "$0")/.."
version=$(bash packaging/version.sh)
# The state of the work tree would be stamped as well, which is not the same
# for a clone and an archive of one commit.
CGO_ENABLED=0 GOOS=${system%/*} GOARCH=${system#*/} GOFLAGS='' go build -mod=readonly -trimpath -buildvcs=false \
  -ldflags "-s -w -buildid= -X main.version=$version" -o "$out" ./cmd/ct2fluent
