#!/usr/bin/env bash
# Prints the version of the tree: that of its tag, or one that sorts before
# every release and names the commit. VERSION overrides it, for a tree without
# its history.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -n "${VERSION:-}" ]; then
  echo "$VERSION"
elif tag=$(git describe --tags --match 'v[0-9]*' 2>/dev/null); then
  echo "$tag"
else
  echo "v0.0.0-$(TZ=UTC git log -1 --date=format-local:%Y%m%d%H%M%S --format=%cd-%h)"
fi
