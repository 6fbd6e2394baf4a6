#!/usr/bin/env bash
# deb.sh DIR [ARCH] builds the Debian package into DIR and prints its name.
# Needs Go and dpkg-deb. The same commit gives the same bytes.
set -euo pipefail
dir=$(realpath -m "$1")
arch=${2:-$(dpkg --print-architecture)}
cd "$(dirname "$0")/.."
version=$(bash packaging/version.sh)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
umask 022

# Debian's order: a candidate (v1.0.0-rc1) and an untagged tree come before
# the release, what was built after a tag (v1.0.0-3-gabc) after it.
debian=$(sed -E 's/^v//; s/-([0-9]+)-g([0-9a-f]+)$/+\1.\2/; s/-/~/; s/-/./g' <<<"$version")

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
install -d "$root/DEBIAN" "$root/usr/bin" "$root/etc/ct2fluent/secrets" "$root/usr/lib/systemd/system" \
  "$root/usr/lib/sysusers.d" "$root/usr/share/doc/ct2fluent"
bash packaging/build.sh "$root/usr/bin/ct2fluent" "linux/$arch"
bash packaging/configuration.sh /etc/ct2fluent/secrets >"$root/etc/ct2fluent/application-connector.yml"
cp packaging/ct2fluent.service "$root/usr/lib/systemd/system/"
cp packaging/ct2fluent.sysusers "$root/usr/lib/sysusers.d/ct2fluent.conf"
cp README.md CHANGELOG.md docs/*.md "$root/usr/share/doc/ct2fluent/"
cp packaging/debian/postinst packaging/debian/prerm packaging/debian/postrm packaging/debian/conffiles "$root/DEBIAN/"
chmod 755 "$root" "$root"/DEBIAN/p*
chmod 644 "$root/DEBIAN/conffiles"
# Some write secrets into it; postinst gives it to the group.
chmod 640 "$root/etc/ct2fluent/application-connector.yml"
chmod 750 "$root/etc/ct2fluent/secrets"

cat >"$root/DEBIAN/control" <<END
Package: ct2fluent
Version: $debian
Architecture: $arch
Section: net
Priority: optional
Maintainer: The ct2fluent maintainers <ct2fluent@localhost>
Depends: ca-certificates, passwd
Recommends: systemd
Installed-Size: $(du -sk --apparent-size --exclude=DEBIAN "$root" | cut -f1)
Description: keeps the customers of Fluent OMS equal to those of commercetools
 Reads what commercetools announces from SQS or by HTTP push, keeps it on disk,
 and writes each customer to Fluent Order Management by GraphQL.
END
(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | LC_ALL=C sort | xargs md5sum >DEBIAN/md5sums)
find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
mkdir -p "$dir"
deb=$dir/ct2fluent_${debian}_$arch.deb
dpkg-deb --root-owner-group -Zxz --threads-max=1 --build "$root" "$deb" >/dev/null
echo "$deb"
