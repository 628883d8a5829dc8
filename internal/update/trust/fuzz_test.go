package trust

import (
	"os"
	"path/filepath"
	"testing"
)

// Whatever a server sends, or a disk holds, in the place of one file: no panic, and
// nothing is offered that was not signed.
func FuzzRefresh(f *testing.F) {
	names := []struct{ served, kept string }{{"2.root.json", "2.root.json"}, {"timestamp.json", "timestamp.json"},
		{"2.snapshot.json", "snapshot.json"}, {"2.targets.json", "targets.json"}}
	for i := range names {
		for _, seed := range []string{"", "null", "[]", `{"signed":null}`, `{"signed":{"_type":"root","keys":null,"roles":null}}`,
			`{"signed":{"_type":"timestamp","meta":{"snapshot.json":null}},"signatures":[null]}`,
			`{"signed":{"_type":"targets","targets":{"x":null},"delegations":{"roles":[]}},"signatures":[{"keyid":"","sig":"0"}]}`,
			`{"signed":{"_type":"snapshot","version":1.5,"x":1e400},"signatures":{}}`} {
			f.Add(uint(i), []byte(seed))
		}
	}
	forge := newForge(f)
	forge.publish("0.1.0")
	seen := f.TempDir()
	forge.refresh(forge.open(seen), forge.files)
	forge.publish("0.2.0")
	f.Fuzz(func(t *testing.T, which uint, data []byte) {
		forge := forge.clone(t)
		name := names[which%uint(len(names))]
		served, dir := forge.copy(), again(t, seen)
		served[name.served] = data
		if err := forge.open(dir).Refresh(t.Context(), served); err == nil {
			t.Errorf("%q was taken", data)
		}
		if err := os.WriteFile(filepath.Join(dir, forge.mark.Repository, name.kept), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := offered(forge.open(dir)); len(got) > 1 {
			t.Errorf("%q on disk: offered %v", data, got)
		}
		if _, err := Inspect(data); err == nil {
			t.Errorf("%q was taken for a root", data)
		}
	})
}
