package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/atomicfile"
	"kubesolo.io/os/internal/boot"
	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/datafs"
)

const (
	// stateDir is what ksinit itself keeps on the data partition.
	stateDir      = dataDir + "/ksinit"
	machineIDFile = "machine-id"
	timeFile      = "last-time"
	buildTimeFile = "/etc/kubesolo-os/build-time"
)

func (n *node) prepareData(ctx context.Context) error {
	r, err := datafs.Prepare(ctx, datafs.Options{
		Spec: n.args.Data, NoPersist: n.args.NoPersist, Target: dataDir, Drivers: n.driversLoaded, Repair: n.repairExt4,
		Log: func(line string) { n.log.Info(line, "step", "data") },
	})
	if err != nil {
		return err
	}
	n.kept = r.State == datafs.Mounted
	var did []string
	if r.Formatted {
		did = append(did, "formatted")
	}
	if r.Grown {
		did = append(did, "grown")
	}
	switch r.State {
	case datafs.Memory:
		boot.Note(ctx, "in memory")
	default:
		boot.Note(ctx, "%s %s", r.Device, strings.Join(append(did, string(r.State)), ", "))
	}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		n.log.Warn("nothing of this boot will be remembered", "err", err)
	}
	if len(r.Notes) > 0 && !n.args.NoPersist {
		return boot.Degraded(errors.New(strings.Join(r.Notes, "\n")))
	}
	return nil
}

func (n *node) bindData(ctx context.Context) error {
	table := dataBinds()
	var errs []error
	for _, e := range table {
		mode := e.Mode
		if mode == 0 {
			mode = 0o755
		}
		errs = append(errs, os.MkdirAll(e.Source, mode))
		// Also of a directory that came with the disk.
		if st, err := os.Stat(e.Source); err == nil && e.Mode != 0 && st.Mode().Perm() != mode {
			errs = append(errs, os.Chmod(e.Source, mode))
		}
	}
	// Whoever put it on the disk rarely thought of its mode.
	if st, err := os.Stat(dataDir + "/cloud-init.yaml"); err == nil && st.Mode().Perm()&0o077 != 0 {
		errs = append(errs, os.Chmod(dataDir+"/cloud-init.yaml", 0o600))
	}
	degraded, err := table.Apply()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	return boot.Degraded(errors.Join(append(errs, degraded)...))
}

// raiseClock sets the clock to the latest time known to be past: certificates
// made in 1970 expire before the machine is set up. It never sets it back.
func (n *node) raiseClock(ctx context.Context) error {
	now := time.Now()
	floor, source := now, ""
	if t, err := readTime(buildTimeFile); err == nil && t.After(floor) {
		floor, source = t, "build time of the image"
	}
	if t, err := readTime(filepath.Join(stateDir, timeFile)); err == nil && t.After(floor) {
		floor, source = t, "last time of the boot before"
	}
	// After the clock is set: what is remembered must not be 1970.
	defer n.background("clock", n.rememberTime)
	if source == "" {
		boot.Note(ctx, "%s", now.UTC().Format(time.RFC3339))
		return nil
	}
	tv := unix.NsecToTimeval(floor.UnixNano())
	if err := unix.Settimeofday(&tv); err != nil {
		return fmt.Errorf("clock shows %s and cannot be set: %w", now.UTC().Format(time.DateTime), err)
	}
	return boot.Degraded(fmt.Errorf("it showed %s, now %s (%s): has this machine a battery for its clock?",
		now.UTC().Format(time.DateTime), floor.UTC().Format(time.DateTime), source))
}

// readTime reads seconds since 1970 or RFC 3339.
func readTime(path string) (time.Time, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return time.Time{}, err
	}
	text := strings.TrimSpace(string(b))
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(seconds, 0), nil
	}
	return time.Parse(time.RFC3339, text)
}

func (n *node) saveTime() {
	text := strconv.FormatInt(time.Now().Unix(), 10) + "\n"
	if err := atomicfile.Write(filepath.Join(stateDir, timeFile), []byte(text), 0o644); err != nil {
		n.log.Debug("time not remembered", "err", err)
	}
}

// setMachineID keeps one random identity a machine (machine-id(5)).
func (n *node) setMachineID(ctx context.Context) error {
	kept := filepath.Join(stateDir, machineIDFile)
	id, err := readMachineID(kept)
	var notKept error
	if err != nil {
		var random [16]byte
		if _, err := unix.Getrandom(random[:], 0); err != nil {
			return fmt.Errorf("random number: %w", err)
		}
		random[6], random[8] = random[6]&0x0f|0x40, random[8]&0x3f|0x80 // RFC 9562, version 4
		id = hex.EncodeToString(random[:])
		notKept = atomicfile.Write(kept, []byte(id+"\n"), 0o444)
		boot.Note(ctx, "new: %s", id)
	}
	if err := os.WriteFile("/run/etc/machine-id", []byte(id+"\n"), 0o444); err != nil {
		return err
	}
	return boot.Degraded(notKept)
}

func readMachineID(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(b))
	if raw, err := hex.DecodeString(id); err != nil || len(raw) != 16 {
		return "", fmt.Errorf("%s: %q is not 32 hexadecimal digits", path, id)
	}
	return id, nil
}

func (n *node) setHostname(ctx context.Context) error {
	name := n.config.Hostname
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("host name %s: %w", name, err)
	}
	boot.Note(ctx, "%s", name)
	return os.WriteFile("/run/etc/hostname", []byte(name+"\n"), 0o644)
}

// applySettings does what the configuration asks of the system itself.
func (n *node) applySettings(ctx context.Context) error {
	var errs []error
	if len(n.config.Modules) > 0 {
		errs = append(errs, n.loadModules(n.config.Modules...))
	}
	if len(n.config.Sysctl) > 0 {
		errs = append(errs, writeSysctls(ctx, n.config.Sysctl))
	}
	errs = append(errs, writeRegistries("/", n.config.Registries))
	for _, f := range n.config.WriteFiles {
		err := os.MkdirAll(filepath.Dir(f.Path), 0o755)
		if err == nil {
			err = atomicfile.Write(f.Path, f.Content, f.Permissions)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		boot.Note(ctx, "wrote %s", f.Path)
	}
	return boot.Degraded(errors.Join(errs...))
}

// prepareRuntime gives a KubeSolo that brings its own containerd the writable
// places it wants.
func (n *node) prepareRuntime(ctx context.Context) error {
	if n.config.KubeSolo.Runtime != config.RuntimeBundled {
		return nil
	}
	for _, target := range []string{"/usr/local", "/opt/cni"} {
		for _, dir := range []string{"upper", "work"} {
			if err := os.MkdirAll(filepath.Join(dataDir, "usr-local", target, dir), 0o755); err != nil {
				return err
			}
		}
	}
	degraded, err := bundledMounts().Apply()
	boot.Note(ctx, "bundled in KubeSolo")
	return errors.Join(degraded, err)
}
