#!/usr/bin/env bash
# Proves the corridor: run as a process, the two stand-ins, and an SQS server
# that is not ours; and compares a stand-in with a commercetools that is not
# ours. Needs Go and npm; installs these two and their Node.
set -euo pipefail
cd "$(dirname "$0")"
if ! command -v npm >/dev/null; then
  apt-get update -q && apt-get install -y -q --no-install-recommends npm
fi
[ -x node_modules/.bin/fauxqs ] && [ -d node_modules/@labdigital ] || npm install --no-audit --no-fund --no-package-lock
if ! node_modules/.bin/node --version >/dev/null 2>&1; then
  # The package brings its binary by an install script, which npm may hold back.
  (cd node_modules/node && node installArchSpecificPackage)
fi
go test -tags e2e -count=1 -timeout 20m "$@" .
