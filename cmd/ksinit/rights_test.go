package main

import (
	"slices"
	"testing"

	"kubesolo.io/os/internal/audit"
	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/supervise"
)

// TestRightsAreAudited: the list that the node is checked against, and that
// docs/hardening.md prints, is what the services are started with.
func TestRightsAreAudited(t *testing.T) {
	audited := audit.ServiceRights()
	for _, s := range services(config.RuntimeExternal, true, nil) {
		i := slices.IndexFunc(audited, func(r audit.Rights) bool { return r.Service == s.Name })
		if i < 0 {
			t.Errorf("service %s is not audited", s.Name)
			continue
		}
		want := supervise.Rights{Without: supervise.Without(audited[i].Without...), NoNewPrivs: audited[i].NoNewPrivs}
		if s.Rights != want {
			t.Errorf("service %s starts with %+v, the audit wants %+v", s.Name, s.Rights, want)
		}
	}
	// Pods are children of a KubeSolo that brings its own runtime: what is
	// kept from containerd there must be kept from it, and no more.
	for _, s := range services(config.RuntimeBundled, false, nil) {
		if s.Name == "kubesolo" && s.Rights != runtimeRights() {
			t.Errorf("the bundled runtime starts with %+v", s.Rights)
		}
	}
}
