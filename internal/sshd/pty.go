package sshd

import (
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openTerminal opens both ends of a new pseudo-terminal. The process's end
// comes from the master's descriptor (TIOCGPTPEER, Linux 4.13), so that it is
// of the same instance of devpts.
func openTerminal(want terminal) (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("terminal: %w", err)
	}
	err = control(master, func(fd int) error {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		number, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
		if err != nil {
			return err
		}
		peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
		if errno != 0 {
			return errno
		}
		slave = os.NewFile(peer, fmt.Sprintf("/dev/pts/%d", number))
		t, err := unix.IoctlGetTermios(int(peer), unix.TCGETS)
		if err != nil {
			return err
		}
		applyModes(t, want.modes)
		if err := unix.IoctlSetTermios(int(peer), unix.TCSETS, t); err != nil {
			return err
		}
		return setSize(fd, want.size)
	})
	if err != nil {
		_ = master.Close()
		if slave != nil {
			_ = slave.Close()
		}
		return nil, nil, fmt.Errorf("terminal: %w", err)
	}
	return master, slave, nil
}

// control calls do with the file's descriptor, which stays open meanwhile.
func control(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := raw.Control(func(fd uintptr) { result = do(int(fd)) }); err != nil {
		return err
	}
	return result
}

func setSize(fd int, s windowSize) error {
	return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{
		Row: uint16(s.Rows), Col: uint16(s.Columns), Xpixel: uint16(s.Width), Ypixel: uint16(s.Height),
	})
}

// applyModes changes t to the client's terminal modes, the keys of its user and
// what is echoed. They are pairs of an opcode and a value, up to opcode 0 or one
// of unknown length (RFC 4254 section 8); what this kernel does not have, and
// the speed of a line that is none, is passed over.
func applyModes(t *unix.Termios, modes []byte) {
	for len(modes) >= 5 && modes[0] != 0 && modes[0] < 160 {
		opcode, value := modes[0], binary.BigEndian.Uint32(modes[1:])
		modes = modes[5:]
		if index, ok := characterIndex(opcode); ok {
			if value > 254 { // 255: none
				value = 0
			}
			t.Cc[index] = byte(value)
			continue
		}
		field, bit := modeBit(t, opcode)
		switch {
		case field == nil:
		case value != 0:
			*field |= bit
		default:
			*field &^= bit
		}
	}
}

// characterIndex is where a special character stands in Termios.Cc.
func characterIndex(opcode byte) (index int, ok bool) {
	all := [...]int{
		1: unix.VINTR, 2: unix.VQUIT, 3: unix.VERASE, 4: unix.VKILL, 5: unix.VEOF, 6: unix.VEOL, 7: unix.VEOL2,
		8: unix.VSTART, 9: unix.VSTOP, 10: unix.VSUSP, 11: -1, 12: unix.VREPRINT, 13: unix.VWERASE, 14: unix.VLNEXT,
		15: -1, 16: unix.VSWTC, 17: -1, 18: unix.VDISCARD,
	}
	if opcode == 0 || int(opcode) >= len(all) || all[opcode] < 0 {
		return 0, false
	}
	return all[opcode], true
}

// modeBit is a flag of Termios, or nil.
func modeBit(t *unix.Termios, opcode byte) (field *uint32, bit uint32) {
	input := [...]uint32{
		unix.IGNPAR, unix.PARMRK, unix.INPCK, unix.ISTRIP, unix.INLCR, unix.IGNCR, unix.ICRNL, unix.IUCLC,
		unix.IXON, unix.IXANY, unix.IXOFF, unix.IMAXBEL, unix.IUTF8,
	}
	local := [...]uint32{
		unix.ISIG, unix.ICANON, unix.XCASE, unix.ECHO, unix.ECHOE, unix.ECHOK, unix.ECHONL, unix.NOFLSH,
		unix.TOSTOP, unix.IEXTEN, unix.ECHOCTL, unix.ECHOKE, unix.PENDIN,
	}
	output := [...]uint32{unix.OPOST, unix.OLCUC, unix.ONLCR, unix.OCRNL, unix.ONOCR, unix.ONLRET}
	switch n := int(opcode); {
	case n >= 30 && n < 30+len(input):
		return &t.Iflag, input[n-30]
	case n >= 50 && n < 50+len(local):
		return &t.Lflag, local[n-50]
	case n >= 70 && n < 70+len(output):
		return &t.Oflag, output[n-70]
	}
	return nil, 0
}
