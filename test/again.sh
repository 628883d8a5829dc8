#!/usr/bin/env bash
# Builds the image a second time, from a copy of this checkout in another
# directory, and compares what came out byte for byte.
set -euo pipefail
cd "$(dirname "$0")/.."
again=$(mktemp -d)
trap 'rm -rf "$again"' EXIT

# The same inputs: the commit, what was changed since, and the downloads.
git clone -q . "$again/checkout"
git ls-files -z -mo --exclude-standard | while IFS= read -r -d '' f; do
	[ ! -e "$f" ] || cp --parents "$f" "$again/checkout"
done
mkdir -p "$again/checkout/build"
cp -r build/cache "$again/checkout/build/"
make -C "$again/checkout" image > "$again/log" 2>&1 || { cat "$again/log"; exit 1; }

different=""
for f in vmlinuz kubesolo-os.gz kubesolo-os-amd64.iso kubesolo-os-amd64.img inputs.lock.json; do
	if cmp "build/$f" "$again/checkout/build/$f"; then
		echo "identical: $f $(sha256sum "build/$f" | cut -c1-16)"
	else
		different="$different $f"
	fi
done
[ -z "$different" ] || { echo "two builds of the same inputs differ in:$different" >&2; exit 1; }
