package trust

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// RootField is the name of our own field in the signed part of root.json.
const RootField = "x-kubesolo-os"

// RootMark is the value of that field. Every root of one repository has the same.
type RootMark struct {
	Repository string `json:"repository"`         // 16 hex digits, made once from the first root's keys
	TestKeys   bool   `json:"testKeys,omitempty"` // the private keys are published: anybody can sign
}

// Role says who signs one kind of metadata.
type Role struct {
	Keys      []string `json:"keys"` // key ids, hex SHA-256
	Threshold int      `json:"threshold"`
}

// Root is what a root.json says.
type Root struct {
	RootMark
	Version int64           `json:"version"`
	Expires time.Time       `json:"expires"`
	Roles   map[string]Role `json:"roles"` // root, targets, snapshot, timestamp
}

// Inspect reads a root.json and checks that its own keys have signed it. It does not ask
// whether it is expired.
func Inspect(data []byte) (Root, error) {
	var root *metadata.Metadata[metadata.RootType]
	err := guard(func() (err error) {
		if root, err = metadata.Root().FromBytes(data); err != nil {
			return err
		}
		for _, name := range metadata.TOP_LEVEL_ROLE_NAMES {
			if root.Signed.Roles[name] == nil {
				return fmt.Errorf("it has no role %s", name)
			}
		}
		return root.VerifyDelegate(metadata.ROOT, root)
	})
	if err != nil {
		return Root{}, fmt.Errorf("root.json: %w: %v", ErrDamaged, err)
	}
	r := rootOf(root)
	if r.Repository != "" && !isID(r.Repository) {
		return Root{}, fmt.Errorf("root.json: %w: repository %q is not 16 hex digits", ErrDamaged, r.Repository)
	}
	return r, nil
}

func isID(s string) bool {
	return len(s) == 16 && !slices.ContainsFunc([]byte(s), func(c byte) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'f')
	})
}

func rootOf(m *metadata.Metadata[metadata.RootType]) Root {
	r := Root{Version: m.Signed.Version, Expires: m.Signed.Expires, Roles: map[string]Role{}}
	for name, role := range m.Signed.Roles {
		if role != nil {
			r.Roles[name] = Role{Keys: slices.Clone(role.KeyIDs), Threshold: role.Threshold}
		}
	}
	// The field is absent in roots that other tools have made.
	if text, err := json.Marshal(m.Signed.UnrecognizedFields[RootField]); err == nil {
		_ = json.Unmarshal(text, &r.RootMark) // another type than ours: as if absent
	}
	return r
}
