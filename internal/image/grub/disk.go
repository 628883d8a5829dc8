package grub

import (
	"fmt"
	"strings"
)

// diskState reads the two environment blocks (internal/abslot says what is in
// them). GRUB has no arithmetic and no CRC: it takes a copy whose two sectors say
// the same, and copies sums that the node made before. Generations are compared as
// text: as numbers they have 32 bits under BIOS, and leading zeros make them octal.
const diskState = `
# Partition 1 is GRUB's own; the slots are partitions 2 and 3 of the same disk.
regexp --set=1:disk '^([^,]*),' "$root"

# read_copy FILE: state and sums of a copy that is valid. A power cut while a try
# was counted leaves one in which all but the number of tries agrees.
set torn=
function read_copy {
  set state=
  set sums=
  set state2=
  set sums2=
  load_env --file "$prefix/$1" state sums state2 sums2
  if [ "$state $sums" = "$state2 $sums2" ]; then
    regexp '^[0-9]{10}-[AB]-[ABN]-[0-3] [0-9a-f.]{35}$' "$state $sums"
  else
    set half=
    set half2=
    regexp --set=1:half '^([0-9]{10}-[AB]-[AB])-[0-3]$' "$state"
    regexp --set=1:half2 '^([0-9]{10}-[AB]-[AB])-[0-3]$' "$state2"
    if [ "$half" = "$half2" -a "$half" ">" "$torn" ]; then set torn=$half; fi
    return 1
  fi
}

# The copy that counts has the higher generation, then fewer tries left. Without
# one it is the good slot of a torn one, else A.
set generation=0
set good=A
set trial=N
set tries=0
for copy in env1 env2; do
  if read_copy $copy; then
    regexp --set=1:g --set=2:s --set=3:t --set=4:n '^(.*)-(.)-(.)-(.)$' "$state"
    if [ "$g" ">" "$generation" -o "$g" = "$generation" -a "$n" "<" "$tries" ]; then
      set generation=$g
      set good=$s
      set trial=$t
      set tries=$n
      set counting=$copy
      set counting_sums=$sums
    fi
  fi
done
if [ "$generation" = 0 -a "$torn" != "" ]; then
  regexp --set=1:good '^[0-9]*-(.)' "$torn"
fi
set spare=env1
if [ "$counting" = env1 ]; then set spare=env2; fi
set slot=$good
if [ "$trial" != N -a "$tries" != 0 ]; then set slot=$trial; fi
set other=A
if [ "$slot" = A ]; then set other=B; fi
`

// diskBoot starts a slot. Both copies must keep that a try is used up, the one that
// counts last: with one copy only, a power cut in the middle of the write, and
// one more, could lose both.
//
// GRUB 2.06 has two faults in its way from one slot to the other. When an entry ends
// after a kernel was loaded and its initrd was not, it boots the kernel alone. And a
// kernel that is loaded over another one gets no arguments: the old one's unload
// frees the new one's line (grub_linux_unload). Loading something else in between
// mends both: the disk's own boot loader, which would start over.
const diskBoot = `
# count_down: one try less in both copies.
function count_down {
  set left=0
  if [ "$tries" = 3 ]; then set left=2; fi
  if [ "$tries" = 2 ]; then set left=1; fi
  for copy in $spare $counting; do
    set state=$generation-$good-$trial-$left
    set sums=$counting_sums
    set state2=$state
    set sums2=$sums
    save_env --file "$prefix/$copy" state sums state2 sums2
    # What counts is what is there now.
    if read_copy $copy; then
      if [ "$state $sums" != "$generation-$good-$trial-$left $counting_sums" ]; then return 1; fi
    else
      return 1
    fi
  done
  set tries=$left
}

# boot_slot SLOT ARGUMENT...: comes back when the slot cannot be loaded.
function boot_slot {
  set from=$1
  shift
  if [ "$from" = "B" ]; then set part=gpt3; else set part=gpt2; fi
  set how=
  if [ "$1" = "kubesolo.trial" ]; then set how=" on trial"; fi
  echo "Loading KubeSolo OS from slot $from$how ..."
  linux ($disk,$part)/vmlinuz ` + BaseArguments + ` kubesolo.slot=$from $@
  if [ "$?" = 0 ]; then
    initrd ($disk,$part)/kubesolo-os.gz
    if [ "$?" = 0 ]; then boot; fi
    # Never this kernel without its initrd, nor its place for another one.
    if [ "$grub_platform" = "pc" ]; then chainloader ($disk)+1; else chainloader /EFI/BOOT/BOOTX64.EFI; fi
  fi
}

# boot_chosen ARGUMENT...: the slot on trial if that can be counted, the good one,
# the other one: the first that can be loaded.
function boot_chosen {
  if [ "$trial" != N -a "$tries" != 0 ]; then
    if count_down; then
      boot_slot $trial kubesolo.trial $@
    else
      echo "env1 and env2 cannot be written: slot $trial is not tried."
    fi
  fi
  boot_slot $good $@
  if [ "$good" = A ]; then boot_slot B $@; else boot_slot A $@; fi
  echo "No slot can be loaded. Starting again in 10 seconds."
  sleep 10
  reboot
}
`

// DiskMenu is /boot/grub/grub.cfg of partition KSOLOEFI. The slot comes from the
// environment blocks; all entries but "other" start the same one. Updates never
// write this file.
func DiskMenu() string {
	var b strings.Builder
	b.WriteString("# KubeSolo OS, installed disk. Updates change env1 and env2, never this file.\n" + header + diskState + diskBoot)
	for _, e := range entries() {
		fmt.Fprintf(&b, "\nmenuentry \"%s (slot $slot)\" --id %s {\n  boot_chosen %s\n}\n", e.title, e.id, e.arguments)
		if e.id == "normal" {
			fmt.Fprintf(&b, "\nmenuentry \"%s, the other slot ($other)\" --id other {\n  boot_slot $other %s\n}\n", e.title, e.arguments)
		}
	}
	return b.String()
}
