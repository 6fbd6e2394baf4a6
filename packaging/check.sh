#!/usr/bin/env bash
# Shows what docs/packaging.md says: builds and vets for every system, builds
# the package twice in different places and compares the bytes, installs,
# upgrades, removes and purges it on a view of this machine that is thrown
# away, and works in the root filesystem of the image. Needs Go and Debian; as
# root all of it, else what can be done without.
set -euo pipefail
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'chmod -R u+w "$tmp"; rm -rf "$tmp"' EXIT
say() { printf -- '-- %s\n' "$*"; }
fail() { echo "packaging/check.sh: $*" >&2; exit 1; }

if ! command -v systemd-analyze >/dev/null || ! command -v strace >/dev/null || [ ! -e /etc/ssl/certs/ca-certificates.crt ]; then
  apt-get update -q && apt-get install -y -q --no-install-recommends systemd strace ca-certificates
fi

for system in linux/amd64 linux/arm64 darwin/arm64 windows/amd64; do
  say "$system: build, and vet with the tests"
  GOOS=${system%/*} GOARCH=${system#*/} go build ./...
  GOOS=${system%/*} GOARCH=${system#*/} go vet ./...
done
go vet -tags e2e ./e2e

say "the package, built in two places, with and without a cache"
VERSION=$(bash packaging/version.sh)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export VERSION SOURCE_DATE_EPOCH
mkdir -p "$tmp/here" "$tmp/else/where"
git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- --create | tee >(tar -x -C "$tmp/here") | tar -x -C "$tmp/else/where"
wait
deb=$(bash "$tmp/here/packaging/deb.sh" "$tmp/1")
other=$(GOCACHE=$tmp/cache GOFLAGS=-modcacherw bash "$tmp/else/where/packaging/deb.sh" "$tmp/2")
cmp "$deb" "$other" || fail "two builds of one tree differ"
sha256sum "$deb" | cut -d' ' -f1
dpkg-deb --extract "$deb" "$tmp/content"
dpkg-deb --contents "$deb" | awk '{ print $1, $2, $6 }'
[ "$("$tmp/content/usr/bin/ct2fluent" version)" = "ct2fluent $VERSION" ] || fail "the version is not stamped"
if grep -aq -e "$tmp" -e "$(go env GOMODCACHE)" "$tmp/content/usr/bin/ct2fluent"; then fail "the binary holds a path of this machine"; fi

say "the unit: how exposed it is, of 10.0, and that its filter lets through what the program calls"
systemd-analyze security --offline=true --threshold=15 packaging/ct2fluent.service | tail -1
allowed() { # the calls of the sets named, with what these include
  local set
  for set; do
    systemd-analyze syscall-filter "$set" | awk '$1 !~ /^#/ && NR > 1 { print $1 }' | while read -r name; do
      case $name in @*) allowed "$name" ;; *) echo "$name" ;; esac
    done
  done
}
filter=$(sed -n 's/^SystemCallFilter=//p' packaging/ct2fluent.service)
read -ra takes <<<"$(grep -v '^~' <<<"$filter" | tr '\n' ' ')"
read -ra refuses <<<"$(sed -n 's/^~//p' <<<"$filter" | tr '\n' ' ')"
comm -23 <(allowed "${takes[@]}" | sort -u) <(allowed "${refuses[@]}" | sort -u) >"$tmp/allowed"
(cd "$tmp" && strace -f -qq -c -U name -o calls content/usr/bin/ct2fluent sandbox --for 3s >sandbox.out 2>&1) ||
  { cat "$tmp/sandbox.out"; fail "the sandbox failed"; }
awk '/^[a-z]/ && $1 !~ /^(syscall|total)$/ { print $1 }' "$tmp/calls" | sort -u >"$tmp/called"
# Go asks for more descriptors at the start and does without where it gets none.
# What strace and the shell add is the start itself.
comm -23 "$tmp/called" "$tmp/allowed" | grep -vxE 'prlimit64|setrlimit' >"$tmp/refused" || true
[ "$(wc -l <"$tmp/called")" -gt 20 ] || fail "only $(wc -l <"$tmp/called") system calls were seen"
if [ -s "$tmp/refused" ]; then fail "the unit's filter would refuse: $(tr '\n' ' ' <"$tmp/refused")"; fi

# A value for each that the configuration wants to be given.
bash packaging/configuration.sh /etc/ct2fluent/secrets | grep -v '^ *#' >"$tmp/configuration"
grep -oE '\$\{[A-Z_]+\}' "$tmp/configuration" | tr -d '${}' | sort -u | sed 's/.*/&=&-0123456789abcdef0123456789abcdef/' >"$tmp/environment"
grep -oE '\$\{file:[^}]+\}' "$tmp/configuration" | sed 's/^[^:]*://; s/}$//' | sort -u >"$tmp/files"
secrets() { # secrets ROOT lays the files of the configuration below ROOT.
  while read -r name; do
    mkdir -p "$1${name%/*}"
    echo "$name-0123456789abcdef0123456789abcdef" >"$1$name"
  done <"$tmp/files"
}

if [ "$(id -u)" != 0 ]; then
  [ "${CI:-}" != true ] || fail "the rest needs root"
  say "not root: nothing is installed, and the image is not tried"
  exit 0
fi

say "install, upgrade, remove, purge"
VERSION=v9999.0.0 bash "$tmp/here/packaging/deb.sh" "$tmp/3" >/dev/null
mkdir "$tmp/view" "$tmp/secrets"
secrets "$tmp/secrets"
unshare --mount --propagation private bash packaging/install_check.sh \
  "$tmp/view" "$deb" "$tmp"/3/*.deb "ct2fluent $VERSION" "$tmp/environment" "$tmp/secrets"

say "the image's root filesystem, as its user"
bash "$tmp/here/packaging/rootfs.sh" "$tmp/image"
find "$tmp/image" -type f -printf '%M %U %s %P\n'
as_user() { env -i PATH="$PATH" "${values[@]}" chroot --userspec=65532:65532 "$tmp/image" /usr/bin/ct2fluent "$@"; }
mapfile -t values <"$tmp/environment"
sed -i 's#/etc/ct2fluent/secrets#/run/secrets#' "$tmp/files"
secrets "$tmp/image"
as_user version
[ "$(as_user version)" = "ct2fluent $VERSION" ] || fail "the version is not stamped"
as_user check --offline --config /etc/ct2fluent/application-connector.yml | tail -1
as_user sandbox --for 3s | tail -3
if ldd "$tmp/image/usr/bin/ct2fluent" >/dev/null 2>&1; then fail "the binary is not static"; fi
