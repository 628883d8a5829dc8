package statecopy

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Copy is one copy of the database.
type Copy struct {
	Name     string    `json:"name"`
	Sequence int       `json:"sequence"` // rises with each copy, whatever the clock shows
	Made     time.Time `json:"made"`
	Key      string    `json:"key"` // fingerprint of the service-account key, 8 hexadecimal digits
	Size     int64     `json:"size"`
}

const nameTime = "20060102T150405Z"

func formatName(sequence int, made time.Time, key string) string {
	return fmt.Sprintf("state-%06d-%s-%s.db", sequence, made.UTC().Format(nameTime), key)
}

// parseName is the reverse of formatName; what formatName does not write is
// not a copy.
func parseName(name string) (Copy, bool) {
	body, found := strings.CutSuffix(name, ".db")
	parts := strings.Split(body, "-")
	if !found || len(parts) != 4 {
		return Copy{}, false
	}
	sequence, err := strconv.Atoi(parts[1])
	if err != nil || sequence < 0 {
		return Copy{}, false
	}
	made, err := time.Parse(nameTime, parts[2])
	if err != nil || formatName(sequence, made, parts[3]) != name {
		return Copy{}, false
	}
	if len(parts[3]) != 8 || strings.Trim(parts[3], "0123456789abcdef") != "" {
		return Copy{}, false
	}
	return Copy{Name: name, Sequence: sequence, Made: made, Key: parts[3]}, true
}
