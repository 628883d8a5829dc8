package audit

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// filesRead marks in Texts that files were looked at.
const filesRead = "files"

// secret is a place whose files only root may read.
type secret struct {
	path, why string
	// suffixes limits a directory's files to those that hold secrets.
	suffixes []string
	// absent: a node may be without it. group: root's group may use it.
	absent, group bool
}

func secrets() []secret {
	return []secret{
		{path: "/var/lib/kubesolo", why: "state of Kubernetes: nobody but root comes in"},
		{path: "/var/lib/kubesolo/pki", suffixes: []string{".key", ".kubeconfig"}, why: "keys of the cluster's authority, of accounts and of clients"},
		{path: "/var/lib/kubesolo/kine", suffixes: []string{".db", ".db-wal", ".db-shm"}, why: "every object, Secrets too"},
		{path: "/run/kubesolo/kine.sock", why: "the datastore asks nobody for a password"},
		{path: "/etc/kubesolo", why: "cloud-init.yaml (edge key, extra-env) and passwords of registries are in there"},
		{path: "/data/cloud-init.yaml", absent: true, why: "the same file in its other place"},
		{path: "/data/ksinit", why: "the last good configuration, with its secrets"},
		{path: "/run/containerd/containerd.sock", group: true, why: "who can talk to containerd is root"},
		{path: "/run/ksinit/registry-auth.json", absent: true, why: "passwords for the registry that updates come from"},
		{path: "/run/ksinit/events.sock", why: "events are the services' to send"},
	}
}

func files() []Check {
	var out []Check
	for _, s := range secrets() {
		out = append(out, Check{Group: "file", Name: s.name(), Source: "stat", Want: "root's, and nothing for others", Why: s.why, Reference: "CIS Kubernetes", judge: s.judge})
	}
	return out
}

func (s secret) name() string {
	if len(s.suffixes) == 0 {
		return s.path
	}
	return s.path + "/**/*{" + strings.Join(s.suffixes, ",") + "}"
}

// covers tells whether the file is one of these.
func (s secret) covers(file string) bool {
	if len(s.suffixes) == 0 {
		return file == s.path
	}
	if !strings.HasPrefix(file, s.path+"/") {
		return false
	}
	for _, suffix := range s.suffixes {
		if strings.HasSuffix(path.Base(file), suffix) {
			return true
		}
	}
	return false
}

func (s secret) judge(snapshot Snapshot) verdict {
	if _, missing := snapshot.text(filesRead); missing != nil {
		return *missing
	}
	var bad []string
	found := 0
	for _, f := range snapshot.Files {
		if !s.covers(f.Path) {
			continue
		}
		found++
		others := fs.FileMode(0o077)
		if s.group && f.GID == 0 {
			others = 0o007
		}
		if f.UID != 0 || f.Mode.Perm()&others != 0 {
			bad = append(bad, fmt.Sprintf("%s %04o of user %d", f.Path, f.Mode.Perm(), f.UID))
		}
	}
	switch {
	case len(bad) > 0:
		return fail(strings.Join(bad, ", "), "others can read or write it")
	case found == 0 && s.absent:
		return pass("none")
	case found == 0:
		return fail("", "there is none")
	}
	return pass(fmt.Sprintf("%d checked", found))
}
