#!/usr/bin/env bash
# rootfs.sh DIR [OS/ARCH] makes the root filesystem of the container image: the
# static binary, the certificates of the public authorities, one user, his
# state, a configuration to begin with, and nothing else. As root the state and
# /tmp get their owner; packaging/Dockerfile sets it once more.
set -euo pipefail
dir=$(realpath -m "$1")
cd "$(dirname "$0")/.."
umask 022
mkdir -p "$dir"/{usr/bin,etc/ssl/certs,etc/ct2fluent,var/lib,tmp}
bash packaging/build.sh "$dir/usr/bin/ct2fluent" ${2+"$2"}
cp /etc/ssl/certs/ca-certificates.crt "$dir/etc/ssl/certs/"
bash packaging/configuration.sh >"$dir/etc/ct2fluent/application-connector.yml"
echo 'ct2fluent:x:65532:65532:ct2fluent:/var/lib/ct2fluent:/sbin/nologin' >"$dir/etc/passwd"
echo 'ct2fluent:x:65532:' >"$dir/etc/group"
chmod 1777 "$dir/tmp"
mkdir -p -m 0700 "$dir/var/lib/ct2fluent"
if [ "$(id -u)" = 0 ]; then chown 65532:65532 "$dir/var/lib/ct2fluent"; fi
