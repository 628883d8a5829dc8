package hostnet

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Sysctls switches on what pods need. It returns the settings that did not
// take, which is for the log: the host may have set them by other means.
func Sysctls(disableIPv6 bool) []error {
	settings := [][2]string{{"net/ipv4/ip_forward", "1"}}
	if disableIPv6 {
		for _, scope := range []string{"all", "default", "lo"} {
			settings = append(settings, [2]string{"net/ipv6/conf/" + scope + "/disable_ipv6", "1"})
		}
	}
	var failed []error
	for _, setting := range settings {
		err := writeSysctl(setting[0], setting[1])
		if err != nil && !(disableIPv6 && errors.Is(err, fs.ErrNotExist)) {
			failed = append(failed, err)
		}
	}
	return failed
}

func writeSysctl(name, value string) error {
	return os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644)
}
