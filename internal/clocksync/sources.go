package clocksync

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Files written by ksinit.
const (
	ConfigFile = "/run/ksinit/config.json"
	LeaseFile  = "/run/ksinit/ntp.json"
	FloorFile  = "/etc/kubesolo-os/build-time"
)

// Sources are the time servers to ask, and who named them.
type Sources struct {
	Servers []string // names or addresses, each with ":port" if it is not 123
	Origin  string   // for people
}

// defaultServers are asked when nobody names one.
func defaultServers() []string {
	return []string{"0.pool.ntp.org", "1.pool.ntp.org", "2.pool.ntp.org", "3.pool.ntp.org"}
}

// servers is the form of the lease's file and of "ntp" in the configuration's.
type servers struct {
	Servers  []string `json:"servers"`
	Disabled bool     `json:"disabled"`
}

// ReadSources gives the configured servers, else those of the DHCP lease, else
// the default pool; none at all when the configuration switches it off. A file
// that is not there says nothing.
func ReadSources(configFile, leaseFile string) (Sources, error) {
	var config struct {
		NTP servers `json:"ntp"`
	}
	if err := readJSON(configFile, &config); err != nil {
		return Sources{}, err
	}
	switch {
	case config.NTP.Disabled:
		return Sources{Origin: "switched off by the configuration"}, nil
	case len(config.NTP.Servers) > 0:
		return Sources{distinct(config.NTP.Servers), "configuration"}, nil
	}
	var lease servers
	if err := readJSON(leaseFile, &lease); err != nil {
		return Sources{}, err
	}
	if len(lease.Servers) > 0 {
		return Sources{distinct(lease.Servers), "DHCP lease"}, nil
	}
	return Sources{defaultServers(), "default pool"}, nil
}

// distinct keeps a server that is named twice from having two votes.
func distinct(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

func readJSON(path string, into any) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("time servers: %w", err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("time servers: %s: %w", path, err)
	}
	return nil
}

// ReadFloor reads the build time of the system, in seconds since 1970.
func ReadFloor(path string) (time.Time, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return time.Time{}, fmt.Errorf("build time: %w", err)
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("build time: %s: %w", path, err)
	}
	return time.Unix(seconds, 0), nil
}
