#!/bin/sh
# The tests in tiers, cheap ones first; stops at the first tier that fails.
#
#   test/tiers.sh            all tiers, as make test and CI run them
#   test/tiers.sh unit ns    only these: unit ns small image whole vet again modules; or matrix
#
# A skip where a test could have run is a failure: KS_REQUIRE_NS=1 and
# KS_WHOLE=1 turn the skips of tests that need root or an image into failures.
set -eu
cd "$(dirname "$0")/.."
all="unit ns small image whole vet again modules"
# As the image is built: else all of it, Kubernetes too, is compiled once more
# (nine minutes on two cores).
export CGO_ENABLED=0 GOFLAGS=-trimpath
[ "$(id -u)" != 0 ] || export KS_REQUIRE_NS=1 # in every tier that asks for namespaces
times=""

say() { printf '\n=== %s\n' "$*"; }

# need PROGRAM PACKAGE...: Debian packages for what is missing.
need() {
	missing=""
	while [ $# -gt 1 ]; do
		command -v "$1" > /dev/null 2>&1 || [ -e "$1" ] || missing="$missing $2"
		shift 2
	done
	[ -n "$missing" ] || return 0
	if [ "$(id -u)" = 0 ]; then
		say "installing Debian packages:$missing"
		# shellcheck disable=SC2086 # a list
		apt-get -q update && apt-get -q install -y --no-install-recommends $missing
	else
		echo "missing Debian packages; run: sudo apt-get install -y --no-install-recommends$missing" >&2
		exit 1
	fi
}

unit() {
	unformatted=$(gofmt -l $(find . -name '*.go' -not -path './build/*' -not -path './.git/*'))
	if [ -n "$unformatted" ]; then
		echo "not formatted (gofmt -w):" "$unformatted"
		return 1
	fi
	# test/small and test/whole are tiers of their own, and what the tier ns is
	# about to run whole need not run twice.
	packages=$(go list ./... | grep -v -e '/test/small$' -e '/test/whole$')
	case "$todo" in *" ns "*) packages=$(echo "$packages" | grep -v -x -F "$(ns_packages | sed 's|^\./|kubesolo.io/os/|')") ;; esac
	go vet ./...
	# shellcheck disable=SC2086 # a list
	go test $packages
	# The race detector where goroutines are, and no big dependency is.
	say "unit: race detector"
	CGO_ENABLED=1 go test -race ./internal/boot ./internal/reap ./internal/supervise ./internal/event ./internal/clocksync \
		./internal/klog ./internal/atomicfile ./internal/control ./internal/vmtest ./internal/vmrun ./internal/sshd \
		./internal/update ./internal/update/fetch ./internal/update/kube
}

# Nested modules have their own go.mod: ./... does not reach into them. Their
# dependencies are Kubernetes and containerd, which the image compiles too: after it.
nested() { find . -mindepth 2 -name go.mod -not -path './build/*' -exec dirname {} \; | sort; }

# each COMMAND...: in every nested module that has a package of ours; some only pin
# another project's program.
each() {
	for m in $(nested); do
		packages=$(cd "$m" && go list ./...)
		[ -z "$packages" ] || (say "module $m" && cd "$m" && "$@" ./...)
	done
}

# For a vet that knows what prints, Go looks at all dependencies. The tests are compiled.
vet() {
	each go vet
	each go test -run '^$'
}

modules() { each go test; }

# Only packages that ask for namespaces.
ns_packages() { grep -rl --include='*_test.go' 'nstest\.Require' internal cmd | xargs -n1 dirname | sort -u | sed 's|^|./|'; }

ns() {
	if [ "$(id -u)" != 0 ]; then
		echo "the namespaces tier needs root: sudo make test-ns"
		return 1
	fi
	# -count=1, as the result of a skip must not come from the cache.
	packages=$(ns_packages)
	# shellcheck disable=SC2086 # a list
	go test -count=1 $packages
}

# The power cuts in updates are of this tier too. All of them take 40 minutes of
# both processors and are a tier of their own, by hand; here about ten, each day
# others.
small() { go test -count=1 -timeout 60m ./test/small -updateevery 24 -updatefrom "$(($(date +%s) / 86400))"; }

# All of them; it writes docs/power-cut-matrix.md.
matrix() { go test -count=1 -v -timeout 150m -run '^TestUpdatePowerCuts$' ./test/small -updatematrix; }

image() { make image; }

whole() { KS_WHOLE=1 go test -count=1 -v -timeout 80m ./test/whole; }

# A second build proves that the same inputs give the same bytes.
again() { test/again.sh; }

# ahead TIER: begins it beside the tiers before it, at the lowest priority. What
# compiles has no deadline, and namespaces and machines leave the processors idle
# for a good third of their time.
ahead() {
	echo "($1 is begun beside this, at the lowest priority)"
	log=$(mktemp)
	setsid nice -n 19 "$0" "$1" > "$log" 2>&1 &
	running="$running $1:$!:$log"
}

# begun TIER: the process and the output of what was begun ahead; nothing else.
begun() { for job in $running; do case $job in "$1":*) echo "${job#*:}" | tr : ' ' ;; esac; done; }

# abandon: what was begun ahead, and has its output still, ends with this.
abandon() {
	for job in $running; do
		log=${job##*:} job=${job%:*}
		[ ! -e "$log" ] || kill -- "-${job#*:}" 2> /dev/null || true
		rm -f "$log"
	done
}

need gcc gcc make make apt-get apt depmod kmod busybox busybox-static dnsmasq dnsmasq-base ssh openssh-client \
	qemu-system-x86_64 qemu-system-x86 qemu-img qemu-utils /usr/share/OVMF/OVMF_CODE_4M.fd ovmf \
	mkfs.ext4 e2fsprogs /sbin/e2fsck.static e2fsck-static mksquashfs squashfs-tools sfdisk fdisk sgdisk gdisk nft nftables \
	mformat mtools mkfs.vfat dosfstools xorriso xorriso patchelf patchelf grub-mkimage grub-common \
	/usr/lib/grub/i386-pc grub-pc-bin /usr/lib/grub/x86_64-efi grub-efi-amd64-bin \
	/usr/include/seccomp.h libseccomp-dev pkg-config pkg-config
todo=" ${*:-$all} "
for tier in $todo; do
	case " $all matrix " in
	*" $tier "*) ;;
	*) echo "tiers.sh: no tier $tier; there are: $all matrix" >&2; exit 2 ;;
	esac
done
running=""
trap abandon EXIT
trap 'exit 1' INT TERM
for tier in $todo; do
	say "tier $tier"
	begin=$(date +%s)
	case "$tier" in
	ns) beside="image" ;;
	whole) beside="vet again" ;;
	*) beside="" ;;
	esac
	for later in $beside; do
		case "$todo" in *" $later "*) ahead "$later" ;; esac
	done
	set -- $(begun "$tier")
	status=0
	if [ $# = 2 ]; then
		wait "$1" || status=$?
		cat "$2"
		rm -f "$2"
	else
		# Not `|| status=$?`: that would switch -e off inside the tier.
		set +e
		(set -e; "$tier")
		status=$?
		set -e
	fi
	took=$(($(date +%s) - begin))
	times="$times$(printf '%-8s %5d s' "$tier" "$took")
"
	if [ "$status" != 0 ]; then
		printf '\n%s' "$times"
		say "tier $tier FAILED (exit $status)"
		exit 1
	fi
done
say "all tiers passed"
printf '%s' "$times"
