#!/usr/bin/env bash
# install_check.sh VIEW DEB NEWER VERSION ENVIRONMENT SECRETS: of
# packaging/check.sh, in a mount namespace of its own. VIEW becomes this
# machine's root filesystem, on which nothing that is written stays.
set -euo pipefail
view=$1 deb=$2 newer=$3 version=$4 environment=$5 secrets=$6
fail() { echo "packaging/install_check.sh: $*" >&2; exit 1; }

memory=$(mktemp -d -p "$(dirname "$view")")
mount -t tmpfs none "$memory"
mkdir "$memory/upper" "$memory/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$memory/upper,workdir=$memory/work" "$view"
mount --bind /proc "$view/proc"
mount --bind /dev "$view/dev"
mount -t tmpfs none "$view/run"
mount -t tmpfs none "$view/tmp"
cp "$deb" "$view/tmp/deb"
cp "$newer" "$view/tmp/newer"
in_view() { chroot "$view" "$@"; }
# dpkg says much that is no news; when it fails, all of it.
dpkg_in_view() { DEBIAN_FRONTEND=noninteractive in_view dpkg --force-unsafe-io "$@" >"$memory/dpkg" 2>&1 || { cat "$memory/dpkg"; fail "dpkg $*"; }; }
mode() { in_view stat -c '%a %U %G' "$1"; }
is() { [ "$1" = "$2" ] || fail "$3: $1, want $2"; }

dpkg_in_view -i /tmp/deb
is "$(in_view ct2fluent version)" "$version" "version"
is "$(mode /var/lib/ct2fluent)" "700 ct2fluent ct2fluent" "the state"
is "$(mode /etc/ct2fluent/application-connector.yml)" "640 root ct2fluent" "the configuration"
is "$(mode /etc/ct2fluent/secrets)" "750 root ct2fluent" "the secrets"
is "$(mode /etc/ct2fluent/environment)" "600 root root" "the environment"
in_view systemd-analyze verify /usr/lib/systemd/system/ct2fluent.service 2>&1 | tee "$memory/verify"
is "$(cat "$memory/verify")" "" "systemd-analyze verify"

# As the unit starts it: its user, its directory, its file of values.
cat "$environment" >>"$view/etc/ct2fluent/environment"
cp -r "$secrets/." "$view/"
in_view sh -c 'set -a && . /etc/ct2fluent/environment && cd /var/lib/ct2fluent &&
  exec setpriv --reuid=ct2fluent --regid=ct2fluent --clear-groups --no-new-privs --bounding-set=-all \
    ct2fluent check --offline --config /etc/ct2fluent/application-connector.yml' | tail -1
in_view setpriv --reuid=ct2fluent --regid=ct2fluent --clear-groups --no-new-privs --bounding-set=-all ct2fluent sandbox --for 2s | tail -1

echo '# mine' >>"$view/etc/ct2fluent/application-connector.yml"
touch "$view/var/lib/ct2fluent/kept"
dpkg_in_view -i /tmp/newer
is "$(in_view ct2fluent version)" "ct2fluent v9999.0.0" "version after the upgrade"
is "$(tail -1 "$view/etc/ct2fluent/application-connector.yml")" "# mine" "the configuration after the upgrade"
is "$(mode /etc/ct2fluent/application-connector.yml)" "640 root ct2fluent" "the configuration after the upgrade"

dpkg_in_view -r ct2fluent
[ ! -e "$view/usr/bin/ct2fluent" ] || fail "the binary is there after a removal"
[ -e "$view/var/lib/ct2fluent/kept" ] || fail "the state is gone after a removal"
[ -e "$view/etc/ct2fluent/environment" ] || fail "the environment is gone after a removal"
dpkg_in_view -P ct2fluent
[ ! -e "$view/var/lib/ct2fluent" ] || fail "the state is there after a purge"
[ ! -e "$view/etc/ct2fluent" ] || fail "the configuration is there after a purge"
echo "installed, ran as its user, upgraded with its configuration, removed with its state kept, purged"
